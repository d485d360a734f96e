"""Custom directives for assembly formats: integers printed as plain numbers."""

from typing import cast

from xdsl.dialects.builtin import ArrayAttr, IntAttr
from xdsl.irdl import IRDLOperation
from xdsl.irdl.declarative_assembly_format import (
    AttributeVariable,
    CustomDirective,
    ParsingState,
    PrintingState,
    irdl_custom_directive,
)
from xdsl.parser import Parser
from xdsl.printer import Printer


@irdl_custom_directive
class Integer(CustomDirective):
    """An ``IntAttr`` as a plain number."""

    number: AttributeVariable

    def parse(self, parser: Parser, state: ParsingState) -> None:
        """Parse a number."""
        self.number.set(state, IntAttr(parser.parse_integer(allow_boolean=False)))

    def print(self, printer: Printer, state: PrintingState, op: IRDLOperation) -> None:
        """Print the number."""
        number = cast(IntAttr, self.number.get(op))
        state.print_whitespace(printer)
        printer.print_string(str(number.data))

    def is_anchorable(self) -> bool:
        """Whether an optional group may hang on this."""
        return True

    def is_present(self, op: IRDLOperation) -> bool:
        """Whether there is a number to print."""
        return self.number.get(op) is not None


@irdl_custom_directive
class Integers(CustomDirective):
    """An array of ``IntAttr`` as ``[1, -1]``."""

    numbers: AttributeVariable

    def parse(self, parser: Parser, state: ParsingState) -> None:
        """Parse a list of numbers."""
        found = parser.parse_comma_separated_list(
            parser.Delimiter.SQUARE, lambda: parser.parse_integer(allow_boolean=False)
        )
        self.numbers.set(state, ArrayAttr([IntAttr(number) for number in found]))

    def print(self, printer: Printer, state: PrintingState, op: IRDLOperation) -> None:
        """Print the list."""
        numbers = cast(ArrayAttr[IntAttr], self.numbers.get(op))
        state.print_whitespace(printer)
        printer.print_string(f"[{', '.join(str(number.data) for number in numbers)}]")
