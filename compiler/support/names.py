"""Names from a model become identifiers here, and nowhere else.

A legal name is an identifier in C++17, SystemVerilog-2017, VHDL-2008 and Tcl at once: ASCII
letters, digits and single underscores, beginning with a letter, not ending in an underscore,
no reserved word in any case of letters, at most :data:`LENGTH` characters.
"""

import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2s

LENGTH = 64
"""Longest name, in characters: what every tool in use takes."""

_LEGAL = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*", re.ASCII)

_CPP = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t
char8_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
constinit continue decltype default delete do double dynamic_cast else enum explicit export
extern false final float for friend goto if import inline int long module mutable namespace new
noexcept not not_eq nullptr operator or or_eq override private protected public register
reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast
struct switch template this thread_local throw true try typedef typeid typename union unsigned
using virtual void volatile wchar_t while xor xor_eq main std linux unix
"""
# Functions and macros of the C and C++ headers that generated code meets.
_LIBRARY = """
abort abs acos acosh asin asinh assert atan atan2 atanh atexit atof atoi bsearch bool calloc cbrt
ceil clock copysign cos cosh div errno erf erfc eof exit exp exp2 expm1 fabs fdim floor fma fmax
fmin fmod fpclassify free frexp getenv huge_val hypot ilogb infinity isfinite isinf isnan isnormal
j0 j1 jn labs ldexp lgamma llabs llrint llround log log10 log1p log2 logb lrint lround malloc max
memcpy memmove memset min modf nan nearbyint nextafter null pow printf puts putchar qsort raise
rand rand_max read realloc remainder remove remquo rename rint round scalbln scalbn scanf setjmp
signal signbit sin sinh sqrt srand stderr stdin stdout strcmp strlen strtol swap system tan tanh
tgamma time trunc va_arg va_end va_list va_start vector write y0 y1 yn
m_e m_pi m_pi_2 m_pi_4 m_ln2 m_ln10 m_log2e m_log10e m_sqrt2 int8_t int16_t int32_t int64_t
uint8_t uint16_t uint32_t uint64_t size_t ptrdiff_t ssize_t intmax_t uintmax_t
ap_int ap_uint ap_fixed ap_ufixed ac_int ac_fixed ac_channel hls ihc
ap_int_base ap_fixed_base ap_private ap_bit_ref ap_range_ref ap_q_mode ap_o_mode ac_private
ac_q_mode ac_o_mode
int8_min int16_min int32_min int64_min int8_max int16_max int32_max int64_max bufsiz
ap_int_max_w fastml_tap fastml_tap_header
"""
# Types of the system that C++ headers bring along; ports get types of such names.
_POSIX = """
blkcnt_t blksize_t caddr_t clock_t clockid_t daddr_t dev_t div_t double_t error_t fenv_t fexcept_t
float_t fpos_t fsblkcnt_t fsfilcnt_t fsid_t gid_t id_t ino_t intptr_t key_t ldiv_t lldiv_t
locale_t loff_t max_align_t mbstate_t mode_t nlink_t nullptr_t off_t pid_t pthread_t quad_t
register_t sigset_t suseconds_t time_t timer_t u_int8_t u_int16_t u_int32_t u_int64_t u_quad_t
uid_t uintptr_t useconds_t wctrans_t wctype_t wint_t
"""
_SYSTEMVERILOG = """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic
before begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle
checker class clocking cmos config const constraint context continue cover covergroup coverpoint
cross deassign default defparam design disable dist do edge else end endcase endchecker endclass
endclocking endconfig endfunction endgenerate endgroup endinterface endmodule endpackage
endprimitive endprogram endproperty endsequence endspecify endtable endtask enum event eventually
expect export extends extern final first_match for force foreach forever fork forkjoin function
generate genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies
import incdir include initial inout input inside instance int integer interconnect interface
intersect join join_any join_none large let liblist library local localparam logic longint
macromodule matches medium modport module nand negedge nettype new nexttime nmos nor
noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge primitive
priority program property protected pull0 pull1 pulldown pullup pulsestyle_ondetect
pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg reject_on
release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually
s_nexttime s_until s_until_with scalared sequence shortint shortreal showcancelled signed small
soft solve specify specparam static string strong strong0 strong1 struct super supply0 supply1
sync_accept_on sync_reject_on table tagged task this throughout time timeprecision timeunit tran
tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef union unique unique0 unsigned until
until_with untyped use uwire var vectored virtual void wait wait_order wand weak weak0 weak1 while
wildcard wire with within wor xnor xor
"""
_VHDL = """
abs access after alias all and architecture array assert assume assume_guarantee attribute begin
block body buffer bus case component configuration constant context cover default disconnect
downto else elsif end entity exit fairness file for force function generate generic group guarded
if impure in inertial inout is label library linkage literal loop map mod nand new next nor not
null of on open or others out package parameter port postponed procedure process property
protected pure range record register reject release rem report restrict restrict_guarantee return
rol ror select sequence severity shared signal sla sll sra srl strong subtype then to transport
type unaffected units until use variable vmode vprop vunit wait when while with xnor xor
bit bit_vector boolean character integer natural positive real signed std_logic std_logic_vector
std_ulogic string unsigned work ieee
"""
_TCL = """
after append apply array binary break catch cd clock close concat continue dict encoding eof error
eval exec exit expr fblocked fconfigure fcopy file fileevent flush for foreach format gets glob
global if incr info interp join lappend lindex linsert list llength lmap load lrange lrepeat
lreplace lreverse lsearch lset lsort namespace open package pid proc puts pwd read regexp regsub
rename return scan seek set socket source split string subst switch tell time trace unload unset
update uplevel upvar variable vwait while
"""

SYSTEMVERILOG = frozenset(_SYSTEMVERILOG.split())
"""The reserved words of SystemVerilog-2017."""
RESERVED = frozenset(f"{_CPP} {_LIBRARY} {_POSIX} {_SYSTEMVERILOG} {_VHDL} {_TCL}".split())
"""Words, in lower case, that no name may be, whatever the case of its letters."""


def is_legal(name: str) -> bool:
    """Say whether ``name`` is an identifier in every language that is printed."""
    return (
        len(name) <= LENGTH and _LEGAL.fullmatch(name) is not None and name.lower() not in RESERVED
    )


def is_systemverilog(name: str) -> bool:
    """Say whether ``name`` can be printed in SystemVerilog, if perhaps nowhere else."""
    return (
        len(name) <= LENGTH
        and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None
        and name not in SYSTEMVERILOG
    )


def legalise(name: str) -> str:
    """Return a legal name that keeps as much of ``name`` as it can; not unique."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.findall(r"[A-Za-z0-9]+", plain)
    kept = "_".join(words) or "unnamed"
    if kept[0].isdigit() or kept.lower() in RESERVED:
        kept = f"n_{kept}"
    if len(kept) > LENGTH:  # keep it traceable and tell apart what is cut alike
        tail = blake2s(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        kept = f"{kept[: LENGTH - len(tail) - 2].rstrip('_')}_h{tail}"
    return kept


class Namer:
    """Give out legal names, each once, even where the case of letters is ignored."""

    def __init__(self, taken: Iterable[str] = ()):
        self._taken = {name.lower() for name in taken}
        self._next: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """Return a legal name like ``name`` that was not given out before."""
        stem = legalise(name)
        candidate = stem
        while candidate.lower() in self._taken:
            number = self._next.get(stem.lower(), 2)
            self._next[stem.lower()] = number + 1
            suffix = f"_{number}"
            candidate = stem[: LENGTH - len(suffix)].rstrip("_") + suffix
        self._taken.add(candidate.lower())
        return candidate

    def claim(self, name: str) -> bool:
        """Take a name as it is; say whether it was free."""
        is_free = name.lower() not in self._taken
        self._taken.add(name.lower())
        return is_free

    def take(self, name: str) -> bool:
        """Take exactly ``name``; return whether it was still free."""
        free = name.lower() not in self._taken
        self._taken.add(name.lower())
        return free
