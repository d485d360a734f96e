"""Operator schemas: which attributes, inputs and outputs an operator has, per opset.

For standard operators they are ONNX's own, so that no default is a literal of ours. The
QONNX operators have no published schema; theirs are written down here in the same form.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx
import onnx.defs

QONNX_DOMAINS = ("finn.custom_op.general", "onnx.brevitas", "qonnx.custom_op.general")
"""Names under which exporters file the QONNX operators."""
QONNX = "qonnx.custom_op.general"
"""The one of them that stands for all."""

CHANNELS_LAST = "qonnx.custom_op.channels_last"
"""Operators of ONNX on tensors whose channels are the last axis; as QONNX has them."""
_LATEST_CHANNELS_LAST = 14


@dataclass(frozen=True)
class Attribute:
    """Type (``INT``, ``FLOATS``, ...) and default of an attribute."""

    kind: str
    required: bool = False
    default: object = None


@dataclass(frozen=True)
class Schema:
    """Attributes, inputs and outputs of one version of an operator."""

    name: str
    since: int
    inputs: tuple[str, ...]
    required_inputs: int
    outputs: tuple[str, ...]
    variadic: bool = False
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])


_QUANT_ATTRIBUTES = {
    "signed": Attribute("INT", required=True),
    "narrow": Attribute("INT", required=True),
    "rounding_mode": Attribute("STRING", default=b"ROUND"),
}
_QUANT_INPUTS = ("X", "scale", "zeropt", "bitwidth")
_QONNX_SCHEMAS = {
    "Quant": [Schema("Quant", 1, _QUANT_INPUTS, 4, ("Y",), attributes=_QUANT_ATTRIBUTES)],
    "IntQuant": [Schema("IntQuant", 1, _QUANT_INPUTS, 4, ("Y",), attributes=_QUANT_ATTRIBUTES)],
    "BipolarQuant": [Schema("BipolarQuant", 1, ("X", "scale"), 2, ("Y",))],
    "Trunc": [
        Schema(
            "Trunc",
            1,
            (*_QUANT_INPUTS[:3], "in_bitwidth", "out_bitwidth"),
            5,
            ("Y",),
            attributes={"rounding_mode": Attribute("STRING", default=b"FLOOR")},
        ),
        Schema(
            "Trunc",
            2,
            (*_QUANT_INPUTS[:3], "in_bitwidth", "out_scale", "out_bitwidth"),
            6,
            ("Y",),
            attributes={
                "rounding_mode": Attribute("STRING", default=b"FLOOR"),
                "narrow": Attribute("INT", default=0),
                "signed": Attribute("INT", default=1),
            },
        ),
    ],
}
"""Versions of each operator, oldest first."""
_WINDOW_ATTRIBUTES = {name: Attribute("INTS") for name in ("strides", "dilations", "pads")}
_CHANNELS_LAST_SCHEMAS = {
    "Conv": Schema(
        "Conv",
        1,
        ("X", "W", "B"),
        2,
        ("Y",),
        attributes={
            **_WINDOW_ATTRIBUTES,
            "kernel_shape": Attribute("INTS"),
            "group": Attribute("INT", default=1),
        },
    ),
    "MaxPool": Schema(
        "MaxPool",
        1,
        ("X",),
        1,
        ("Y",),
        attributes={
            **_WINDOW_ATTRIBUTES,
            "kernel_shape": Attribute("INTS", required=True),
            "ceil_mode": Attribute("INT", default=0),
        },
    ),
}
"""One version of each: versions of the domain differ in nothing that QONNX executes."""


def latest_opset(domain: str) -> int:
    """Return the newest version of an operator set that we know; 0 if none."""
    if domain in QONNX_DOMAINS:
        return max(s.since for versions in _QONNX_SCHEMAS.values() for s in versions)
    if domain == CHANNELS_LAST:
        return _LATEST_CHANNELS_LAST
    return onnx.defs.onnx_opset_version() if domain == "" else 0


def find_schema(domain: str, name: str, opset: int) -> Schema | None:
    """Return the schema that is in force in an opset; None if the operator is unknown."""
    if domain in QONNX_DOMAINS:
        versions = [s for s in _QONNX_SCHEMAS.get(name, []) if s.since <= opset]
        return versions[-1] if versions else None
    if domain == CHANNELS_LAST:
        return _CHANNELS_LAST_SCHEMAS.get(name)
    try:
        schema = onnx.defs.get_schema(name, opset, domain)
    except onnx.defs.SchemaError:
        return None
    option = onnx.defs.OpSchema.FormalParameterOption
    return Schema(
        name,
        schema.since_version,
        tuple(parameter.name for parameter in schema.inputs),
        sum(parameter.option != option.Optional for parameter in schema.inputs),
        tuple(parameter.name for parameter in schema.outputs),
        any(parameter.option == option.Variadic for parameter in schema.inputs),
        {name: _attribute(entry) for name, entry in schema.attributes.items()},
    )


def _attribute(entry: onnx.defs.OpSchema.Attribute) -> Attribute:
    default = entry.default_value
    value = onnx.helper.get_attribute_value(default) if default.name else None
    return Attribute(str(entry.type).rpartition(".")[2], entry.required, value)
