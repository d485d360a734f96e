"""Let the processes of a dataflow copy beats as a whole, where they do so element by element.

C++ takes a beat out of a stream at once. A process that copies one into an array of its own,
element by element, or out of it, needs no second array for that.
"""

from collections.abc import Sequence

from xdsl.dialects import affine
from xdsl.dialects.builtin import MemRefType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineDimExpr, AffineExpr, AffineSymExpr
from xdsl.utils.hints import isa

from fastml.lowering.loop_writer import LoopWriter


def copy_beats(function: FuncOp) -> None:
    """Replace copies of whole beats in the loop of a process, if it does nothing else with them.

    An argument that is accessed in another way stays as it is, and so do all others then:
    beats are taken either where the loop says so, or where a phase begins.
    """
    arguments = [a for a in function.args if isa(a.type, MemRefType) and a.type.get_num_dims() > 1]
    loops = [op for op in function.body.block.ops if isinstance(op, affine.ForOp)]
    if len(loops) != 1 or len(arguments) != len(function.args):
        return
    block = loops[0].body.block
    runs = _runs(block, set[SSAValue](arguments))
    copied = sum(len(run) // 2 for run in runs)
    if copied != sum(argument.uses.get_length() for argument in arguments):
        return
    for run in runs:
        _replace(run, block)


def _runs(block: Block, arguments: set[SSAValue]) -> list[list[Operation]]:
    """Return the loads and stores of each copy of a whole beat."""
    found, ops = list[list[Operation]](), list(block.ops)
    place = 0
    while place < len(ops):
        run = _run(ops, place, arguments, block.args[0])
        found += [run] if run else []
        place += len(run) or 1
    return found


def _run(
    ops: Sequence[Operation], first: int, arguments: set[SSAValue], counter: SSAValue
) -> list[Operation]:
    """Return the copy that begins at an operation, if there is one."""
    match ops[first]:
        case affine.LoadOp(memref=source):
            pass
        case _:
            return []
    store = ops[first + 1]
    if not isinstance(store, affine.StoreOp):
        return []
    target = store.memref
    if (source in arguments) == (target in arguments):
        return []
    assert isa(source.type, MemRefType)
    size = source.type.get_shape()[-1]
    run = list(ops[first : first + 2 * size])
    for element, (load, store) in enumerate(zip(run[::2], run[1::2], strict=True)):
        match load, store:
            case affine.LoadOp(memref=read), affine.StoreOp(memref=written):
                same = read is source and written is target and store.value is load.result
                if not same or not load.result.has_one_use():
                    return []
            case _:
                return []
        for op, memory in ((load, source), (store, target)):
            *beat, place = op.map.data.results
            if place != AffineConstantExpr(element):
                return []
            if memory in arguments and not _counts(op, beat, counter):
                return []
    assert isa(target.type, MemRefType)
    return run if len(run) == 2 * size and target.type.get_shape()[-1] == size else []


def _counts(
    op: affine.LoadOp | affine.StoreOp, beat: Sequence[AffineExpr], counter: SSAValue
) -> bool:
    """Whether an access is to the beat whose number is the counter."""
    match beat:
        case [AffineDimExpr(position=place)]:
            return op.indices[place] is counter
        case [AffineSymExpr(position=place)]:
            return op.indices[op.map.data.num_dims + place] is counter
        case _:
            return False


def _replace(run: Sequence[Operation], block: Block) -> None:
    """Put one copy in the place of many."""
    load, store = run[0], run[-1]
    assert isinstance(load, affine.LoadOp)
    assert isinstance(store, affine.StoreOp)
    inner = Block()
    writer = LoopWriter(inner, load.location, [block.args[0]])
    source, target = (
        writer.token(memory, AffineDimExpr(0)) for memory in (load.memref, store.memref)
    )
    writer.copy(source, target)
    for op in list(inner.ops):
        op.detach()
        block.insert_op_before(op, load)
    for op in reversed(run):
        op.detach()
        op.erase()
