"""What the verifiers of `hw`, `comb` and `seq` leave open and every tool behind us assumes.

:func:`check_hardware` accepts what is synthesizable with one clock: every width positive and
consistent, every loop through a register, every instance with the ports of its module.
"""

from collections.abc import Callable, Sequence, Set
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


def _check_extract(op: comb.ExtractOp) -> str | None:
    low, width, given = op.low_bit.value.data, _width(op.result), _width(op.input)
    if 0 <= low <= given - width:
        return None
    return f"bits {low + width - 1} to {low} are extracted from {given}"


def _check_replicate(op: comb.ReplicateOp) -> str | None:
    width, given = _width(op.result), _width(op.input)
    return f"{width} bits are no multiple of {given}" if width % given else None


def _check_icmp(op: comb.ICmpOp) -> str | None:
    return None if op.predicate.value.data in range(10) else "unknown predicate"


def _check_mux(op: comb.MuxOp) -> str | None:
    return None if _width(op.result) else "only integers can be selected"


def _check_array_create(op: hw.ArrayCreateOp) -> str | None:
    good = all(_is_bits(value.type) for value in op.inputs)
    return None if good else "only arrays of integers are supported"


def _check_array_get(op: hw.ArrayGetOp) -> str | None:
    if not isinstance(op.input.owner, hw.ArrayCreateOp | hw_extra.AggregateConstantOp):
        return "an array is indexed that is not made here"
    return None if _width(op.index) else "an array of one element is indexed"


def _check_register(op: seq.CompRegOp) -> str | None:
    if not _is_bits(op.data.type):
        return f"a register has type {op.data.type}"
    return None if op.power_on_value is None else "registers have no power-on value"


def _fine(op: Operation) -> str | None:
    return None


_CHECKS: dict[type[Operation], Callable[..., str | None]] = {
    **dict.fromkeys(
        [
            *(comb.AddOp, comb.SubOp, comb.MulOp, comb.AndOp, comb.OrOp, comb.XorOp),
            *(comb.DivUOp, comb.DivSOp, comb.ModUOp, comb.ModSOp),
            *(comb.ShlOp, comb.ShrUOp, comb.ShrSOp, comb.ConcatOp, hw_extra.ParityOp),
            *(hw.ConstantOp, hw.OutputOp, hw.InstanceOp),
            *(hw_extra.WireOp, hw_extra.AggregateConstantOp),
            *(hw_extra.FirMemOp, hw_extra.FirMemReadOp, hw_extra.FirMemWriteOp),
        ],
        _fine,
    ),
    comb.ExtractOp: _check_extract,
    comb.ReplicateOp: _check_replicate,
    comb.ICmpOp: _check_icmp,
    comb.MuxOp: _check_mux,
    hw.ArrayCreateOp: _check_array_create,
    hw.ArrayGetOp: _check_array_get,
    seq.CompRegOp: _check_register,
}
"""Operations that every back end takes, with what there is to check of each."""


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
            self.check_op(inner)
            if isinstance(inner, hw.InstanceOp):
                self.check_instance(inner, (*path, name))
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

    def check_op(self, op: Operation) -> None:
        for result in op.results:
            if type(result.type) is IntegerType and not _is_bits(result.type):
                raise FastmlError(f"a wire has type {result.type}", op)
        check = _CHECKS.get(type(op))
        reason = f"{op.name} is not supported" if check is None else check(op)
        if reason is not None:
            raise FastmlError(reason, op)

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
                seen = {reach.get(source) for source in self.sources(result)}
                if None in seen:  # a source comes later in the text
                    self.visit(result, reach)
                else:
                    reach[result] = _union(seen)
        last = block.last_op
        assert last is not None
        return [set(reach[value]) for value in last.operands]

    def visit(self, root: SSAValue, reach: dict[SSAValue, frozenset[int]]) -> None:
        if root in reach:
            return
        active = {root}
        work = [root]
        while work:
            sources = self.sources(work[-1])
            pending = next((source for source in sources if source not in reach), None)
            if pending is None:
                value = work.pop()
                active.discard(value)
                reach[value] = _union({reach[source] for source in sources})
            elif pending in active:
                assert isinstance(pending.owner, Operation)
                raise FastmlError("combinational loop", pending.owner)
            else:
                active.add(pending)
                work.append(pending)

    def sources(self, value: SSAValue) -> Sequence[SSAValue]:
        """Values on which one depends within the cycle."""
        op = value.owner
        kind = type(op)
        if kind is seq.CompRegOp:
            return ()
        if kind is hw.InstanceOp:
            instance = cast(hw.InstanceOp, op)
            output = self.known[instance.module_name.root_reference.data]
            inputs = instance.operands
            return [inputs[i] for i in sorted(output[cast(OpResult, value).index])]
        if kind is hw_extra.FirMemReadOp:
            read = cast(hw_extra.FirMemReadOp, op)
            memory = cast(hw_extra.FirMemOp, read.memory.owner)
            return () if memory.read_latency.value.data == 1 else read.operands
        assert isinstance(op, Operation)
        return op.operands


def _union(sets: Set[frozenset[int] | None]) -> frozenset[int]:
    if len(sets) == 1:
        return next(iter(sets)) or frozenset()
    return frozenset[int]().union(*(found for found in sets if found is not None))


def _is_bits(value_type: Attribute) -> bool:
    if not isinstance(value_type, IntegerType):
        return False
    integer = cast(IntegerType, value_type)
    return integer.width.data > 0 and integer.signedness.data is Signedness.SIGNLESS


def _width(value: SSAValue) -> int:
    return hw_extra.bits(value.type)
