"""Flavours of HLS C++: what differs between the vendors' tools, as data.

The emitter asks a flavour how a type, a directive or an interface is spelt. A template that
is empty says that the tool is told so elsewhere (in its script), or does by itself what the
directive asks for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fastml.compiler.support.diagnostics import FastmlError, in_file

AP_TYPES = "ap_types"
AC_TYPES = "ac_types"
CLOCK_NS = 5.0
"""Clock period in the scripts for a design that was made for none."""


@dataclass(frozen=True)
class Types:
    """Spelling of the integer and fixed-point types of one library."""

    library: str
    signed: str
    unsigned: str
    signed_fixed: str
    unsigned_fixed: str
    to_bits: str
    """Bits of a fixed-point number ``{x}`` of ``{width}`` bits."""
    from_bits: str
    """Set the bits of a fixed-point number ``{x}`` to the integer ``{bits}``."""

    def integer(self, width: int, signed: bool) -> str:
        """Return the type of an integer."""
        return (self.signed if signed else self.unsigned).format(width=width)

    def fixed(self, width: int, signed: bool, integer: int) -> str:
        """Return the type of a fixed-point number with ``integer`` bits before the point."""
        template = self.signed_fixed if signed else self.unsigned_fixed
        return template.format(width=width, integer=integer)


@dataclass(frozen=True)
class Pragmas:
    """Spelling of the directives; they stand inside of what they apply to, or before it."""

    inside: bool
    pipeline: str = ""
    function_pipeline: str = ""
    unroll: str = ""
    unroll_all: str = ""
    partition: str = ""
    partition_all: str = ""
    stream: str = ""
    ram: Mapping[str, str] = field(default_factory=dict[str, str])
    """By storage: what the array ``{name}`` is made of, which one port writes and one reads."""
    words: str = ""
    """Make each row of the array ``{name}`` one word of it."""
    dataflow: str = ""
    top: str = ""
    block: str = ""
    """Before every function that the top function calls."""
    process: str = ""
    """Before every function that runs beside others."""
    lanes: str = ""
    """Split the constant array ``{name}`` into its rows, which are read at once."""
    rom: Mapping[str, str] = field(default_factory=dict[str, str])
    """By storage: what the constant array ``{name}`` is made of, where it is used."""
    rom_declared: Mapping[str, str] = field(default_factory=dict[str, str])
    """Likewise, before its declaration."""


@dataclass(frozen=True)
class Streams:
    """Spelling of streams between processes."""

    header: str
    kind: str
    """Type of a stream of beats of ``{size}`` elements of type ``{element}``."""
    declare: str
    """Declare a stream ``{name}`` of type ``{kind}`` between two processes."""
    interfaces: Mapping[str, str]
    """Interface to its pragma of a port ``{name}`` that is a stream."""
    inline: str = ""
    """In a function that is to vanish into its callers."""
    pack: str = ""
    """Makes the beats of ``{name}`` one word."""

    def of(self, element: str, size: int | str) -> str:
        """Return the type of a stream."""
        return self.kind.format(element=element, size=size)


@dataclass(frozen=True)
class Flavour:
    """One vendor tool's dialect of C++."""

    name: str
    tool: str
    types: Types
    headers: tuple[str, ...]
    pragmas: Pragmas
    interfaces: Mapping[str, tuple[str, str]]
    """Interface to its pragmas: of a port ``{name}``, and of the function."""
    standard: str
    """C++ standard of the text."""
    max_width: int
    """Widest integer that the tool takes."""
    partition_limit: int | None = None
    """Elements of an array that is split into registers, at most."""
    unroll_limit: int | None = None
    """Iterations of a loop that is unrolled, at most."""
    part: str = ""
    """Part that the scripts name unless another is asked for."""
    streams: Streams | None = None
    """Streams; without them, processes pass arrays of the beats of a frame."""
    compiler_flags: tuple[str, ...] = field(default=())
    """What g++ needs so that it is silent on what is meant for the tool."""


_AP = Types(
    AP_TYPES,
    "ap_int<{width}>",
    "ap_uint<{width}>",
    "ap_fixed<{width}, {integer}>",
    "ap_ufixed<{width}, {integer}>",
    "{x}.range({width} - 1, 0)",
    "{x}.range() = {bits}",
)
_AC = Types(
    AC_TYPES,
    "ac_int<{width}, true>",
    "ac_int<{width}, false>",
    "ac_fixed<{width}, {integer}, true>",
    "ac_fixed<{width}, {integer}, false>",
    "{x}.template slc<{width}>(0)",
    "{x}.set_slc(0, {bits})",
)

_XILINX = Pragmas(
    inside=True,
    pipeline="#pragma HLS pipeline II={ii}",
    function_pipeline="#pragma HLS pipeline II={ii}",
    unroll="#pragma HLS unroll factor={factor}",
    unroll_all="#pragma HLS unroll",
    partition="#pragma HLS array_partition variable={name} cyclic factor={factor} dim=1",
    partition_all="#pragma HLS array_partition variable={name} complete dim=0",
    stream="#pragma HLS stream variable={name} depth={depth}",
    ram={
        "block": "#pragma HLS bind_storage variable={name} type=ram_s2p impl=bram",
        "logic": "#pragma HLS bind_storage variable={name} type=ram_s2p impl=lutram",
    },
    words="#pragma HLS array_reshape variable={name} complete dim=2",
    dataflow="#pragma HLS dataflow",
    lanes="#pragma HLS array_partition variable={name} complete dim=1",
    rom={
        "block": "#pragma HLS bind_storage variable={name} type=rom_1p impl=bram",
        "logic": "#pragma HLS bind_storage variable={name} type=rom_1p impl=lutram",
    },
)
_VIVADO = replace(
    _XILINX,
    ram={
        "block": "#pragma HLS resource variable={name} core=RAM_S2P_BRAM",
        "logic": "#pragma HLS resource variable={name} core=RAM_S2P_LUTRAM",
    },
    rom={
        "block": "#pragma HLS resource variable={name} core=ROM_1P_BRAM",
        "logic": "#pragma HLS resource variable={name} core=ROM_1P_LUTRAM",
    },
)
_XILINX_INTERFACES = {
    "wires": (
        "#pragma HLS interface ap_vld port={name}",
        "#pragma HLS interface ap_ctrl_none port=return",
    ),
    "axis": (
        "#pragma HLS interface axis port={name}",
        "#pragma HLS interface ap_ctrl_none port=return",
    ),
    "axilite": (
        "#pragma HLS interface s_axilite port={name} bundle=control",
        "#pragma HLS interface s_axilite port=return bundle=control",
    ),
}
_XILINX_STREAMS = Streams(
    "hls_stream.h",
    "hls::stream<fastml::beat<{element}, {size}> >",
    '{kind} {name}("{name}");',
    {
        "wires": "#pragma HLS interface ap_fifo port={name}",
        "axis": "#pragma HLS interface axis port={name}",
    },
    inline="#pragma HLS inline",
)
# The width that the headers allow is in units of 1024 bits, as a macro before them.
_XILINX_HEADERS = (
    "#ifndef AP_INT_MAX_W",
    "#define AP_INT_MAX_W 4096",
    "#endif",
    "#include <ap_fixed.h>",
    "#include <ap_int.h>",
)

# The constructors of ap_int read a word before they set it, and g++ says so of every use.
_AP_FLAGS = ("-Wno-unknown-pragmas", "-Wno-uninitialized")

FLAVOURS: Mapping[str, Flavour] = {
    flavour.name: flavour
    for flavour in (
        Flavour(
            "vitis",
            "Vitis HLS",
            _AP,
            _XILINX_HEADERS,
            _XILINX,
            _XILINX_INTERFACES,
            "c++14",
            max_width=4096,
            partition_limit=1024,
            unroll_limit=4096,
            part="xcvu13p-flga2577-2-e",
            streams=_XILINX_STREAMS,
            compiler_flags=_AP_FLAGS,
        ),
        Flavour(
            "vivado",
            "Vivado HLS",
            _AP,
            _XILINX_HEADERS,
            _VIVADO,
            _XILINX_INTERFACES,
            "c++11",
            max_width=4096,
            partition_limit=1024,
            unroll_limit=4096,
            part="xcvu13p-flga2577-2-e",
            streams=replace(_XILINX_STREAMS, pack="#pragma HLS data_pack variable={name}"),
            compiler_flags=_AP_FLAGS,
        ),
        Flavour(
            "oneapi",
            "oneAPI",
            _AC,
            (
                "#if defined(SYCL_LANGUAGE_VERSION)",
                "#include <sycl/ext/intel/ac_types/ac_fixed.hpp>",
                "#include <sycl/ext/intel/ac_types/ac_int.hpp>",
                "#else",
                "#include <ac_fixed.h>",
                "#include <ac_int.h>",
                "#endif",
            ),
            Pragmas(
                inside=False,
                pipeline="[[intel::initiation_interval({ii})]]",
                unroll="#pragma unroll {factor}",
                unroll_all="#pragma unroll",
                partition_all="[[intel::fpga_register]]",
                rom_declared={
                    "block": '[[intel::fpga_memory("BLOCK_RAM")]]',
                    "logic": '[[intel::fpga_memory("MLAB")]]',
                },
                ram={
                    "block": '[[intel::fpga_memory("BLOCK_RAM")]]',
                    "logic": '[[intel::fpga_memory("MLAB")]]',
                },
            ),
            {"wires": ("", "")},
            "c++17",
            max_width=4096,
            part="Agilex7",
            compiler_flags=("-Wno-unknown-pragmas", "-Wno-attributes"),
        ),
        Flavour(
            "catapult",
            "Catapult",
            _AC,
            ("#include <ac_fixed.h>", "#include <ac_int.h>"),
            Pragmas(
                inside=False,
                pipeline="#pragma hls_pipeline_init_interval {ii}",
                function_pipeline="#pragma hls_pipeline_init_interval {ii}",
                unroll="#pragma hls_unroll {factor}",
                unroll_all="#pragma hls_unroll yes",
                top="#pragma hls_design top",
                block="#pragma hls_design inline",
                process="#pragma hls_design",
                rom={
                    "logic": '#pragma hls_resource {name}:rsc variables="{name}" '
                    'map_to_module="[Register]"'
                },
            ),
            {"wires": ("", ""), "axis": ("", "")},
            "c++11",
            max_width=8192,
            unroll_limit=4096,
            part="nangate-45nm_beh",
            streams=Streams(
                "ac_channel.h",
                "ac_channel<fastml::beat<{element}, {size}> >",
                "static {kind} {name};",
                {"wires": "", "axis": ""},
            ),
            compiler_flags=("-Wno-unknown-pragmas",),
        ),
    )
}
"""Every flavour by its name."""


def flavour_of(name: str) -> Flavour:
    """Return a flavour, or raise ``FML-USAGE``."""
    if name not in FLAVOURS:
        raise FastmlError(
            f"'{name}' is no flavour of HLS C++",
            in_file("--hls"),
            code="FML-USAGE",
            hint=f"choose from {', '.join(FLAVOURS)}",
        )
    return FLAVOURS[name]
