"""CIRCT operations of `hw`, `comb` and `seq` that xDSL lacks, under their upstream names.

A value of these dialects is a wire: a vector of bits without a sign, and operations carry
the sign. What is printed here parses in CIRCT, and the other way round. Nothing is our own:
:data:`HW`, :data:`COMB` and :data:`SEQ` are xDSL's dialects, extended.
"""

from typing import ClassVar, cast

from xdsl.context import Context
from xdsl.dialects import comb, hw, seq
from xdsl.dialects.builtin import (
    I32,
    ArrayAttr,
    IntAttr,
    IntegerAttr,
    IntegerType,
    StringAttr,
    i1,
    i32,
)
from xdsl.ir import Attribute, Dialect, ParametrizedAttribute, SSAValue, TypeAttribute
from xdsl.irdl import (
    AttrSizedOperandSegments,
    IRDLOperation,
    VarConstraint,
    attr_def,
    base,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_attr_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.parser import AttrParser, Parser
from xdsl.printer import Printer
from xdsl.traits import ConstantLike, Pure
from xdsl.utils.exceptions import VerifyException

NAME_HINT = "sv.namehint"
"""Attribute with the name that a wire has in the printed hardware, as in CIRCT."""


def bits(value_type: Attribute) -> int:
    """Return the width of an integer type; 0 for clocks, arrays and memories."""
    if isinstance(value_type, IntegerType):
        return cast(IntegerType, value_type).width.data
    return 0


@irdl_op_definition
class WireOp(IRDLOperation):
    """Give a value a name of its own, so that it can be watched."""

    name = "hw.wire"

    T: ClassVar = VarConstraint("T", base(IntegerType))

    input = operand_def(T)
    result = result_def(T)
    wire_name = opt_attr_def(StringAttr, attr_name="name")

    traits = traits_def(Pure())

    def __init__(self, value: SSAValue, name_hint: str):
        super().__init__(
            operands=[value],
            result_types=[value.type],
            attributes={NAME_HINT: StringAttr(name_hint)},
        )

    @classmethod
    def parse(cls, parser: Parser) -> "WireOp":
        """Parse, with CIRCT's optional ``name "..."`` clause."""
        operand = parser.parse_unresolved_operand()
        attributes: dict[str, Attribute] = {}
        if parser.parse_optional_keyword("name") is not None:
            attributes["name"] = StringAttr(parser.parse_str_literal())
        attributes |= parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        wire_type = parser.parse_type()
        return cls.create(
            operands=[parser.resolve_operand(operand, wire_type)],
            result_types=[wire_type],
            attributes=attributes,
        )

    def print(self, printer: Printer) -> None:
        """Print, with CIRCT's optional ``name "..."`` clause."""
        printer.print_string(" ")
        printer.print_operand(self.input)
        if self.wire_name is not None:
            printer.print_string(" name ")
            printer.print_attribute(self.wire_name)
        printer.print_op_attributes(self.attributes, reserved_attr_names=("name",))
        printer.print_string(" : ")
        printer.print_attribute(self.input.type)


@irdl_op_definition
class AggregateConstantOp(IRDLOperation):
    """A constant array. As in every `hw` array the *last* field has index 0."""

    name = "hw.aggregate_constant"

    fields = attr_def(ArrayAttr[IntegerAttr[IntegerType]])
    result = result_def(hw.ArrayType)

    assembly_format = "$fields attr-dict `:` type($result)"
    traits = traits_def(Pure(), ConstantLike())

    def __init__(self, words: list[int], width: int):
        """Hold ``words``, index 0 first, each a pattern of ``width`` bits."""
        element = IntegerType(width)
        half = 1 << (width - 1)
        fields = [
            IntegerAttr(((word & (2 * half - 1)) ^ half) - half, element)
            for word in reversed(words)
        ]
        super().__init__(
            attributes={"fields": ArrayAttr(fields)},
            result_types=[hw.ArrayType(element, len(words))],
        )

    def words(self) -> list[int]:
        """Return the elements as unsigned bit patterns, index 0 first."""
        return [
            field.value.data & ((1 << field.type.width.data) - 1)
            for field in reversed(self.fields.data)
        ]

    def verify_(self) -> None:
        """Check the fields against the array's type."""
        array = self.result.type
        assert isinstance(array, hw.ArrayType)
        if len(self.fields.data) != len(array):
            raise VerifyException(
                f"has {len(self.fields.data)} fields for an array of {len(array)}"
            )
        for field in self.fields.data:
            if field.type != array.get_element_type():
                raise VerifyException(f"field {field} is not of type {array.get_element_type()}")


@irdl_op_definition
class ParityOp(comb.TwoStateOperation):
    """The exclusive or of all bits; xDSL's own rejects every input but ``i1``."""

    name = "comb.parity"

    input = operand_def(IntegerType)
    result = result_def(i1)

    traits = traits_def(Pure())

    def __init__(
        self,
        operand: SSAValue,
        two_state: bool = False,
        attr_dict: dict[str, Attribute] | None = None,
    ):
        super().__init__(
            operands=[operand],
            result_types=[i1],
            has_two_state_semantics=two_state,
            attributes=attr_dict,
        )

    @classmethod
    def parse(cls, parser: Parser) -> "ParityOp":
        """Parse CIRCT's form: the type is that of the operand."""
        two_state = cls.parse_optional_two_state_keyword(parser)
        operand = parser.parse_unresolved_operand()
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        value = parser.resolve_operand(operand, parser.parse_type())
        return cls(value, two_state, attributes)

    def print(self, printer: Printer) -> None:
        """Print CIRCT's form: the type is that of the operand."""
        self.print_optional_two_state_keyword(printer)
        printer.print_string(" ")
        printer.print_operand(self.input)
        printer.print_op_attributes(self.attributes)
        printer.print_string(" : ")
        printer.print_attribute(self.input.type)


@irdl_attr_definition
class FirMemType(ParametrizedAttribute, TypeAttribute):
    """A memory of ``depth`` words of ``width`` bits, written ``!seq.firmem<8 x 16>``."""

    name = "seq.firmem"

    depth: IntAttr
    width: IntAttr

    def __init__(self, depth: int, width: int):
        super().__init__(IntAttr(depth), IntAttr(width))

    @property
    def address_width(self) -> int:
        """Bits that an address has; one bit where one word needs none, as in CIRCT."""
        return max((self.depth.data - 1).bit_length(), 1)

    def verify(self) -> None:
        """Reject an empty memory."""
        if self.depth.data < 1 or self.width.data < 1:
            raise VerifyException("a memory has at least one word of one bit")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> list[Attribute]:
        """Parse ``<depth x width>``."""
        with parser.in_angle_brackets():
            depth, word = parser.parse_integer(), _parse_by_width(parser)
            if parser.parse_optional_punctuation(",") is not None:
                parser.raise_error("memories with a write mask are not supported")
        return [IntAttr(depth), IntAttr(word)]

    def print_parameters(self, printer: Printer) -> None:
        """Print ``<depth x width>``."""
        printer.print_string(f"<{self.depth.data} x {self.width.data}>")


def _parse_by_width(parser: AttrParser) -> int:
    """Parse the ``x 16`` of a memory's type."""
    parser.parse_keyword("x")
    return parser.parse_integer()


def _print_memory_type(printer: Printer, memory: SSAValue) -> None:
    assert isinstance(memory.type, FirMemType)
    printer.print_string(" : ")
    memory.type.print_parameters(printer)


def _check_address(memory: SSAValue, address: SSAValue) -> None:
    assert isinstance(memory.type, FirMemType)
    if address.type != (expected := IntegerType(memory.type.address_width)):
        raise VerifyException(f"address is {address.type}, the memory needs {expected}")


_RUW = ("undefined", "old", "new")
_WUW = ("undefined", "port_order")


@irdl_op_definition
class FirMemOp(IRDLOperation):
    """A memory: read and write latency, what collisions of read or write ports give."""

    name = "seq.firmem"

    read_latency = prop_def(IntegerAttr[I32], prop_name="readLatency")
    write_latency = prop_def(IntegerAttr[I32], prop_name="writeLatency")
    ruw = prop_def(IntegerAttr[I32])
    wuw = prop_def(IntegerAttr[I32])
    memory_name = opt_prop_def(StringAttr, prop_name="name")
    memory = result_def(FirMemType)

    def __init__(
        self,
        memory_type: FirMemType,
        read_latency: int,
        *,
        ruw: str = "undefined",
        wuw: str = "undefined",
        attr_dict: dict[str, Attribute] | None = None,
    ):
        super().__init__(
            properties={
                "readLatency": IntegerAttr(read_latency, i32),
                "writeLatency": IntegerAttr(1, i32),
                "ruw": IntegerAttr(_RUW.index(ruw), i32),
                "wuw": IntegerAttr(_WUW.index(wuw), i32),
            },
            attributes=attr_dict,
            result_types=[memory_type],
        )

    @property
    def read_under_write(self) -> str:
        """What a read port shows of a word that is written: undefined, old or new."""
        return _RUW[self.ruw.value.data]

    @property
    def write_under_write(self) -> str:
        """What two writes to one word leave: undefined, or the later port's data."""
        return _WUW[self.wuw.value.data]

    def verify_(self) -> None:
        """Check the latencies and the collision rules."""
        if self.read_latency.value.data not in (0, 1):
            raise VerifyException("read latency is 0 or 1")
        if self.write_latency.value.data != 1:
            raise VerifyException("write latency is 1")
        if not 0 <= self.ruw.value.data < len(_RUW):
            raise VerifyException("unknown read-under-write behaviour")
        if not 0 <= self.wuw.value.data < len(_WUW):
            raise VerifyException("unknown write-under-write behaviour")

    @classmethod
    def parse(cls, parser: Parser) -> "FirMemOp":
        """Parse ``readLatency, writeLatency, ruw, wuw : <depth x width>``."""
        read = parser.parse_integer()
        parser.parse_punctuation(",")
        write = parser.parse_integer()
        parser.parse_punctuation(",")
        ruw = parser.expect(lambda: _keyword(parser, _RUW), "expected a collision rule")
        parser.parse_punctuation(",")
        wuw = parser.expect(lambda: _keyword(parser, _WUW), "expected a collision rule")
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        memory_type = _parse_short_type(parser)
        op = cls(memory_type, read, ruw=ruw, wuw=wuw, attr_dict=attributes)
        op.write_latency = IntegerAttr(write, i32)
        return op

    def print(self, printer: Printer) -> None:
        """Print ``readLatency, writeLatency, ruw, wuw : <depth x width>``."""
        latencies = f" {self.read_latency.value.data}, {self.write_latency.value.data}"
        rules = f"{self.read_under_write}, {self.write_under_write}"
        printer.print_string(f"{latencies}, {rules}")
        printer.print_op_attributes(self.attributes)
        _print_memory_type(printer, self.memory)


def _keyword(parser: Parser, keywords: tuple[str, ...]) -> str | None:
    return next((k for k in keywords if parser.parse_optional_keyword(k)), None)


def _parse_short_type(parser: Parser) -> FirMemType:
    depth, width = FirMemType.parse_parameters(parser)
    return FirMemType(cast(IntAttr, depth).data, cast(IntAttr, width).data)


@irdl_op_definition
class FirMemReadOp(IRDLOperation):
    """Read one word; with an enable, what is read is undefined while that is low."""

    name = "seq.firmem.read_port"

    memory = operand_def(FirMemType)
    address = operand_def(IntegerType)
    clk = operand_def(seq.clock)
    enable = opt_operand_def(i1)
    data = result_def(IntegerType)

    def __init__(
        self,
        memory: SSAValue,
        address: SSAValue,
        clk: SSAValue,
        enable: SSAValue | None = None,
        attr_dict: dict[str, Attribute] | None = None,
    ):
        assert isinstance(memory.type, FirMemType)
        super().__init__(
            operands=[memory, address, clk, enable],
            attributes=attr_dict,
            result_types=[IntegerType(memory.type.width.data)],
        )

    def verify_(self) -> None:
        """Check address and data against the memory's type."""
        _check_address(self.memory, self.address)
        assert isinstance(self.memory.type, FirMemType)
        if self.data.type != IntegerType(self.memory.type.width.data):
            raise VerifyException("data does not have the width of the memory")

    @classmethod
    def parse(cls, parser: Parser) -> "FirMemReadOp":
        """Parse ``%memory[%address], clock %clk enable %e : <depth x width>``."""
        memory = parser.parse_unresolved_operand()
        with parser.in_square_brackets():
            address = parser.parse_unresolved_operand()
        parser.parse_punctuation(",")
        parser.parse_keyword("clock")
        clk = parser.parse_unresolved_operand()
        enable = None
        if parser.parse_optional_keyword("enable") is not None:
            enable = parser.parse_unresolved_operand()
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        memory_type = _parse_short_type(parser)
        return cls(
            parser.resolve_operand(memory, memory_type),
            parser.resolve_operand(address, IntegerType(memory_type.address_width)),
            parser.resolve_operand(clk, seq.clock),
            None if enable is None else parser.resolve_operand(enable, i1),
            attributes,
        )

    def print(self, printer: Printer) -> None:
        """Print ``%memory[%address], clock %clk enable %e : <depth x width>``."""
        printer.print_string(" ")
        printer.print_operand(self.memory)
        with printer.in_square_brackets():
            printer.print_operand(self.address)
        printer.print_string(", clock ")
        printer.print_operand(self.clk)
        if self.enable is not None:
            printer.print_string(" enable ")
            printer.print_operand(self.enable)
        printer.print_op_attributes(self.attributes)
        _print_memory_type(printer, self.memory)


@irdl_op_definition
class FirMemWriteOp(IRDLOperation):
    """Write one word at the end of each cycle in which the enable, if any, is high."""

    name = "seq.firmem.write_port"

    memory = operand_def(FirMemType)
    address = operand_def(IntegerType)
    clk = operand_def(seq.clock)
    enable = opt_operand_def(i1)
    data = operand_def(IntegerType)
    mask = opt_operand_def(IntegerType)

    irdl_options = (AttrSizedOperandSegments(as_property=True),)

    def __init__(
        self,
        memory: SSAValue,
        address: SSAValue,
        data: SSAValue,
        clk: SSAValue,
        enable: SSAValue | None = None,
        attr_dict: dict[str, Attribute] | None = None,
    ):
        super().__init__(operands=[memory, address, clk, enable, data, None], attributes=attr_dict)

    def verify_(self) -> None:
        """Check address and data against the memory's type."""
        _check_address(self.memory, self.address)
        assert isinstance(self.memory.type, FirMemType)
        if self.data.type != IntegerType(self.memory.type.width.data):
            raise VerifyException("data does not have the width of the memory")
        if self.mask is not None:
            raise VerifyException("memories with a write mask are not supported")

    @classmethod
    def parse(cls, parser: Parser) -> "FirMemWriteOp":
        """Parse ``%memory[%address] = %data, clock %clk enable %e : <...>``."""
        memory = parser.parse_unresolved_operand()
        with parser.in_square_brackets():
            address = parser.parse_unresolved_operand()
        parser.parse_punctuation("=")
        data = parser.parse_unresolved_operand()
        parser.parse_punctuation(",")
        parser.parse_keyword("clock")
        clk = parser.parse_unresolved_operand()
        enable = None
        if parser.parse_optional_keyword("enable") is not None:
            enable = parser.parse_unresolved_operand()
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        memory_type = _parse_short_type(parser)
        return cls(
            parser.resolve_operand(memory, memory_type),
            parser.resolve_operand(address, IntegerType(memory_type.address_width)),
            parser.resolve_operand(data, IntegerType(memory_type.width.data)),
            parser.resolve_operand(clk, seq.clock),
            None if enable is None else parser.resolve_operand(enable, i1),
            attributes,
        )

    def print(self, printer: Printer) -> None:
        """Print ``%memory[%address] = %data, clock %clk enable %e : <...>``."""
        printer.print_string(" ")
        printer.print_operand(self.memory)
        with printer.in_square_brackets():
            printer.print_operand(self.address)
        printer.print_string(" = ")
        printer.print_operand(self.data)
        printer.print_string(", clock ")
        printer.print_operand(self.clk)
        if self.enable is not None:
            printer.print_string(" enable ")
            printer.print_operand(self.enable)
        printer.print_op_attributes(self.attributes)
        _print_memory_type(printer, self.memory)


HW = Dialect(
    "hw",
    [*hw.HW.operations, WireOp, AggregateConstantOp],
    list(hw.HW.attributes),
)
COMB = Dialect(
    "comb",
    [*(op for op in comb.Comb.operations if op is not comb.ParityOp), ParityOp],
    list(comb.Comb.attributes),
)
SEQ = Dialect(
    "seq",
    [*seq.Seq.operations, FirMemOp, FirMemReadOp, FirMemWriteOp],
    [*seq.Seq.attributes, FirMemType],
)


def register(ctx: Context) -> None:
    """Register `hw`, `comb` and `seq` with our extensions, in place of xDSL's."""
    for dialect in (HW, COMB, SEQ):
        ctx.register_dialect(dialect.name, lambda dialect=dialect: dialect)
