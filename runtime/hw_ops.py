"""What the simulator's elementary operations mean: once, for whole vectors and for one cycle.

A slot holds an integer that is *congruent* to its bits modulo two to the width, inside a
known interval. Every operation is a formula on integers, given twice: on NumPy arrays along
time (``int64``, or Python integers where the interval is wider) and as a Python expression
for one cycle. The tests hold the two against each other, operation by operation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.int64] | NDArray[np.object_]
Operand: TypeAlias = Vector | int
Interval: TypeAlias = tuple[int, int]

INT64: Interval = (-(1 << 63), (1 << 63) - 1)


@dataclass(frozen=True)
class Elementary:
    """One operation on integers."""

    vector: Callable[..., Vector]
    """Along time. Results may wrap modulo 2**64 where the interval exceeds ``int64``."""
    text: str
    """The same for one cycle, a Python expression of ``{0}``, ``{1}``, ..."""
    interval: Callable[..., Interval]
    """Where the exact result lies, from the operands' intervals."""
    boolean: bool = False
    """Gives 0 or 1 as ``int64`` whatever the operands are."""

    def scalar(self, *operands: int) -> int:
        """Evaluate the expression for one cycle."""
        return int(eval(self.text.format(*operands), {"__builtins__": {}}))


def _bits(*bounds: int) -> int:
    """Bits that hold every bound, without the sign."""
    return max((bound if bound >= 0 else ~bound).bit_length() for bound in bounds)


def _add(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def _sub(a: Interval, b: Interval) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def _mul(a: Interval, b: Interval) -> Interval:
    products = [x * y for x in a for y in b]
    return min(products), max(products)


def _and(a: Interval, b: Interval) -> Interval:
    if a[0] >= 0 and b[0] >= 0:
        return 0, min(a[1], b[1])
    if a[0] >= 0:
        return 0, a[1]
    return (0, b[1]) if b[0] >= 0 else _or(a, b)


def _or(a: Interval, b: Interval) -> Interval:
    high = (1 << _bits(*a, *b)) - 1
    return (0 if a[0] >= 0 and b[0] >= 0 else ~high), high


def _shl(a: Interval, b: Interval) -> Interval:
    corners = [a[0] << b[0], a[0] << b[1], a[1] << b[0], a[1] << b[1]]
    return min(corners), max(corners)


def _shr(a: Interval, b: Interval) -> Interval:
    corners = [a[0] >> b[0], a[0] >> b[1], a[1] >> b[0], a[1] >> b[1]]
    return min(corners), max(corners)


def _hull(c: Interval, a: Interval, b: Interval) -> Interval:
    return min(a[0], b[0]), max(a[1], b[1])


def _min(a: Interval, b: Interval) -> Interval:
    return min(a[0], b[0]), min(a[1], b[1])


def _quotient(a: Interval, b: Interval) -> Interval:
    bound = max(abs(a[0]), abs(a[1]))
    return (0 if a[0] >= 0 and b[0] >= 0 else -bound), bound


def _remainder(a: Interval, b: Interval) -> Interval:
    bound = max(abs(a[0]), abs(a[1]))
    return (0 if a[0] >= 0 else -bound), bound


def _truth(*operands: Interval) -> Interval:
    return 0, 1


def _equal(a: Vector, b: Vector) -> Vector:
    return np.equal(a, b).astype(np.int64)


def _less(a: Vector, b: Vector) -> Vector:
    return np.less(a, b).astype(np.int64)


def _less_or_equal(a: Vector, b: Vector) -> Vector:
    return np.less_equal(a, b).astype(np.int64)


def _divide(a: Vector, b: Vector) -> Vector:
    """Divide towards zero; the divisor is not zero."""
    size = abs(a) // abs(b)
    return np.where((a < 0) ^ (b < 0), -size, size)


def _modulo(a: Vector, b: Vector) -> Vector:
    """Give the remainder of :func:`_divide`: it has the sign of the dividend."""
    size = abs(a) % abs(b)
    return np.where(a < 0, -size, size)


def _parity(a: Vector) -> Vector:
    if a.dtype == object:
        return np.array([int(value).bit_count() & 1 for value in a], np.int64)
    return np.bitwise_count(a.astype(np.uint64)).astype(np.int64) & 1


ELEMENTARY: dict[str, Elementary] = {
    "add": Elementary(np.add, "({0} + {1})", _add),
    "sub": Elementary(np.subtract, "({0} - {1})", _sub),
    "mul": Elementary(np.multiply, "({0} * {1})", _mul),
    "and": Elementary(np.bitwise_and, "({0} & {1})", _and),
    "or": Elementary(np.bitwise_or, "({0} | {1})", _or),
    "xor": Elementary(np.bitwise_xor, "({0} ^ {1})", _or),
    "shl": Elementary(np.left_shift, "({0} << {1})", _shl),
    "shr": Elementary(np.right_shift, "({0} >> {1})", _shr),
    "min": Elementary(np.minimum, "({0} if {0} < {1} else {1})", _min),
    "eq": Elementary(_equal, "({0} == {1})", _truth, True),
    "lt": Elementary(_less, "({0} < {1})", _truth, True),
    "le": Elementary(_less_or_equal, "({0} <= {1})", _truth, True),
    "parity": Elementary(_parity, "(({0}).bit_count() & 1)", _truth, True),
    "mux": Elementary(np.where, "({1} if {0} else {2})", _hull),
    # The divisor is made non-zero by a mux before.
    "div": Elementary(
        _divide,
        "({0} // {1} if ({0} < 0) == ({1} < 0) else -(-{0} // {1}))",
        _quotient,
    ),
    "mod": Elementary(
        _modulo,
        "({0} % ({1} if {1} > 0 else -{1}) if {0} >= 0 else -(-{0} % ({1} if {1} > 0 else -{1})))",
        _remainder,
    ),
}
