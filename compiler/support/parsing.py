"""Parse IR text whose names are any Unicode text."""

from xdsl.parser import Parser
from xdsl.utils.mlir_lexer import MLIRTokenKind, StringLiteral


class TextParser(Parser):
    """A parser that takes a string literal for UTF-8 text, as MLIR does.

    The printer escapes what is not ASCII, and ``xdsl.parser.Parser`` takes a literal with
    such escapes for bytes, so that names would not come back as the strings that they were.
    """

    def parse_optional_str_literal(self) -> str | None:
        """Parse a string literal, if there is one; bytes that are no UTF-8 are none."""
        literal = super().parse_optional_str_literal()
        token = self._current_token
        if literal is not None or token.kind != MLIRTokenKind.BYTES_LIT:
            return literal
        try:
            text = StringLiteral.from_span(token.span).string_contents
        except UnicodeDecodeError:
            return None
        self._consume_token()
        return text
