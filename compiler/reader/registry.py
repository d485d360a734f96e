"""What the reader knows of each operator: versions, attributes, and how to build it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from fastml.compiler.plugins import load_plugins
from fastml.compiler.reader.schema import CHANNELS_LAST, QONNX_DOMAINS

if TYPE_CHECKING:
    from fastml.compiler.reader.node import Node
    from fastml.compiler.reader.values import Value

Build = Callable[["Node"], "Value | Sequence[Value]"]
"""Gives the value of the first output, or those of all the outputs that a node names."""


@dataclass(frozen=True)
class Operator:
    """One operator: the versions, attributes and outputs that ``build`` accounts for.

    ``without_effect`` names attributes that do not change an inference, with the reason.
    ``build`` takes inputs and attributes from the node; what it leaves there is an error.
    """

    name: str
    domains: tuple[str, ...]
    since: frozenset[int]
    attributes: frozenset[str]
    without_effect: Mapping[str, str]
    spare_outputs: frozenset[int]
    build: Build
    summary: str


OPERATORS: dict[tuple[str, str], Operator] = {}
"""Every operator by domain and name."""


def operator(
    *names: str,
    since: tuple[int, ...],
    attributes: tuple[str, ...] = (),
    without_effect: Mapping[str, str] | None = None,
    spare_outputs: tuple[int, ...] = (),
    qonnx: bool = False,
    channels_last: bool = False,
) -> Callable[[Build], Build]:
    """Register the decorated function as the builder of operators.

    ``spare_outputs`` are positions of outputs that may be named as long as nobody reads them.
    """
    domains = QONNX_DOMAINS if qonnx else (CHANNELS_LAST,) if channels_last else ("",)

    def register(build: Build) -> Build:
        assert build.__doc__, "the summary of an operator is its docstring"
        for name in names:
            entry = Operator(
                name,
                domains,
                frozenset(since),
                frozenset(attributes),
                dict(without_effect or {}),
                frozenset(spare_outputs),
                build,
                build.__doc__.splitlines()[0],
            )
            for domain in domains:
                assert (domain, name) not in OPERATORS, f"{name} is registered twice"
                OPERATORS[domain, name] = entry
        return build

    return register


def load_operators() -> Mapping[tuple[str, str], Operator]:
    """Return the registry with every operator file and plug-in imported."""
    import_module("fastml.compiler.reader.operators")
    load_plugins()
    return OPERATORS
