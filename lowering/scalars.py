"""Straight-line integer arithmetic in ``arith``: values with exact ranges and cycles.

Additions are made at the width of their exact result, modulo that width, so that no bit is
spent on what cannot happen. An operation that starts after its operands are ready says so
(``fastml.start``); registers are what the later level puts in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, IntegerType, LocationAttr, i64
from xdsl.ir import Block, Operation, SSAValue

from fastml.dialects.directives import START
from fastml.dialects.elements import width_of


@dataclass(frozen=True)
class Scalar:
    """An integer value: its exact range, and the cycle in which it is ready.

    ``value`` is ``None`` for a constant, which is made at the width that its user needs.
    """

    value: SSAValue | None
    low: int
    high: int
    cycle: int

    @property
    def width(self) -> int:
        """Width of the SSA value, 1 at least."""
        assert self.value is not None
        return cast(IntegerType, self.value.type).width.data

    @property
    def signed(self) -> bool:
        """Whether the bits are two's complement."""
        return self.low < 0


def constant(value: int) -> Scalar:
    """Return a constant, ready at any time."""
    return Scalar(None, value, value, 0)


def storage_width(low: int, high: int) -> int:
    """Return the width of the type that holds a range; a constant 0 takes one bit."""
    return max(width_of(low, high)[0], 1)


@dataclass
class ScalarBuilder:
    """Appends arithmetic to a block, every operation at one location."""

    block: Block
    location: LocationAttr
    _constants: dict[tuple[int, int], SSAValue] = field(
        default_factory=dict[tuple[int, int], SSAValue]
    )
    _ready: dict[SSAValue, int] = field(default_factory=dict[SSAValue, int])

    def add(self, op: Operation, start: int | None = None) -> SSAValue:
        """Append an operation that starts in cycle ``start``, by default when it can."""
        op.location = self.location
        earliest = max((self._ready.get(x, 0) for x in op.operands), default=0)
        cycle = earliest if start is None else start
        assert cycle >= earliest, "an operation starts before its operands are ready"
        if cycle > earliest:
            op.attributes[START] = IntegerAttr(cycle, i64)
        self.block.add_op(op)
        for result in op.results:
            self._ready[result] = cycle
        return op.results[0] if op.results else op.operands[0]

    def entered(self, value: SSAValue, cycle: int) -> None:
        """Note that ``value`` (a load) is ready in ``cycle``."""
        self._ready[value] = cycle

    def literal(self, value: int, width: int) -> SSAValue:
        """Return a constant of ``width`` bits, modulo its width, shared in the block."""
        wrapped = value & ((1 << width) - 1)
        if (wrapped, width) not in self._constants:
            signed = wrapped - (1 << width) if width > 1 and wrapped >> (width - 1) else wrapped
            attribute = IntegerAttr(signed, IntegerType(width))
            op = arith.ConstantOp(attribute)
            op.location = self.location
            self.block.add_op(op)
            self._constants[wrapped, width] = op.result
        return self._constants[wrapped, width]

    def resized(self, scalar: Scalar, width: int, start: int | None = None) -> SSAValue:
        """Return the bits of ``scalar`` at ``width``, modulo that width."""
        if scalar.value is None:
            return self.literal(scalar.low, width)
        target = IntegerType(width)
        if scalar.width == width:
            return scalar.value
        if scalar.width > width:
            return self.add(arith.TruncIOp(scalar.value, target), start)
        extend = arith.ExtSIOp if scalar.signed else arith.ExtUIOp
        return self.add(extend(scalar.value, target), start)

    def shifted(self, bits: SSAValue, amount: int, width: int, start: int | None) -> SSAValue:
        """Shift left modulo the width."""
        if amount == 0:
            return bits
        if amount >= width:
            return self.literal(0, width)
        return self.add(arith.ShLIOp(bits, self.literal(amount, width)), start)

    def ranged(self, bits: SSAValue, low: int, high: int, cycle: int) -> Scalar:
        """Wrap bits whose exact range is known; fix constants."""
        return constant(low) if low == high else Scalar(bits, low, high, cycle)

    def shift_left(self, x: Scalar, amount: int, start: int | None = None) -> Scalar:
        """Return ``x << amount`` at its exact width."""
        low, high = x.low << amount, x.high << amount
        if x.value is None or amount == 0:
            return constant(low) if x.value is None else x
        width = storage_width(low, high)
        bits = self.shifted(self.resized(x, width, start), amount, width, start)
        return Scalar(bits, low, high, x.cycle if start is None else start)

    def sum(
        self,
        left: Scalar,
        right: Scalar,
        *,
        left_shift: int,
        right_shift: int,
        operation: int,
        low: int,
        high: int,
        start: int,
    ) -> Scalar:
        """Return L + R, L - R or R - L (operation 0, 1, 2), known to lie in ``low..high``."""
        if low == high:
            return constant(low)
        width = storage_width(low, high)
        a = self.shifted(self.resized(left, width, start), left_shift, width, start)
        b = self.shifted(self.resized(right, width, start), right_shift, width, start)
        if operation == 2:
            a, b = b, a
        made = arith.AddiOp(a, b) if operation == 0 else arith.SubiOp(a, b)
        return Scalar(self.add(made, start), low, high, start)

    def offset(self, x: Scalar, amount: int, start: int) -> Scalar:
        """Return ``x + amount``."""
        if amount == 0 or x.value is None:
            return x if amount == 0 else constant(x.low + amount)
        return self.sum(
            x,
            constant(amount),
            left_shift=0,
            right_shift=0,
            operation=0,
            low=x.low + amount,
            high=x.high + amount,
            start=start,
        )

    def compare(self, predicate: str, x: Scalar, value: int, start: int) -> SSAValue:
        """Return the bit ``x >= value`` (``ge``) or ``x < value`` (``lt``).

        Low bits that ``value`` has not got decide nothing, and are not compared.
        """
        zeros = (value & -value).bit_length() - 1 if value else 0
        zeros = min(zeros, x.width - 1)
        low, high, bound = x.low >> zeros, x.high >> zeros, value >> zeros
        width, signed = width_of(min(low, bound), max(high, bound))
        bits = self.resized(self.floor_shift(x, zeros, start), width, start)
        prefix = "s" if signed else "u"
        return self.add(
            arith.CmpiOp(bits, self.literal(bound, width), f"{prefix}{predicate}"), start
        )

    def extremum(self, x: Scalar, y: Scalar, start: int, *, largest: bool) -> Scalar:
        """Return the larger or the lesser of two; no logic where it is always the same one."""
        if x.low >= y.high or y.low >= x.high:
            return x if (x.low >= y.high) == largest else y
        width, signed = width_of(min(x.low, y.low), max(x.high, y.high))
        a, b = (self.resized(v, width, start) for v in (x, y))
        if largest:
            made = (arith.MaxSIOp if signed else arith.MaxUIOp)(a, b)
            low, high = max(x.low, y.low), max(x.high, y.high)
        else:
            made = (arith.MinSIOp if signed else arith.MinUIOp)(a, b)
            low, high = min(x.low, y.low), min(x.high, y.high)
        return self.narrowed(Scalar(self.add(made, start), low, high, start), start)

    def select(self, bit: SSAValue, yes: SSAValue, no: SSAValue, start: int) -> SSAValue:
        """Return ``yes`` where ``bit`` is set."""
        return self.add(arith.SelectOp(bit, yes, no), start)

    def floor_shift(self, x: Scalar, amount: int, start: int) -> Scalar:
        """Return ``x >> amount``, dropping bits."""
        if amount == 0:
            return x
        low, high = x.low >> amount, x.high >> amount
        if x.value is None or low == high:
            return constant(low)
        shift = arith.ShRSIOp if x.signed else arith.ShRUIOp
        amount = min(amount, x.width - 1)  # beyond that only the sign is left
        bits = self.add(shift(x.value, self.literal(amount, x.width)), start)
        return self.narrowed(Scalar(bits, low, high, start), start)

    def narrowed(self, x: Scalar, start: int) -> Scalar:
        """Return ``x`` at the width of its range."""
        width = storage_width(x.low, x.high)
        if x.value is None or x.width == width:
            return x
        return Scalar(self.resized(x, width, start), x.low, x.high, x.cycle)

    def clamp(self, x: Scalar, low: int, high: int, start: int) -> Scalar:
        """Return ``x`` limited to ``low..high``; no logic where nothing can exceed it."""
        below, above = max(low, min(x.low, high)), min(high, max(x.high, low))
        if below == above:
            return constant(below)
        if x.value is None:
            return constant(min(max(x.low, low), high))
        width = storage_width(below, above)
        bits = self.resized(x, width, start)
        if x.high > high:
            bit = self.compare("ge", x, high + 1, start)
            bits = self.select(bit, self.literal(high, width), bits, start)
        if x.low < low:
            bit = self.compare("lt", x, low, start)
            bits = self.select(bit, self.literal(low, width), bits, start)
        return Scalar(bits, below, above, start)

    def choose(self, bits: Sequence[SSAValue], values: Sequence[int], start: int) -> Scalar:
        """Return ``values[k]``, ``k`` being how many of the sorted ``bits`` are set.

        ``bits[k]`` implies ``bits[k - 1]``, so that a tree of choices suffices.
        """
        low, high = min(values), max(values)
        if low == high:
            return constant(low)
        width = storage_width(low, high)

        def tree(first: int, last: int) -> SSAValue:
            if first == last:
                return self.literal(values[first], width)
            middle = (first + last) // 2
            no, yes = tree(first, middle), tree(middle + 1, last)
            if no is yes:
                return yes
            return self.select(bits[middle], yes, no, start)

        return Scalar(tree(0, len(values) - 1), low, high, start)
