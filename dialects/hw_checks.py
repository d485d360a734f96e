"""What the verifiers of `hw`, `comb` and `seq` leave open and every tool behind us assumes.

:func:`check_hardware` accepts what is synthesizable with one clock: every width positive and
consistent, every loop through a register, every instance with the ports of its module.
"""

from collections.abc import Iterator
from typing import cast

from xdsl.dialects import comb, hw, seq
from xdsl.dialects.builtin import IntegerType, ModuleOp, Signedness
from xdsl.ir import Attribute, Operation, OpResult, SSAValue

from fastml.compiler.support.diagnostics import FastmlError
from fastml.dialects import hw_extra


def check_hardware(module: ModuleOp, top: str | None = None) -> None:
    """Raise :class:`FastmlError` at the first operation that no back end could take.

    With ``top``, only that module and what it instantiates is looked at.
    """
    modules: dict[str, hw.HWModuleOp] = {}
    for op in module.ops:
        if isinstance(op, hw.HWModuleOp):
            if op.sym_name.data in modules:
                raise FastmlError(f"there are two modules @{op.sym_name.data}", op)
            modules[op.sym_name.data] = op
        elif top is None:
            raise FastmlError(f"{op.name} is not hardware", op)
    if top is not None and top not in modules:
        raise FastmlError(f"there is no hw.module @{top}", module)
    checker = _Checker(modules)
    for name in modules if top is None else [top]:
        checker.check(name, ())


_CHECKED_ELSEWHERE = (hw.OutputOp, hw.ConstantOp, hw_extra.WireOp)
_PLAIN = (
    comb.AddOp,
    comb.MulOp,
    comb.SubOp,
    comb.AndOp,
    comb.OrOp,
    comb.XorOp,
    comb.DivUOp,
    comb.DivSOp,
    comb.ModUOp,
    comb.ModSOp,
    comb.ShlOp,
    comb.ShrUOp,
    comb.ShrSOp,
    comb.ConcatOp,
    hw_extra.ParityOp,
    hw_extra.AggregateConstantOp,
    hw_extra.FirMemOp,
    hw_extra.FirMemReadOp,
    hw_extra.FirMemWriteOp,
)


class _Checker:
    def __init__(self, modules: dict[str, hw.HWModuleOp]):
        self.modules = modules
        self.depends: dict[str, list[set[int]]] = {}
        """For each output of a checked module, the inputs it depends on in the cycle."""

    def check(self, name: str, path: tuple[str, ...]) -> list[set[int]]:
        if name in self.depends:
            return self.depends[name]
        op = self.modules[name]
        if name in path:
            raise FastmlError(f"module @{name} contains itself", op)
        self.check_ports(op)
        names: set[str] = set()
        for inner in op.body.block.ops:
            self.check_op(inner, (*path, name))
            if isinstance(inner, hw.InstanceOp):
                if inner.instance_name.data in names:
                    raise FastmlError("two instances have the same name", inner)
                names.add(inner.instance_name.data)
        self.depends[name] = _Dependence(op, self.depends).run()
        return self.depends[name]

    def check_ports(self, op: hw.HWModuleOp) -> None:
        if op.parameters is not None and op.parameters.data:
            raise FastmlError("parameters of modules are not supported", op)
        names: set[str] = set()
        clocks = 0
        for port in op.module_type.ports.data:
            name = port.port_name.data
            if name in names:
                raise FastmlError(f"two ports are called '{name}'", op)
            names.add(name)
            if isinstance(port.type, seq.ClockType) and port.dir.data.is_input_like():
                clocks += 1
            elif not _is_bits(port.type):
                raise FastmlError(f"port '{name}' has type {port.type}", op)
        if clocks > 1:
            raise FastmlError("a module has at most one clock", op)

    def check_op(self, op: Operation, path: tuple[str, ...]) -> None:
        for result in op.results:
            if type(result.type) is IntegerType and not _is_bits(result.type):
                raise FastmlError(f"a wire has type {result.type}", op)
        match op:
            case comb.ExtractOp():
                low, width = op.low_bit.value.data, _width(op.result)
                if low < 0 or low + width > _width(op.input):
                    raise FastmlError(
                        f"bits {low + width - 1} to {low} are extracted from {_width(op.input)}",
                        op,
                    )
            case comb.ReplicateOp():
                if _width(op.result) % _width(op.input):
                    raise FastmlError(
                        f"{_width(op.result)} bits are no multiple of {_width(op.input)}",
                        op,
                    )
            case comb.ICmpOp():
                if op.predicate.value.data not in range(10):
                    raise FastmlError("unknown predicate", op)
            case comb.MuxOp():
                if not isinstance(op.result.type, IntegerType):
                    raise FastmlError("only integers can be selected", op)
            case hw.ArrayCreateOp():
                if not all(_is_bits(value.type) for value in op.inputs):
                    raise FastmlError("only arrays of integers are supported", op)
            case hw.ArrayGetOp():
                made_here = (hw.ArrayCreateOp, hw_extra.AggregateConstantOp)
                if not isinstance(op.input.owner, made_here):
                    raise FastmlError("an array is indexed that is not made here", op)
                if len(op.input.type) == 1:  # pyright: ignore[reportArgumentType]
                    raise FastmlError("an array of one element is indexed", op)
            case seq.CompRegOp():
                if not _is_bits(op.data.type):
                    raise FastmlError(f"a register has type {op.data.type}", op)
                if op.power_on_value is not None:
                    raise FastmlError("registers have no power-on value", op)
            case hw.InstanceOp():
                self.check_instance(op, path)
            case _ if not isinstance(op, _PLAIN + _CHECKED_ELSEWHERE):
                raise FastmlError(f"{op.name} is not supported", op)
            case _:
                pass

    def check_instance(self, op: hw.InstanceOp, path: tuple[str, ...]) -> None:
        name = op.module_name.root_reference.data
        if name not in self.modules:
            raise FastmlError(f"there is no hw.module @{name}", op)
        ports = self.modules[name].module_type.ports.data
        inputs = [p for p in ports if p.dir.data.is_input_like()]
        outputs = [p for p in ports if p.dir.data.is_output_like()]
        given = [
            *zip((n.data for n in op.arg_names), (v.type for v in op.inputs), strict=True),
            *zip((n.data for n in op.result_names), (v.type for v in op.outputs), strict=True),
        ]
        wanted = [(p.port_name.data, p.type) for p in (*inputs, *outputs)]
        if given != wanted:
            raise FastmlError(f"the ports are not those of @{name}, in order", op)
        self.check(name, path)


class _Dependence:
    """Finds combinational loops, and what each output depends on within a cycle."""

    def __init__(self, op: hw.HWModuleOp, known: dict[str, list[set[int]]]):
        self.op = op
        self.known = known

    def run(self) -> list[set[int]]:
        block = self.op.body.block
        reach: dict[SSAValue, frozenset[int]] = {
            argument: frozenset([number]) for number, argument in enumerate(block.args)
        }
        for op in block.ops:
            for result in op.results:
                self.visit(result, reach)
        last = block.last_op
        assert last is not None
        return [set(reach[value]) for value in last.operands]

    def visit(self, root: SSAValue, reach: dict[SSAValue, frozenset[int]]) -> None:
        if root in reach:
            return
        active = {root}
        work = [(root, self.sources(root))]
        while work:
            value, sources = work[-1]
            for source in sources:
                if source in active:
                    assert isinstance(source.owner, Operation)
                    raise FastmlError("combinational loop", source.owner)
                if source not in reach:
                    active.add(source)
                    work.append((source, self.sources(source)))
                    break
            else:
                work.pop()
                active.discard(value)
                found = [reach[source] for source in self.sources(value)]
                # Most operations see what one of their operands sees.
                union = max(found, key=len, default=frozenset[int]())
                if any(not other <= union for other in found):
                    union = union.union(*found)
                reach[value] = union

    def sources(self, value: SSAValue) -> Iterator[SSAValue]:
        """Values on which one depends within the cycle."""
        op = value.owner
        match op:
            case seq.CompRegOp() | hw_extra.FirMemOp():
                return iter(())
            case hw_extra.FirMemReadOp():
                memory = op.memory.owner
                assert isinstance(memory, hw_extra.FirMemOp)
                clocked = memory.read_latency.value.data == 1
                return iter(() if clocked else op.operands)
            case hw.InstanceOp():
                output = self.known[op.module_name.root_reference.data]
                inputs = op.operands
                return iter([inputs[i] for i in sorted(output[cast(OpResult, value).index])])
            case Operation():
                return iter(op.operands)
            case _:
                return iter(())


def _is_bits(value_type: Attribute) -> bool:
    if not isinstance(value_type, IntegerType):
        return False
    integer = cast(IntegerType, value_type)
    return integer.width.data > 0 and integer.signedness.data is Signedness.SIGNLESS


def _width(value: SSAValue) -> int:
    return hw_extra.bits(value.type)
