"""Read through wiring: arrays that a tool cannot split, and that only rearrange others.

The windows of a small image are more elements than a tool splits into registers, though
each of them is an element of the image. Whoever reads such an array reads the image instead.
"""

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, MemRefType, ModuleOp, StringAttr
from xdsl.ir import BlockArgument, Operation, SSAValue
from xdsl.ir.affine import AffineConstantExpr
from xdsl.passes import ModulePass
from xdsl.utils.hints import isa

from fastml.compiler.support.names import Namer
from fastml.dialects import directives

_MOVES = (
    affine.LoadOp,
    affine.StoreOp,
    arith.ConstantOp,
    arith.ExtSIOp,
    arith.ExtUIOp,
    arith.TruncIOp,
    func.ReturnOp,
)


@dataclass(frozen=True)
class HlsWiring(ModulePass):
    """Replace arrays of more than ``partition`` elements that only rearrange others."""

    name = "hls-wiring"

    partition: int = 0
    """Most elements of an array that is split into registers; 0: any."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Forward array by array, so that wiring of wiring goes as well."""
        if not self.partition:
            return
        functions = {f.sym_name.data: f for f in op.ops if isinstance(f, func.FuncOp)}
        for function in list(functions.values()):
            for call in list(function.walk()):
                if isinstance(call, func.CallOp):
                    self._forward(call, functions)

    def _forward(self, call: func.CallOp, functions: dict[str, func.FuncOp]) -> None:
        """Let the readers of what ``call`` makes read what it reads, if it is wiring."""
        wiring = functions[call.callee.string_value()]
        made = _made_by(call, wiring)
        if made is None or len(made.type.get_shape()) != 1:
            return
        if made.type.element_count() <= self.partition or not _is_wiring(wiring):
            return
        readers = [use.operation for use in made.memref.uses if use.operation is not call]
        calls = [op for op in readers if isinstance(op, func.CallOp)]
        if len(calls) < len(readers) or len(set(calls)) < len(calls):
            return
        callees = [functions[reader.callee.string_value()] for reader in calls]
        alone = all(_calls(functions, callee) == 1 for callee in callees)
        if not alone or not all(map(_reads_elements, calls, callees, [made.memref] * len(calls))):
            return
        for reader, callee in zip(calls, callees, strict=True):
            _read_through(reader, callee, made.memref, call, wiring)
        call.detach()
        call.erase()
        made.op.detach()
        made.op.erase()
        if not _calls(functions, wiring):
            del functions[wiring.sym_name.data]
            wiring.detach()
            wiring.erase()


@dataclass(frozen=True)
class _Made:
    op: memref.AllocOp
    memref: SSAValue
    type: MemRefType


def _made_by(call: func.CallOp, callee: func.FuncOp) -> _Made | None:
    """Return the one array that a call fills, if it is an allocation."""
    described = directives.argument_attributes(callee)
    pairs = list(zip(call.operands, described, strict=True))
    filled = [v for v, d in pairs if directives.text(d, directives.DIRECTION) == "out"]
    if len(filled) != 1 or not isinstance(filled[0].owner, memref.AllocOp):
        return None
    op = filled[0].owner
    if directives.STREAM in op.attributes or not isa(op.memref.type, MemRefType):
        return None
    return _Made(op, op.memref, op.memref.type)


def _is_wiring(function: func.FuncOp) -> bool:
    return all(isinstance(op, _MOVES) for op in function.body.block.ops)


def _calls(functions: dict[str, func.FuncOp], callee: func.FuncOp) -> int:
    name = callee.sym_name.data
    found = 0
    for function in functions.values():
        for op in function.walk():
            found += isinstance(op, func.CallOp) and op.callee.string_value() == name
    return found


def _place(op: affine.LoadOp | affine.StoreOp) -> int | None:
    """Return the element that is accessed, if it is the same at every time."""
    results = op.map.data.results
    if len(results) == 1 and isinstance(results[0], AffineConstantExpr):
        return results[0].value
    return None


def _reads_elements(call: func.CallOp, callee: func.FuncOp, memory: SSAValue) -> bool:
    """Whether a function reads ``memory`` only, and element by element."""
    at = [k for k, operand in enumerate(call.operands) if operand is memory]
    if len(at) != 1:
        return False
    uses = [use.operation for use in callee.args[at[0]].uses]
    return all(isinstance(op, affine.LoadOp) and _place(op) is not None for op in uses)


def _read_through(
    call: func.CallOp,
    callee: func.FuncOp,
    memory: SSAValue,
    wired: func.CallOp,
    wiring: func.FuncOp,
) -> None:
    """Give a function the operands of the wiring instead of its result."""
    described = [dict(d) for d in directives.argument_attributes(callee)]
    namer = Namer(directives.text(d, directives.PORT) or "" for d in described)
    sources = dict[SSAValue, BlockArgument]()
    operands = list(call.operands)
    at = operands.index(memory)
    old = callee.args[at]
    attributes = directives.argument_attributes(wiring)
    inputs = [
        (operand, argument, dict(given))
        for operand, argument, given in zip(wired.operands, wiring.args, attributes, strict=True)
        if operand is not memory
    ]
    for number, (operand, argument, given) in enumerate(inputs, at + 1):
        block = callee.body.block
        sources[argument] = block.insert_arg(argument.type, number)
        port = directives.text(given, directives.PORT) or "x"
        given[directives.PORT] = StringAttr(namer.unique(port))
        described.insert(number, given)
        operands.insert(number, operand)
    _replace_loads(old, wiring, sources)
    del described[at], operands[at]
    callee.body.block.erase_arg(old)
    callee.update_function_type()
    callee.arg_attrs = ArrayAttr([DictionaryAttr(d) for d in described])
    call.operands = operands


def _replace_loads(
    old: SSAValue, wiring: func.FuncOp, sources: dict[SSAValue, BlockArgument]
) -> None:
    """Replace each load of ``old`` by what the wiring stores there."""
    stored = {
        _place(op): op.value for op in wiring.body.block.ops if isinstance(op, affine.StoreOp)
    }
    for load in [use.operation for use in old.uses]:
        assert isinstance(load, affine.LoadOp)
        chain, value = list[Operation](), stored[_place(load)]
        while isinstance(value.owner, Operation):
            chain.append(value.owner)
            if not value.owner.operands or isinstance(value.owner, affine.LoadOp):
                break
            (value,) = value.owner.operands
        block = load.parent_block()
        assert block is not None
        mapping: dict[SSAValue, SSAValue] = dict(sources)
        made: Operation = load
        for link in reversed(chain):
            made = link.clone(mapping)
            block.insert_op_before(made, load)
        load.result.replace_all_uses_with(made.results[0])
        load.detach()
        load.erase()
