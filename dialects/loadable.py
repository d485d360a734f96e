"""Weights that are loaded at run time: which numbers a port takes, and in which order.

A *word* holds the weights of one cycle, one for each lane; the words of a stage are loaded in
order. ``order[w, l]`` is the place in the matrix, row-major, of the weight that lane ``l`` has
in word ``w``, or :data:`NOTHING` where the lane idles and its weight is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    DenseIntElementsAttr,
    DictionaryAttr,
    IntAttr,
    IntegerAttr,
    IntegerType,
    ModuleOp,
    StringAttr,
    i64,
)
from xdsl.dialects.memref import GlobalOp
from xdsl.ir import Attribute, ParametrizedAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects.array import Integers
from fastml.dialects.elements import Elements, width_of

LOAD = "fastml.load"
"""Directive of a memory that a port fills, on ``memref.global``."""
NOTHING = -1
"""Place of a weight that is always 0."""


@irdl_attr_definition
class LoadableAttr(ParametrizedAttribute):
    """Weights that a port loads: each is an integer of the range, ``<-8, 7>``."""

    name = "qflow.loadable"

    low: IntAttr
    high: IntAttr

    def __init__(self, low: int, high: int):
        super().__init__(IntAttr(low), IntAttr(high))

    @property
    def bounds(self) -> tuple[int, int]:
        """Least and greatest weight."""
        return self.low.data, self.high.data

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> list[Attribute]:
        """Parse ``<-8, 7>``."""
        with parser.in_angle_brackets():
            low = parser.parse_integer(allow_boolean=False)
            parser.parse_punctuation(",")
            high = parser.parse_integer(allow_boolean=False)
        return [IntAttr(low), IntAttr(high)]

    def print_parameters(self, printer: Printer) -> None:
        """Print what :meth:`parse_parameters` parses."""
        with printer.in_angle_brackets():
            printer.print_string(f"{self.low.data}, {self.high.data}")

    def verify(self) -> None:
        """Check that there is more than one weight to choose."""
        if self.low.data >= self.high.data:
            raise VerifyException("loadable weights need a range of more than one integer")


@dataclass(frozen=True, eq=False)
class Loadable:
    """The weights of one stage, and the port that takes them."""

    edge: str
    """Edge that the stage makes: what a user calls the weights by."""
    port: str
    """Name of the wires of a word; ``<port>_valid`` says that there is one."""
    low: int
    high: int
    order: NDArray[np.int64]
    """By word and lane."""
    contents: Integers
    """The weights of the model, of shape (inputs, outputs)."""

    def __post_init__(self) -> None:
        if self.order.ndim != 2 or not self.order.size or self.contents.ndim != 2:
            raise ValueError(f"weights of '{self.edge}' have no words")
        if self.order.min() < NOTHING or self.order.max() >= self.contents.size:
            raise ValueError(f"a word of '{self.edge}' has a weight that is not in the matrix")
        if self.low >= self.high or not self.holds(self.contents):
            raise ValueError(f"weights of '{self.edge}' are not within {self.low}..{self.high}")

    def holds(self, matrix: Integers) -> bool:
        """Whether every weight is of the range."""
        return bool(np.all((matrix >= self.low) & (matrix <= self.high)))

    @cached_property
    def elements(self) -> Elements:
        """Layout of a word; idle lanes need room for a 0."""
        width, signed = width_of(min(self.low, 0), max(self.high, 0))
        lanes = self.order.shape[1]
        return Elements((width,) * lanes, (signed,) * lanes)

    @property
    def words(self) -> int:
        """Words of the whole matrix: cycles that loading takes."""
        return self.order.shape[0]

    def words_of(self, matrix: Integers) -> Integers:
        """Return a matrix as words of lanes."""
        return np.where(self.order == NOTHING, 0, matrix.reshape(-1)[self.order])

    def attribute(self) -> DictionaryAttr:
        """Return what :meth:`of` reads."""
        return DictionaryAttr(
            {
                "name": StringAttr(self.edge),
                "port": StringAttr(self.port),
                "low": IntegerAttr(self.low, i64),
                "high": IntegerAttr(self.high, i64),
                "words": IntegerAttr(self.words, i64),
                "order": DenseArrayBase.from_list(i64, self.order.reshape(-1).tolist()),
                "inputs": IntegerAttr(self.contents.shape[0], i64),
                "contents": DenseArrayBase.from_list(i64, self.contents.reshape(-1).tolist()),
            }
        )

    @classmethod
    def of(cls, attribute: Attribute) -> "Loadable":
        """Read an attribute; raise ``ValueError`` where it is malformed."""
        if not isinstance(attribute, DictionaryAttr):
            raise ValueError("not a dictionary")
        return cls.of_table({key: _plain(value) for key, value in attribute.data.items()})

    def table(self) -> dict[str, Any]:
        """Return what :meth:`of_table` reads, for a manifest."""
        return {
            "name": self.edge,
            "port": self.port,
            "low": self.low,
            "high": self.high,
            "words": self.words,
            "order": self.order.reshape(-1).tolist(),
            "inputs": self.contents.shape[0],
            "contents": self.contents.reshape(-1).tolist(),
        }

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> "Loadable":
        """Invert :meth:`table`; raise ``KeyError``, ``TypeError`` or ``ValueError``."""
        order = np.array(table["order"], np.int64)
        contents = np.array(table["contents"], np.int64)
        words, inputs = int(table["words"]), int(table["inputs"])
        if min(words, inputs) < 1:
            raise ValueError("weights that have no words")
        return cls(
            str(table["name"]),
            str(table["port"]),
            int(table["low"]),
            int(table["high"]),
            order.reshape(words, -1),
            contents.reshape(inputs, -1),
        )


def _plain(attribute: Attribute) -> object:
    match attribute:
        case StringAttr(data=text):
            return text
        case IntegerAttr(value=number):
            return number.data
        case DenseArrayBase():
            numbers = cast(DenseArrayBase[IntegerType], attribute).get_values()
            return [int(number) for number in numbers]
        case _:
            raise ValueError(f"'{attribute}' is neither text nor number")


def loadable_of(op: GlobalOp) -> Loadable | None:
    """Return what a port loads into a memory, if it does; refuse what contradicts itself."""
    attribute = op.attributes.get(LOAD)
    if attribute is None:
        return None
    try:
        found = Loadable.of(attribute)
    except (KeyError, TypeError, ValueError) as error:
        raise FastmlError(f"malformed '{LOAD}': {error}", op) from error
    initial = op.initial_value
    words = found.words_of(found.contents).T.reshape(-1).tolist()
    if not isa(initial, DenseIntElementsAttr) or op.constant is not None:
        raise FastmlError("a memory that is loaded has integers, and is no constant", op)
    values = list(initial.get_values())
    values = values * len(words) if len(values) == 1 else values
    mask = (1 << max(found.elements.widths[0], 1)) - 1
    if [value & mask for value in values] != [word & mask for word in words]:
        raise FastmlError("the contents of a loaded memory are not those of its weights", op)
    return found


def loadables_of(module: ModuleOp) -> list[Loadable]:
    """Return all that ports load in a program of the affine level, in order."""
    found = [loadable_of(op) for op in module.ops if isinstance(op, GlobalOp)]
    return [loadable for loadable in found if loadable is not None]


def listed_loadables(attribute: Attribute | None) -> tuple[Loadable, ...]:
    """Read what the ports of a hardware module load; ``ValueError`` where it is malformed."""
    if attribute is None:
        return ()
    if not isa(attribute, ArrayAttr[Attribute]):
        raise ValueError("weights are not a list")
    return tuple(Loadable.of(entry) for entry in attribute.data)
