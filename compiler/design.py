"""The Python API: a model compiled, to be executed at every level, verified and written."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp

from fastml.compiler.contract import check_time
from fastml.compiler.modules import read_module
from fastml.compiler.options import BuildOptions, from_keywords
from fastml.compiler.pipelines import LARGE, LEVELS, PassRunner
from fastml.compiler.support.diagnostics import FastmlError, in_file
from fastml.compiler.verification import Verification, verify_design
from fastml.dialects.qflow import GraphOp
from fastml.runtime import execute as execution
from fastml.runtime.clocked_levels import HardwareLevel, RtlLevel
from fastml.runtime.levels import Level, NetworkLevel, open_level
from fastml.runtime.qflow import graph_of

if TYPE_CHECKING:
    from fastml.runtime.csim import CsimLevel
    from fastml.runtime.csim_extension import Emulator

Tensor: TypeAlias = NDArray[Any]
Tensors: TypeAlias = Mapping[str, Tensor]
EXECUTABLE = (*LEVELS, "rtl")
"""Every level that can be executed, in order."""


@dataclass(frozen=True)
class Run:
    """What came out of one execution; see :class:`fastml.runtime.execute.Run` for the parts."""

    outputs: Any
    """The model's output, float32 of shape (frames, ...); a table by name if it has several."""
    tap: Mapping[str, Tensor]
    """Every edge by name: the numbers that the model's arithmetic sees."""
    details: execution.Run

    @property
    def cycles(self) -> NDArray[np.int64]:
        """Cycle of each output beat, counted from the first input beat."""
        return self.details.cycles

    @property
    def latency(self) -> int | None:
        """Cycle of a frame's output beat, counted from its input beat."""
        return self.details.latency

    @property
    def ii(self) -> int | None:
        """Cycles between two frames."""
        return self.details.ii


class Taps(Mapping[str, Tensor]):
    """Edges by name; one that was not asked for beforehand takes another simulation."""

    def __init__(
        self,
        found: Mapping[str, Tensor],
        names: Sequence[str],
        simulate: Callable[[str], Mapping[str, Tensor]],
    ):
        self._found = dict(found)
        self._names = names
        self._simulate = simulate

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._found:
            if name not in self._names:
                raise KeyError(name)
            self._found |= self._simulate(name)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Design:
    """A model at every level; a level is made, or read, when it is first needed.

    ``sources`` make levels; with ``lower``, those that are missing are lowered from the
    level before. A design that was read from files executes those files and nothing else.
    """

    def __init__(
        self,
        name: str,
        sources: Mapping[str, Callable[[], ModuleOp]],
        options: BuildOptions | None = None,
        *,
        rtl: Callable[[], RtlLevel] | None = None,
        csim: "Callable[[], CsimLevel] | None" = None,
        lower: bool = True,
    ):
        self.name = name
        self.options = options or BuildOptions()
        self._sources = dict(sources)
        self._rtl = rtl
        self._csim = csim
        self._lower = lower
        self._modules = dict[str, ModuleOp]()
        self._levels = dict[str, Level]()
        self.runner = PassRunner(self.options)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that this design can be executed at."""
        if self._lower:
            return EXECUTABLE
        return (*self._sources, *(["rtl"] if self._rtl is not None else []))

    def module(self, level: str) -> ModuleOp:
        """Return the IR of a level, which a caller must not change."""
        if level not in self._modules:
            if level in self._sources:
                self._modules[level] = self._sources[level]()
            elif level in LEVELS[1:] and self._lower:
                self._lower_to(level)
            else:
                raise self._unknown(level)
        return self._modules[level]

    def _unknown(self, level: str) -> FastmlError:
        known = [*self.levels, *(["csim"] if self._csim is not None else [])]
        hint = f"it has {', '.join(known)}"
        return FastmlError(
            f"there is no level '{level}'", in_file(self.name), code="FML-USAGE", hint=hint
        )

    def advance(self, level: str) -> None:
        """Lower to ``level`` in place where the level before it is large: it is forgotten.

        It is made again if it should be needed once more.
        """
        before = LEVELS[LEVELS.index(level) - 1]
        spare = before in LARGE and before not in self._levels and level not in self._modules
        if spare and self._lower:
            module = self.module(before)
            del self._modules[before]
            self.runner.run(module, level)
            self._modules[level] = module

    def _lower_to(self, level: str) -> None:
        module = self.module(LEVELS[LEVELS.index(level) - 1]).clone()
        self.runner.run(module, level)
        self._modules[level] = module
        if level == "qflow":
            self._write_back(graph_of(module))

    def _write_back(self, graph: GraphOp) -> None:
        """Let the network predict the time that its schedule has; check the contract."""
        network = self.network_level.network
        network.latency, network.ii = graph.latency, graph.ii
        check_time(graph, self.options)

    def level(self, name: str) -> Level:
        """Return a level ready to be executed."""
        if name not in self._levels:
            if name == "rtl" and "rtl" in self.levels:
                self._levels[name] = self._rtl() if self._rtl is not None else self._emit()
            elif name == "csim":
                self._levels[name] = self._open_csim()
            else:
                self._levels[name] = open_level(name, self.module(name))
        return self._levels[name]

    @property
    def network_level(self) -> NetworkLevel:
        """The ``fastml`` level."""
        level = self.level("fastml")
        assert isinstance(level, NetworkLevel)
        return level

    @property
    def rtl(self) -> RtlLevel:
        """The SystemVerilog, with what a testbench must know of it."""
        level = self.level("rtl")
        assert isinstance(level, RtlLevel)
        return level

    def schedule(self) -> None:
        """Schedule the design, which gives its network a time."""
        if self._lower:
            self.module("qflow")

    def _emit(self) -> RtlLevel:
        from fastml.compiler.emit.systemverilog import emit_systemverilog

        hardware = self.level("hw")
        assert isinstance(hardware, HardwareLevel)
        self.runner.lap("(open)")
        files = emit_systemverilog(hardware.module)
        self.runner.lap("(emit SystemVerilog)")
        return RtlLevel(files, hardware.pinout, hardware.host)

    def _open_csim(self) -> "CsimLevel":
        from fastml.compiler.hls import open_csim

        if self._csim is not None:
            return self._csim()
        if "affine" not in self.levels:
            raise self._unknown("csim")
        return open_csim(self)

    @property
    def csim(self) -> "CsimLevel":
        """The HLS C++, with what must be known to call it."""
        level = self.level("csim")
        assert level.name == "csim"
        return cast("CsimLevel", level)

    def build_csim(self, flavour: str | None = None) -> "Emulator":
        """Compile the HLS C++ for speed; return it as a function on arrays, like ``predict``.

        Without ``flavour``, that of the options (or of the project) is compiled. Raises
        ``FML-TOOL`` where the C++ compiler or the headers of the integer types are missing.
        """
        from fastml.compiler.hls import open_csim
        from fastml.runtime.csim_extension import Emulator

        level = self.csim
        if flavour not in (None, level.design.flavour):
            level = open_csim(self, flavour)
        return Emulator(level, self.by_name)

    @cached_property
    def graph(self) -> GraphOp:
        """The dataflow graph, with its architectures and schedule."""
        return graph_of(self.module("qflow"))

    @property
    def ii(self) -> int | None:
        """Cycles between two frames."""
        return None if self.graph.ii is None else self.graph.ii.data

    @property
    def latency(self) -> int | None:
        """Cycles from a frame's input beat to its output beat."""
        return None if self.graph.latency is None else self.graph.latency.data

    # --- execution ---------------------------------------------------------------------

    def predict(self, x: Tensor | Tensors, *, quantise_input: bool = False) -> Any:
        """Return the model's outputs, bit for bit: one array, or several by name."""
        run = execution.execute(self.network_level, self.by_name(x), quantise_input=quantise_input)
        return _unwrap(run.outputs)

    def simulate(
        self,
        x: Tensor | Tensors,
        level: str = "hw",
        *,
        gaps: Sequence[int] | NDArray[np.int64] | None = None,
        weights: Tensors | Mapping[int, Tensors] | None = None,
        taps: Iterable[str] = (),
        quantise_input: bool = False,
    ) -> Run:
        """Execute one level on real inputs; ``gaps`` are idle cycles before each frame.

        ``weights`` of a design that was built with ``weights="ram"`` are loaded first: integers
        (inputs, outputs) by the edge that a layer makes; or such tables by the frame before
        which they are loaded, which needs a gap in which no frame is in flight.
        Edges named in ``taps`` are recorded at once, all others when they are looked at.
        """
        if level == "fastml":
            self.schedule()
        opened, inputs = self.level(level), self.by_name(x)

        def run(names: Sequence[str]) -> execution.Run:
            return execution.execute(
                opened,
                inputs,
                gaps=None if gaps is None else np.asarray(gaps, np.int64),
                loads=_loads(weights),
                taps=names,
                quantise_input=quantise_input,
            )

        found = run(list(dict.fromkeys(taps)))
        tap = Taps(found.tap, execution.edges_of(opened), lambda name: run([name]).tap)
        return Run(_unwrap(found.outputs), tap, found)

    def verify(
        self,
        x: Tensor | Tensors | None = None,
        *,
        vectors: int = 1000,
        seed: int = 0,
        levels: Sequence[str] | None = None,
    ) -> Verification:
        """Compare levels with each other, values and cycles; raise ``Divergence``.

        ``x`` gives the vectors; without it, ``vectors`` frames that are chosen to hurt.
        """
        inputs = None if x is None else self.by_name(x)
        return verify_design(self, levels or self.levels, inputs, vectors, seed)

    def write(self, folder: str | PathLike[str], emit: str = "sv") -> None:
        """Write the project folder, whole or not at all, down to the level ``emit``."""
        from fastml.compiler.project import write_project

        write_project(self, Path(folder), emit)

    def report(self) -> dict[str, Any]:
        """Return latency, II, widths and area, for the design and layer by layer."""
        from fastml.compiler.report import build_report

        return build_report(self)

    def by_name(self, x: Tensor | Tensors) -> dict[str, Tensor]:
        """Return inputs by name; a single array stands for the only input."""
        if isinstance(x, Mapping):
            return {name: np.asarray(value) for name, value in x.items()}
        names = self.input_names
        if len(names) != 1:
            raise FastmlError(
                f"the model has {len(names)} inputs, not one",
                in_file("input"),
                code="FML-INPUT",
                hint=f"give a table by name: {', '.join(names)}",
            )
        return {names[0]: np.asarray(x)}

    @property
    def input_names(self) -> list[str]:
        """The model's inputs, in order."""
        return self.input_names_of(self.levels[0])

    def input_names_of(self, level: str) -> list[str]:
        """Return the model's inputs, in order, as a level knows them."""
        opened = self.level(level)
        if isinstance(opened, NetworkLevel):
            return list(opened.network.inputs)
        return [] if opened.host is None else opened.host.input_names


def _loads(weights: Tensors | Mapping[int, Tensors] | None) -> dict[int, Tensors]:
    """Return weights by frame and edge; a table of edges is loaded before frame 0."""
    loads, first = dict[int, Tensors](), dict[str, Tensor]()
    for key, value in (weights or {}).items():
        if isinstance(key, int):
            loads[key] = cast(Tensors, value)
        else:
            first[key] = cast(Tensor, value)
    return loads | ({0: first} if first else {})


def _unwrap(outputs: dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def compile(model: str | PathLike[str], **options: Any) -> Design:
    """Compile a model: an ``.onnx`` file, or an ``.mlir`` file of the ``fastml`` level.

    ``options`` are those of ``fastmlc compile`` with underscores, such as ``clock_ns=5.0`` or
    ``input_type={"x": "fixed<16,6>"}``. Raises ``FastmlError`` on anything that cannot be
    compiled exactly. Lower levels are made when they are first needed.
    """
    design = from_model(Path(model), from_keywords(options))
    design.module("fastml")
    return design


def from_model(path: Path, options: BuildOptions) -> Design:
    """Return the design of a model file, which is read when it is first needed."""
    design: Design

    def read() -> ModuleOp:
        design.runner.lap("(start)")
        if path.suffix == ".mlir":
            module = read_module(path)
        else:
            from fastml.compiler.reader import read_onnx

            given: Mapping[str, str] = options.input_type if options.precision is None else {}
            module = read_onnx(path, given)
        design.runner.lap("(read)")
        design.runner.run(module, "fastml")
        return module

    design = Design(path.stem, {"fastml": read}, options)
    return design


def from_file(path: Path, options: BuildOptions | None = None) -> Design:
    """Return the design that one ``.mlir`` file holds: a single level, executed as it is.

    Hardware can also be executed as the SystemVerilog that is printed from it.
    """
    from fastml.compiler.pipelines import level_of

    module = read_module(path)
    level = level_of(module)
    rtl = (lambda: _printed(module)) if level == "hw" else None
    return Design(path.name, {level: lambda: module}, options, rtl=rtl, lower=False)


def _printed(module: ModuleOp) -> RtlLevel:
    """Return a module of hardware as SystemVerilog."""
    from fastml.compiler.emit.systemverilog import emit_systemverilog

    hardware = HardwareLevel(module)
    return RtlLevel(emit_systemverilog(module), hardware.pinout, hardware.host)
