"""Upstream's assembly of ``arith.cmpi``, whose attributes xDSL 0.74 drops.

xDSL prints ``arith.cmpi`` without its discardable attributes, and refuses to parse upstream's
text where it has some: a schedule would be lost on paper. Importing this module gives the
operation the assembly that MLIR gives it. (``affine.load`` and ``affine.store`` have the same
defect; no directive may stand on them.)
"""

from xdsl.dialects import arith
from xdsl.parser import Parser
from xdsl.printer import Printer


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

ARITH = arith.Arith
"""xDSL's dialect, with that assembly."""
