"""Print `hw`, `comb` and `seq` as plain, portable SystemVerilog: walk and format only.

One file per module. Wires are declared where they are assigned, registers are clocked in
blocks at the end of the module. A value gets a name if the IR gives it one
(``sv.namehint``), if it is used more than once, or where the language needs a name; all
else is nested into the expression that uses it, up to a bounded depth and length.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from xdsl.dialects import comb, hw, seq
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation, SSAValue

from fastml.compiler.emit.sv_expressions import (
    COMBINATIONAL,
    SIGNED_BY_CONTEXT,
    WIRING,
    Expression,
    express,
    literal,
    vector,
    width_of,
    wrap,
)
from fastml.compiler.support.collection import no_collection
from fastml.compiler.support.diagnostics import FastmlError
from fastml.compiler.support.names import Namer, is_systemverilog
from fastml.dialects import hw_extra
from fastml.dialects.hw_checks import check_hardware

_DEPTH = 4
"""Operators that an expression nests at most."""
_LENGTH = 160
"""Characters of an expression that is nested into another."""
_LISTED = 4
"""Operands of a concatenation that may be more than wiring."""


def emit_systemverilog(module: ModuleOp) -> dict[str, str]:
    """Return the text of each file by its name, in the order of the modules."""
    with no_collection():
        return _emit(module)


def name_signals(module: ModuleOp) -> dict[str, list[tuple[str, SSAValue]]]:
    """Return the signals of each module, by its name: what each is called in the text."""
    signals = dict[str, list[tuple[str, SSAValue]]]()
    with no_collection():
        for op in module.ops:
            assert isinstance(op, hw.HWModuleOp)
            printer = _ModulePrinter(op)
            printer.run()
            signals[op.sym_name.data] = printer.signals()
    return signals


def _emit(module: ModuleOp) -> dict[str, str]:
    check_hardware(module)
    names = Namer()
    files: dict[str, str] = {}
    for op in module.ops:
        assert isinstance(op, hw.HWModuleOp)
        name = op.sym_name.data
        if not is_systemverilog(name) or not names.claim(name):
            raise _illegal(name, op)
        files[f"{name}.sv"] = _ModulePrinter(op).run()
    return files


def _illegal(name: str, op: Operation) -> FastmlError:
    return FastmlError(
        f"'{name}' is not a legal, unique name for hardware",
        op,
        hint="rename it: letters, digits and single underscores, no reserved word",
    )


_CONSTANT = frozenset([hw.ConstantOp, hw_extra.AggregateConstantOp, hw.ArrayCreateOp])


@dataclass
class _Statement:
    """Lines of text, with the one signal that they may declare."""

    lines: list[str]
    name: str = ""
    declaration: str = ""
    """How to declare ``name`` early; empty if the lines always declare it."""
    early: list[str] = field(default_factory=list[str])
    """The lines where ``name`` is declared already."""
    uses: set[SSAValue] = field(default_factory=set[SSAValue])


class _ModulePrinter:
    def __init__(self, op: hw.HWModuleOp):
        self.op = op
        self.block = op.body.block
        self.names = Namer()
        self.expressions: dict[SSAValue, Expression] = {}
        self.owners: dict[SSAValue, set[SSAValue]] = {}
        """Declared signals that an expression reads."""
        self.statements: list[_Statement] = []
        self.done: set[Operation] = set()
        self.declared: list[SSAValue] = []
        self.live = _live(op)
        self.uses = self.count_uses()

    def run(self) -> str:
        header = self.header()
        self.name_signals()
        for op in self.block.ops:
            if op in self.live:
                self.visit(op)
        self.register_blocks()
        body = [line for line in self.ordered() for line in wrap(line)]
        return "\n".join([*header, *body, "endmodule", ""])

    def count_uses(self) -> Counter[SSAValue]:
        uses = Counter[SSAValue]()
        for op in self.live:
            uses.update(op.operands)
        return uses

    def signals(self) -> list[tuple[str, SSAValue]]:
        """Return what :meth:`run` has declared, but for clocks and memories."""
        named = [(self.expressions[value].text, value) for value in self.declared]
        output = self.block.last_op
        assert isinstance(output, hw.OutputOp)
        ports = [p for p in self.op.module_type.ports.data if not p.dir.data.is_input_like()]
        named += zip((p.port_name.data for p in ports), output.operands, strict=True)
        return [(name, value) for name, value in named if hw_extra.bits(value.type)]

    # Ports and names

    def header(self) -> list[str]:
        ports = self.op.module_type.ports.data
        ranges = [vector(hw_extra.bits(port.type)) for port in ports]
        column = max(map(len, ranges), default=0)
        lines = [f"module {self.op.sym_name.data} ("]
        arguments = iter(self.block.args)
        for number, (port, bits) in enumerate(zip(ports, ranges, strict=True)):
            name = self.claim(port.port_name.data, self.op)
            is_input = port.dir.data.is_input_like()
            if is_input:
                argument = next(arguments)
                self.define(argument, name)
            side = "input " if is_input else "output"
            comma = "," if number + 1 < len(ports) else ""
            lines.append(f"  {side} logic {bits:<{column}}{name}{comma}")
        return [*lines, ");"]

    def claim(self, name: str, op: Operation) -> str:
        if not is_systemverilog(name) or not self.names.claim(name):
            raise _illegal(name, op)
        return name

    def define(self, value: SSAValue, name: str) -> None:
        self.expressions[value] = Expression(name, named=True)
        self.owners[value] = {value}
        self.declared.append(value)

    def name_signals(self) -> None:
        """Name what needs a name: first what the IR names, so that it keeps its name."""
        operations = [op for op in self.block.ops if op in self.live]
        hinted: set[Operation] = set()
        for op in operations:
            hint = op.attributes.get(hw_extra.NAME_HINT)
            if isinstance(hint, StringAttr) and op.results:
                self.define(op.results[0], self.claim(hint.data, op))
                hinted.add(op)
            if type(op) is hw.InstanceOp:
                self.claim(op.instance_name.data, op)
        for op in operations:
            if type(op) is hw.InstanceOp:
                instance = op.instance_name.data
                for port, result in zip(op.result_names, op.results, strict=True):
                    if result not in self.expressions:
                        stem = f"{instance}_{port.data}"
                        self.define(result, self.names.unique(stem))
            elif op not in hinted and op.results and self.needs_name(op):
                result = op.results[0]
                stem = result.name_hint or ("mem" if _is_memory(op) else "w")
                self.define(result, self.names.unique(stem))

    def needs_name(self, op: Operation) -> bool:
        """Whether the language or the reader wants a name, before lengths are known."""
        kind = type(op)
        if kind in _CONSTANT:
            return any(type(use.operation) is comb.ExtractOp for use in op.results[0].uses)
        if kind not in COMBINATIONAL or kind in SIGNED_BY_CONTEXT:
            return True
        result = op.results[0]
        if self.uses[result] > 1 and not _is_cheap(op):
            return True
        return any(self.wants_name(use.operation, kind) for use in result.uses)

    def wants_name(self, user: Operation, kind: type[Operation]) -> bool:
        """Whether an operation reads better, or is legal, only on a name."""
        if type(user) is comb.ExtractOp:
            return user in self.live
        is_list = type(user) is comb.ConcatOp and len(user.operands) > _LISTED
        return is_list and kind not in WIRING

    # Statements

    def visit(self, op: Operation) -> None:
        if op in self.done:
            return  # nested by an operation that came before it
        self.done.add(op)
        if type(op) in COMBINATIONAL:
            self.combine(op)
            return
        match op:
            case hw.OutputOp():
                self.outputs(op)
            case hw.InstanceOp():
                self.instance(op)
            case seq.CompRegOp():
                self.declare(op.data)
            case hw_extra.FirMemOp():
                self.memory(op)
            case hw_extra.FirMemReadOp():
                self.read(op)
            case hw.ArrayGetOp():
                self.table(op)
            case hw.ConstantOp() if op.result not in self.expressions:
                text = literal(op.value.value.data, width_of(op.result))
                self.expressions[op.result] = Expression(text)
                self.owners[op.result] = set()
            case hw.ConstantOp():
                text = literal(op.value.value.data, width_of(op.result))
                self.assign(op.result, text, set())
            case _:  # printed where they are used
                assert type(op) in _CONSTANT or isinstance(op, hw_extra.FirMemWriteOp), op.name

    def text(self, value: SSAValue) -> Expression:
        """Return the expression of a value; one that comes later in the text by name."""
        if value not in self.expressions:
            assert isinstance(value.owner, Operation)
            self.visit(value.owner)
        return self.expressions[value]

    def reads(self, values: Iterable[SSAValue]) -> set[SSAValue]:
        return set[SSAValue]().union(*[self.owners[value] for value in values])

    def combine(self, op: Operation) -> None:
        (result,) = op.results
        operands = [self.text(operand) for operand in op.operands]
        expression = express(op, operands)
        reads = self.reads(op.operands)
        if result in self.expressions:
            self.assign(result, expression.text, reads)
        elif expression.depth > _DEPTH or (len(expression.text) > _LENGTH and not _ends(result)):
            name = self.names.unique(result.name_hint or "w")
            self.define(result, name)
            self.assign(result, expression.text, reads)
        else:
            self.expressions[result] = expression
            self.owners[result] = reads

    def assign(self, value: SSAValue, text: str, reads: set[SSAValue]) -> None:
        name, bits = self.expressions[value].text, vector(width_of(value))
        self.statements.append(
            _Statement(
                [f"  wire {bits}{name} = {text};"],
                name,
                f"  wire {bits}{name};",
                [f"  assign {name} = {text};"],
                reads,
            )
        )

    def declare(self, value: SSAValue) -> None:
        name = self.expressions[value].text
        text = f"  logic {vector(width_of(value))}{name};"
        self.statements.append(_Statement([text], name, text))

    def outputs(self, op: hw.OutputOp) -> None:
        ports = self.op.module_type.ports.data
        outputs = [p.port_name.data for p in ports if p.dir.data.is_output_like()]
        lines = [
            f"  assign {name} = {self.text(value).text};"
            for name, value in zip(outputs, op.operands, strict=True)
        ]
        self.statements.append(_Statement(lines, uses=self.reads(op.operands)))

    def instance(self, op: hw.InstanceOp) -> None:
        for result in op.results:
            name = self.expressions[result].text
            text = f"  wire {vector(width_of(result))}{name};"
            self.statements.append(_Statement([text], name, text))
        ports = [
            *zip(op.arg_names, (self.text(v).text for v in op.operands), strict=True),
            *zip(op.result_names, (self.text(v).text for v in op.results), strict=True),
        ]
        lines = [f"  {op.module_name.root_reference.data} {op.instance_name.data} ("]
        lines += [f"    .{port.data}({text})," for port, text in ports]
        lines[-1] = lines[-1].removesuffix(",")
        self.statements.append(_Statement([*lines, "  );"], uses=self.reads(op.operands)))

    def memory(self, op: hw_extra.FirMemOp) -> None:
        memory = op.memory.type
        assert isinstance(memory, hw_extra.FirMemType)
        clocked = op.read_latency.value.data == 1
        if clocked and op.read_under_write == "new":
            raise FastmlError(
                "a clocked port that reads what is being written is not printed",
                op,
                hint="use 'old', and forward the data by hand",
            )
        name, bits = self.expressions[op.memory].text, vector(memory.width.data)
        text = f"  logic {bits}{name} [0:{memory.depth.data - 1}];"
        self.statements.append(_Statement([text], name, text))

    def read(self, op: hw_extra.FirMemReadOp) -> None:
        memory = op.memory.owner
        assert isinstance(memory, hw_extra.FirMemOp)
        if memory.read_latency.value.data == 1:
            self.declare(op.data)
        else:
            text = f"{self.text(op.memory).text}[{self.text(op.address).text}]"
            self.assign(op.data, text, self.reads([op.memory, op.address]))

    def table(self, op: hw.ArrayGetOp) -> None:
        """Print a read of an array as a case statement, which every tool takes."""
        source = op.input.owner
        width = width_of(op.result)
        if isinstance(source, hw_extra.AggregateConstantOp):
            values = [literal(word, width) for word in source.words()]
            reads = self.reads([op.index])
        else:
            assert isinstance(source, hw.ArrayCreateOp)
            values = [self.text(value).text for value in reversed(source.operands)]
            reads = self.reads([op.index, *source.operands])
        name, index = self.expressions[op.result].text, self.text(op.index).text
        bits = width_of(op.index)
        lines = ["  always_comb begin", f"    case ({index})"]
        full = len(values) == 1 << bits
        for number, value in enumerate(values[:-1] if full else values):
            lines.append(f"      {bits}'d{number}: {name} = {value};")
        rest = values[-1] if full else f"{width}'bx"
        lines += [f"      default: {name} = {rest};", "    endcase", "  end"]
        declaration = f"  logic {vector(width)}{name};"
        self.statements.append(_Statement([declaration, *lines], name, declaration, lines, reads))

    # Clocked blocks

    def register_blocks(self) -> None:
        plain: list[str] = []
        reset: dict[SSAValue, list[seq.CompRegOp]] = {}
        clk: SSAValue | None = None
        reads: list[SSAValue] = []
        for op in self.block.ops:
            if op not in self.live or type(op) in COMBINATIONAL:
                continue
            match op:
                case seq.CompRegOp():
                    clk = op.clk
                    reads.append(op.input)
                    if op.reset is None:
                        plain.append(self.transfer(op.data, op.input))
                    else:
                        reset.setdefault(op.reset, []).append(op)
                case hw_extra.FirMemReadOp() if _is_clocked(op):
                    clk = op.clk
                    reads += op.operands
                    plain.append(self.clocked_read(op))
                case hw_extra.FirMemWriteOp():
                    clk = op.clk
                    reads += op.operands
                    plain.append(self.write(op))
                case _:
                    pass
        if clk is None:
            return
        edge = f"  always_ff @(posedge {self.text(clk).text}) begin"
        blocks = [edge, *(f"    {line}" for line in plain), "  end"] if plain else []
        for signal, registers in reset.items():
            reads.append(signal)
            blocks += [edge, f"    if ({self.text(signal).text}) begin"]
            for op in registers:
                assert op.reset_value is not None
                blocks.append(f"      {self.transfer(op.data, op.reset_value)}")
            blocks.append("    end else begin")
            blocks += [f"      {self.transfer(op.data, op.input)}" for op in registers]
            blocks += ["    end", "  end"]
        self.statements.append(_Statement(blocks, uses=self.reads(reads)))

    def transfer(self, target: SSAValue, source: SSAValue) -> str:
        return f"{self.text(target).text} <= {self.text(source).text};"

    def gate(self, enable: SSAValue | None) -> str:
        return "" if enable is None else f"if ({self.text(enable).text}) "

    def clocked_read(self, op: hw_extra.FirMemReadOp) -> str:
        word = f"{self.text(op.memory).text}[{self.text(op.address).text}]"
        return f"{self.gate(op.enable)}{self.text(op.data).text} <= {word};"

    def write(self, op: hw_extra.FirMemWriteOp) -> str:
        word = f"{self.text(op.memory).text}[{self.text(op.address).text}]"
        return f"{self.gate(op.enable)}{word} <= {self.text(op.data).text};"

    # The order of the text

    def ordered(self) -> list[str]:
        """Declare before use: what is used above its own line is declared at the top."""
        self.unused_bits()
        place = {s.name: n for n, s in enumerate(self.statements) if s.name}
        early: set[int] = set()
        for number, statement in enumerate(self.statements):
            for value in statement.uses:
                at = place.get(self.expressions[value].text, -1)
                if at > number:
                    early.add(at)
        lines = [self.statements[number].declaration for number in sorted(early)]
        for number, statement in enumerate(self.statements):
            lines += statement.early if number in early else statement.lines
        return lines

    def unused_bits(self) -> None:
        """Name the bits that nothing reads, as linters want it."""
        unused: list[str] = []
        for value in self.declared:
            if isinstance(value.type, hw_extra.FirMemType):
                continue
            unused += self.unread(value)
        if unused:
            name = self.names.unique("unused")
            text = f"  wire {name} = &{{1'b0, {', '.join(unused)}}};"
            self.statements.append(_Statement([text]))

    def unread(self, value: SSAValue) -> list[str]:
        name = self.expressions[value].text
        width = width_of(value) or 1
        read = [False] * width
        for use in value.uses:
            if use.operation not in self.live:
                continue
            if type(use.operation) is not comb.ExtractOp:
                return []
            low = use.operation.low_bit.value.data
            high = low + width_of(use.operation.result)
            read[low:high] = [True] * (high - low)
        if not any(read):
            return [name]
        return [
            f"{name}[{high - 1}]" if high - low == 1 else f"{name}[{high - 1}:{low}]"
            for low, high in _gaps(read)
        ]


def _gaps(read: Sequence[bool]) -> list[tuple[int, int]]:
    """Return the ranges of bits that are not read."""
    gaps: list[tuple[int, int]] = []
    for bit, is_read in enumerate(read):
        if is_read:
            continue
        if gaps and gaps[-1][1] == bit:
            gaps[-1] = (gaps[-1][0], bit + 1)
        else:
            gaps.append((bit, bit + 1))
    return gaps


def _is_cheap(op: Operation) -> bool:
    """Whether it reads well wherever it is used: bits of a signal, or one bit many times."""
    if type(op) is comb.ReplicateOp:
        (value,) = op.operands
        return width_of(value) == 1 and type(value.owner) is comb.ExtractOp
    return type(op) is comb.ExtractOp


def _ends(value: SSAValue) -> bool:
    """Whether a value is a whole right-hand side."""
    return all(isinstance(use.operation, hw.OutputOp | seq.CompRegOp) for use in value.uses)


def _is_memory(op: Operation) -> bool:
    return isinstance(op, hw_extra.FirMemOp)


def _is_clocked(op: hw_extra.FirMemReadOp) -> bool:
    memory = op.memory.owner
    assert isinstance(memory, hw_extra.FirMemOp)
    return memory.read_latency.value.data == 1


def _live(module: hw.HWModuleOp) -> set[Operation]:
    """Operations that matter to an output, an instance, a memory or a named wire."""
    work: list[Operation] = [
        op
        for op in module.body.block.ops
        if isinstance(op, hw.OutputOp | hw.InstanceOp | hw_extra.FirMemWriteOp)
        or (hw_extra.NAME_HINT in op.attributes and op.results)
    ]
    live = set(work)
    while work:
        for operand in work.pop().operands:
            owner = operand.owner
            if isinstance(owner, Operation) and owner not in live:
                live.add(owner)
                work.append(owner)
    return live
