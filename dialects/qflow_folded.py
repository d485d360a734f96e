"""Architecture of a folded stage: its reuse factor, and the plan that a pass has chosen.

A *plan* lays the products of a constant matrix out in slots. In each cycle a *group* of
lanes works on one slot: up to ``lanes`` inputs of one output. An output takes as many slots
as its inputs need; how the slots of all outputs are laid over the groups is the *order*.
"""

from collections.abc import Sequence
from enum import auto

from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.dialects.builtin import IntAttr, StringAttr
from xdsl.ir import Attribute, ParametrizedAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum


class Order(StrEnum):
    """How the slots of the outputs are laid over cycles and groups."""

    IN_STEP = auto()
    """All groups begin an output in the same cycle, and take the same inputs."""
    END_TO_END = auto()
    """Output after output: a group goes on where the one before it ends."""
    NON_ZERO = auto()
    """Likewise, but only products whose weight is not zero have a place."""


class Products(StrEnum):
    """What multiplies."""

    MULTIPLIER = auto()
    """A multiplier for each lane."""
    SHIFT_ADD = auto()
    """Selected shifts of the input, one for each signed digit of a weight."""


class Storage(StrEnum):
    """What holds the weights."""

    LOGIC = auto()
    """Look-up tables."""
    BLOCK = auto()
    """Block memory."""


@irdl_attr_definition
class FoldedAttr(ParametrizedAttribute):
    """Architecture: each multiplier is used ``reuse`` times, a beat every ``reuse`` cycles.

    ``<8>`` leaves the plan open; ``<8, in_step 4 x 16, multiplier, logic>`` is 4 groups of 16
    lanes; ``..., [0, 1, 2] in 11`` adds the pipeline, the cycles of the parts of an
    iteration, and the latency of the stage.
    """

    name = "qflow.folded"

    reuse: IntAttr
    groups: IntAttr
    lanes: IntAttr
    order: StringAttr
    products: StringAttr
    storage: StringAttr
    pipeline: ListAttr[IntAttr]
    latency: IntAttr

    def __init__(
        self,
        reuse: int,
        groups: int = 0,
        lanes: int = 0,
        order: Order = Order.IN_STEP,
        products: Products = Products.MULTIPLIER,
        storage: Storage = Storage.LOGIC,
        pipeline: Sequence[int] = (),
        latency: int = 0,
    ):
        super().__init__(
            IntAttr(reuse),
            IntAttr(groups),
            IntAttr(lanes),
            StringAttr(order),
            StringAttr(products),
            StringAttr(storage),
            ListAttr([IntAttr(cycle) for cycle in pipeline]),
            IntAttr(latency),
        )

    @property
    def planned(self) -> bool:
        """Whether a plan has been chosen."""
        return self.groups.data > 0

    @property
    def scheduled(self) -> bool:
        """Whether the pipeline is known."""
        return len(self.pipeline) > 0

    @property
    def cycles(self) -> list[int]:
        """Cycles of the parts of an iteration."""
        return [cycle.data for cycle in self.pipeline]

    @property
    def summary(self) -> str:
        """The plan in a few words, such as ``in_step 4 x 16, multiplier, logic``."""
        kinds = (self.products.data, self.storage.data)
        plan = f"{self.order.data} {self.groups.data} x {self.lanes.data}, {', '.join(kinds)}"
        return plan if self.planned else "folded"

    def with_pipeline(self, pipeline: Sequence[int], latency: int) -> "FoldedAttr":
        """Return the same plan with a schedule."""
        return FoldedAttr(
            self.reuse.data,
            self.groups.data,
            self.lanes.data,
            Order(self.order.data),
            Products(self.products.data),
            Storage(self.storage.data),
            pipeline,
            latency,
        )

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse ``<8>``, or ``<8, in_step 4 x 16, multiplier, logic, [0, 1] in 11>``."""
        pipeline, latency = list[int](), 0
        with parser.in_angle_brackets():
            found = cls(parser.parse_integer(allow_boolean=False))
            if parser.parse_optional_punctuation(",") is not None:
                order = parser.parse_str_enum(Order)
                groups = parser.parse_integer(allow_boolean=False)
                parser.parse_keyword("x")
                lanes = parser.parse_integer(allow_boolean=False)
                parser.parse_punctuation(",")
                products = parser.parse_str_enum(Products)
                parser.parse_punctuation(",")
                storage = parser.parse_str_enum(Storage)
                if parser.parse_optional_punctuation(",") is not None:
                    pipeline = parser.parse_comma_separated_list(
                        parser.Delimiter.SQUARE, lambda: parser.parse_integer(allow_boolean=False)
                    )
                    parser.parse_keyword("in")
                    latency = parser.parse_integer(allow_boolean=False)
                plan = (groups, lanes, order, products, storage)
                found = cls(found.reuse.data, *plan, pipeline, latency)
        return found.parameters

    def print_parameters(self, printer: Printer) -> None:
        """Print what :meth:`parse_parameters` parses."""
        text = str(self.reuse.data)
        if self.planned:
            text += f", {self.summary}"
        if self.scheduled:
            text += f", [{', '.join(map(str, self.cycles))}] in {self.latency.data}"
        with printer.in_angle_brackets():
            printer.print_string(text)

    def verify(self) -> None:
        """Check the numbers."""
        if self.reuse.data < 1:
            raise VerifyException(f"reuse factor must be >= 1, got {self.reuse.data}")
        if (self.groups.data < 1) != (self.lanes.data < 1):
            raise VerifyException("a plan has both groups and lanes")
        kinds = ((Order, self.order), (Products, self.products), (Storage, self.storage))
        for kind, value in kinds:
            if value.data not in list(kind):
                raise VerifyException(f"'{value.data}' is none of {', '.join(kind)}")
        if self.scheduled and (min(self.cycles) < 0 or self.cycles != sorted(self.cycles)):
            raise VerifyException("the cycles of a pipeline do not descend")
