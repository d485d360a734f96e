"""Execute what a process does to each beat on all beats of a frame at once.

A process that takes and gives one beat of every FIFO in each phase, and hands nothing from one
phase to the next, is a function of single beats: its beats are as many more frames.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from xdsl.dialects import affine, arith, func, memref
from xdsl.dialects.builtin import AffineMapAttr, MemRefType
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineDimExpr, AffineMap

from fastml.dialects.affine_processes import Process
from fastml.runtime.arith import Array
from fastml.runtime.memory import Memory, check_memref


def beat_function(process: Process) -> func.FuncOp | None:
    """Return the function of a process on single beats; ``None`` where there is none."""
    loop = process.loop
    if loop is None or loop.inits or any(a.beats != process.phases for a in process.arguments):
        return None
    (counter,) = loop.body.block.args
    arguments = set[SSAValue](process.function.body.block.args)
    around = (arith.ConstantOp, memref.GetGlobalOp, func.ReturnOp)
    if not all(op is loop or isinstance(op, around) for op in process.function.body.block.ops):
        return None
    accesses = {use.operation for argument in arguments for use in argument.uses}
    if any(use.operation not in accesses for use in counter.uses):
        return None
    if any(not _is_own(op, counter, loop.body.block) for op in accesses):
        return None
    return _on_beats(process.function, loop, arguments)


def _is_own(op: Operation, counter: SSAValue, body: Block) -> bool:
    """Whether an operation accesses some element of the beat of its phase."""
    if not isinstance(op, affine.LoadOp | affine.StoreOp) or op.parent_block() is not body:
        return False
    match op.map.data.results:
        case AffineDimExpr(position=0), AffineConstantExpr():
            return tuple(op.indices) == (counter,)
        case _:
            return False


def _on_beats(function: func.FuncOp, loop: affine.ForOp, arguments: set[SSAValue]) -> func.FuncOp:
    types = list[Attribute]()
    for argument in function.body.block.args:
        kind = check_memref(argument.type, function)
        types.append(MemRefType(kind.element_type, kind.get_shape()[1:]))
    block = Block(arg_types=types)
    values = dict[SSAValue, SSAValue](zip(function.body.block.args, block.args, strict=True))
    for op in function.body.block.ops:
        for inner in loop.body.block.ops if op is loop else (op,):
            if isinstance(inner, affine.YieldOp):
                continue
            made = _access(inner, values, arguments) or inner.clone(values)
            for before, after in zip(inner.results, made.results, strict=True):
                values[before] = after
            block.add_op(made)
    made = func.FuncOp(f"{function.sym_name.data} beat", (types, []), Region(block))
    made.arg_attrs = function.arg_attrs
    made.location = function.location
    return made


def _access(
    op: Operation, values: dict[SSAValue, SSAValue], arguments: set[SSAValue]
) -> Operation | None:
    """Return the access to a single beat that one to a beat of many becomes."""
    if not isinstance(op, affine.LoadOp | affine.StoreOp) or op.memref not in arguments:
        return None
    place = AffineMapAttr(AffineMap(0, 0, op.map.data.results[1:]))
    made: Operation
    if isinstance(op, affine.LoadOp):
        made = affine.LoadOp(values[op.memref], [], place)
    else:
        made = affine.StoreOp(values[op.value], values[op.memref], [], place)
    made.location = op.location
    return made


def joined_beats(memory: Memory, beats: int, frames: int) -> Memory:
    """Return an array of beats as one of single beats, of so many more frames."""
    size = len(memory.values) // beats
    values = list[Array | None]()
    for element in range(size):
        column = memory.values[element::size]
        known = [value for value in column if value is not None]
        if len(known) < beats:
            values.append(None)
            continue
        whole = np.empty((frames, beats), np.result_type(*{value.dtype for value in known}))
        for beat, value in enumerate(known):
            whole[:, beat] = value
        values.append(whole.reshape(-1))
    return replace(memory, shape=(size,), values=values, cycles=[0] * size, reads=[0] * size)


def split_beats(joined: Memory, into: Memory, beats: int, frames: int) -> None:
    """Put what was executed on single beats back into an array of beats."""
    size = len(joined.values)
    for element, value in enumerate(joined.values):
        if value is None:
            continue
        rows: Sequence[Array] = [value] * beats
        if len(value) == frames * beats:
            rows = list(np.ascontiguousarray(value.reshape(frames, beats).T))
        into.values[element::size] = rows
