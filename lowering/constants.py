"""Contents of constant memories."""

from xdsl.dialects import memref
from xdsl.dialects.builtin import DenseIntElementsAttr, ModuleOp
from xdsl.ir import Operation
from xdsl.utils.hints import isa

from fastml.compiler.support.diagnostics import FastmlError


def definition_of(op: memref.GetGlobalOp) -> memref.GlobalOp:
    """Return the global that ``op`` gets."""
    module: Operation | None = op
    while module is not None and not isinstance(module, ModuleOp):
        module = module.parent_op()
    assert module is not None
    name = op.name_.string_value()
    for found in module.ops:
        if isinstance(found, memref.GlobalOp) and found.sym_name.data == name:
            return found
    raise FastmlError(f"there is no memory '{name}'", op)


def constant_words(op: memref.GetGlobalOp) -> list[int]:
    """Return the integers of the global that ``op`` gets, row-major."""
    found = definition_of(op)
    value = found.initial_value
    if found.constant is None or not isa(value, DenseIntElementsAttr):
        raise FastmlError(f"memory '{found.sym_name.data}' is not a constant of integers", op)
    return list(value.get_values())
