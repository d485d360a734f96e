"""Upstream's assembly where that of xDSL 0.74 loses something.

xDSL prints ``arith.cmpi`` without its discardable attributes, and refuses to parse upstream's
text where it has some: a schedule would be lost on paper. It prints ``affine.if`` in the generic
form only, with a property that upstream does not know. Importing this module gives both
operations the assembly that MLIR gives them. (``affine.load`` and ``affine.store`` have the
first defect too; no directive may stand on them.)
"""

from collections.abc import Sequence

from xdsl.dialects import affine, arith
from xdsl.dialects.builtin import AffineSetAttr, IndexType
from xdsl.ir import Attribute, Block, Region
from xdsl.parser import Parser
from xdsl.printer import Printer


def _parse_if(parser: Parser) -> affine.IfOp:
    """Parse ``affine_set<...>(%i)[%s] -> (type) { ... } else { ... } {attributes}``."""
    condition = parser.parse_attribute()
    if not isinstance(condition, AffineSetAttr):
        parser.raise_error("expected an affine set")
    operands = parser.parse_comma_separated_list(
        parser.Delimiter.PAREN, parser.parse_unresolved_operand
    )
    symbols = parser.parse_optional_comma_separated_list(
        parser.Delimiter.SQUARE, parser.parse_unresolved_operand
    )
    operands += symbols or []
    types: Sequence[Attribute] = ()
    if parser.parse_optional_punctuation("->") is not None:
        types = parser.parse_comma_separated_list(parser.Delimiter.PAREN, parser.parse_type)
    regions = [_ended(parser.parse_region()), Region()]
    if parser.parse_optional_keyword("else") is not None:
        regions[1] = _ended(parser.parse_region())
    attributes = parser.parse_optional_attr_dict()
    index = [IndexType()] * len(operands)
    return affine.IfOp.create(
        operands=parser.resolve_operands(operands, index, parser.pos),
        result_types=types,
        properties={"condition": condition},
        attributes=attributes,
        regions=regions,
    )


def _ended(region: Region) -> Region:
    """End a region as upstream's text leaves it to the parser to do."""
    if not region.blocks:
        region.add_block(Block())
    block = region.block
    if not isinstance(block.last_op, affine.YieldOp):
        block.add_op(affine.YieldOp.get())
    return region


def _print_if(op: affine.IfOp, printer: Printer) -> None:
    """Print ``affine_set<...>(%i)[%s] -> (type) { ... } else { ... } {attributes}``."""
    dims = op.condition.data.num_dims
    printer.print_string(" ")
    printer.print_attribute(op.condition)
    with printer.in_parens():
        printer.print_list(op.args[:dims], printer.print_operand)
    if symbols := op.args[dims:]:
        with printer.in_square_brackets():
            printer.print_list(symbols, printer.print_operand)
    if op.results:
        printer.print_string(" -> ")
        with printer.in_parens():
            printer.print_list(op.res.types, printer.print_attribute)
    yields = bool(op.results)
    printer.print_string(" ")
    printer.print_region(op.then_region, print_block_terminators=yields)
    if op.else_region.blocks:
        printer.print_string(" else ")
        printer.print_region(op.else_region, print_block_terminators=yields)
    printer.print_op_attributes(op.attributes)


def _parse(parser: Parser) -> arith.CmpiOp:
    """Parse ``slt, %a, %b {attributes} : type``."""
    predicate = parser.parse_identifier()
    parser.parse_punctuation(",")
    lhs = parser.parse_unresolved_operand()
    parser.parse_punctuation(",")
    rhs = parser.parse_unresolved_operand()
    attributes = parser.parse_optional_attr_dict()
    parser.parse_punctuation(":")
    operand_type = parser.parse_type()
    operands = parser.resolve_operands([lhs, rhs], 2 * [operand_type], parser.pos)
    op = arith.CmpiOp(operands[0], operands[1], predicate)
    op.attributes |= attributes
    return op


def _print(op: arith.CmpiOp, printer: Printer) -> None:
    """Print ``slt, %a, %b {attributes} : type``."""
    predicate = arith.CMPI_COMPARISON_OPERATIONS[op.predicate.value.data]
    printer.print_string(f" {predicate}, ")
    printer.print_operand(op.lhs)
    printer.print_string(", ")
    printer.print_operand(op.rhs)
    printer.print_op_attributes(op.attributes)
    printer.print_string(" : ")
    printer.print_attribute(op.lhs.type)


for _name, _method in {"parse": staticmethod(_parse), "print": _print}.items():
    setattr(arith.CmpiOp, _name, _method)
for _name, _method in {"parse": staticmethod(_parse_if), "print": _print_if}.items():
    setattr(affine.IfOp, _name, _method)

ARITH = arith.Arith
"""xDSL's dialect, with that assembly."""
