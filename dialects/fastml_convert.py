"""The conversion between fixed-point types: drop low bits with rounding, fit the rest."""

import re
from dataclasses import dataclass

from xdsl.dialects.builtin import StringAttr, TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from fastml.dialects.array import Array
from fastml.dialects.fastml_layer import LayerOp, check_tensor, element_type, require, shape_of
from fastml.dialects.fixed_modes import Overflow, Quantisation, requantise
from fastml.dialects.grid import FixedType

GRAMMAR = "fixed<W,I>, ufixed<W,I>, also with modes: fixed<W,I,RND,SAT>"
MAX_BITS = 1024
"""Widest type; widths beyond it are slips of the pen."""

_FORMAT = re.compile(
    r"(?:ap_)?(u?)fixed<\s*(\d{1,5})\s*,\s*(-?\d{1,5})\s*(?:,\s*(\w+)\s*(?:,\s*(\w+)\s*)?)?>",
    re.ASCII,
)


@dataclass(frozen=True)
class Format:
    """A fixed-point type and what a conversion to it does, as ``ap_fixed`` has it."""

    type: FixedType
    rounding: Quantisation = Quantisation.TRN
    overflow: Overflow = Overflow.WRAP

    @classmethod
    def parse(cls, text: str) -> "Format":
        """Read ``fixed<24,8>`` or ``ap_ufixed<8,0,AP_RND,AP_SAT>``; raise ``ValueError``."""
        match = _FORMAT.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"'{text}' is none of {GRAMMAR}")
        width = int(match[2])
        if not 0 < width <= MAX_BITS:
            raise ValueError(f"the width must be in 1..{MAX_BITS}, got {width}")
        modes = [(mode or "").lower().removeprefix("ap_") for mode in (match[4], match[5])]
        try:
            rounding = Quantisation(modes[0] or "trn")
            overflow = Overflow(modes[1] or "wrap")
        except ValueError:
            known = [mode.upper() for kind in (Quantisation, Overflow) for mode in kind]
            raise ValueError(f"'{text}' has a mode that is none of {', '.join(known)}") from None
        element = FixedType(int(not match[1]), width, width - int(match[3]))
        return cls(element, rounding, overflow)

    def __str__(self) -> str:
        width, fraction = self.type.width.data, self.type.fraction.data
        sign = "" if self.type.signed.data else "u"
        return f"{sign}fixed<{width},{width - fraction},{self.rounding},{self.overflow}>"


@irdl_op_definition
class ConvertOp(LayerOp):
    """Convert fixed-point numbers exactly as ``ap_fixed`` would; nothing passes through fp32."""

    name = "fastml.convert"

    input = operand_def(TensorType)
    rounding = prop_def(StringAttr)
    overflow = prop_def(StringAttr)

    traits = traits_def(Pure())
    assembly_format = (
        "$edge `(` $input `)` $rounding $overflow attr-dict `:` type($input) `->` type($result)"
    )

    def __init__(self, edge: str, input: SSAValue, to: Format):
        super().__init__(
            operands=[input],
            properties={
                "edge": StringAttr(edge),
                "rounding": StringAttr(to.rounding.value),
                "overflow": StringAttr(to.overflow.value),
            },
            result_types=[TensorType(to.type, shape_of(input))],
        )

    @property
    def source(self) -> FixedType:
        """The type of the operand."""
        element = element_type(self.input)
        assert isinstance(element, FixedType)
        return element

    @property
    def to(self) -> Format:
        """The type of the result, and how to get there."""
        element = element_type(self.result)
        assert isinstance(element, FixedType)
        return Format(element, Quantisation(self.rounding.data), Overflow(self.overflow.data))

    def convert(self, raw: Array) -> Array:
        """Convert raw integers."""
        to = self.to
        drop = self.source.fraction.data - to.type.fraction.data
        return requantise(raw, drop, *to.type.storage, to.rounding, to.overflow)

    def verify_(self) -> None:
        """Check shapes, types and modes."""
        for value in (self.input, self.result):
            check_tensor(value, "operand and result")
            if not isinstance(element_type(value), FixedType):
                raise VerifyException("operand and result must be of fixed types")
        require(shape_of(self.input) == shape_of(self.result), "shapes differ")
        for mode, kind in ((self.rounding.data, Quantisation), (self.overflow.data, Overflow)):
            known = [str(entry) for entry in kind]
            require(mode in known, f"'{mode}' is none of {', '.join(known)}")
