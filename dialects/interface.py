"""What a design owes to the outside: the host's share of the model, kept with every level.

Below ``fastml`` a module holds integers only. The fp32 work before the first integer and
after the last is two networks of the ``fastml`` dialect, which travel as text in one builtin
attribute, ``fastml.interface``, so that files of every level stay readable by upstream tools:

- ``prologue``: the model's inputs to the design's input edges (quantised);
- ``view``: the design's edges to every other edge of the model, and to its outputs. Fused
  edges (a batch normalisation inside a threshold) are seen through it; its outputs are the
  model's outputs, so their path through it is the epilogue.

Where an edge is a stream of pixels, ``layouts`` says which of its axes are passed beat by
beat (:mod:`fastml.dialects.layout`); all others are one beat, row-major.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import cast

from xdsl.context import Context
from xdsl.dialects.builtin import ArrayAttr as ListAttr
from xdsl.dialects.builtin import Builtin, DictionaryAttr, ModuleOp, StringAttr
from xdsl.ir import Attribute
from xdsl.utils.exceptions import VerifyException

from fastml.compiler.support.parsing import TextParser
from fastml.dialects.fastml import Fastml, NetworkOp, shape_of
from fastml.dialects.layout import Layout

ATTRIBUTE = "fastml.interface"


@dataclass(frozen=True)
class Interface:
    """The host networks of a design."""

    prologue: NetworkOp
    view: NetworkOp
    layouts: Mapping[str, Layout] = field(default_factory=dict[str, Layout])
    """How edges of the hardware lie in beats, by name, where a frame is not one row-major beat."""

    def layout_of(self, edge: str) -> Layout:
        """Return the layout of an edge of the hardware."""
        return self.layouts.get(edge) or Layout(shape_of(self.view.inputs[edge]))

    def attach(self, module: ModuleOp) -> None:
        """Store the host networks on ``module``."""
        texts: dict[str, Attribute] = {
            "prologue": StringAttr(str(self.prologue)),
            "view": StringAttr(str(self.view)),
        }
        if self.layouts:
            pairs = [(name, str(layout)) for name, layout in self.layouts.items()]
            texts["layouts"] = ListAttr([StringAttr(text) for pair in pairs for text in pair])
        module.attributes[ATTRIBUTE] = DictionaryAttr(texts)

    @classmethod
    def of(cls, module: ModuleOp) -> "Interface":
        """Read the host networks of ``module``; raise ``VerifyException`` if absent."""
        attribute = module.attributes.get(ATTRIBUTE)
        if not isinstance(attribute, DictionaryAttr):
            raise VerifyException(f"the module has no '{ATTRIBUTE}' attribute")
        networks = list[NetworkOp]()
        for key in ("prologue", "view"):
            text = attribute.data.get(key)
            if not isinstance(text, StringAttr):
                raise VerifyException(f"'{ATTRIBUTE}' lacks the text of its {key}")
            networks.append(parse_network(text.data))
        prologue, view = networks
        return cls(prologue, view, layouts_from(attribute.data.get("layouts"), view))


def layouts_from(attribute: Attribute | None, view: NetworkOp) -> dict[str, Layout]:
    """Read layouts from a list of names and texts in turn; ``VerifyException`` if malformed."""
    if attribute is None:
        return {}
    texts = list(cast(Sequence[Attribute], attribute)) if isinstance(attribute, ListAttr) else []
    strings = [text.data for text in texts if isinstance(text, StringAttr)]
    if len(strings) != len(texts) or not strings or len(strings) % 2:
        raise VerifyException(f"the layouts of '{ATTRIBUTE}' are not names and texts in turn")
    return parse_layouts(dict(list(pairwise(strings))[::2]), view)


def parse_layouts(texts: Mapping[str, str], view: NetworkOp) -> dict[str, Layout]:
    """Parse the layouts of edges, which are inputs of the view; ``VerifyException`` if odd."""
    layouts = dict[str, Layout]()
    inputs = view.inputs
    for name, text in texts.items():
        if name not in inputs:
            raise VerifyException(f"the layout of '{name}' belongs to no edge of the hardware")
        try:
            layouts[name] = Layout.parse(text, shape_of(inputs[name]))
        except ValueError as error:
            raise VerifyException(f"the layout of '{name}': {error}") from None
    return layouts


@lru_cache(maxsize=16)
def parse_network(text: str) -> NetworkOp:
    """Parse the text of one network; raise ``ParseError`` or ``VerifyException``."""
    context = Context()
    context.load_dialect(Builtin)
    context.load_dialect(Fastml)
    module = TextParser(context, text, "interface").parse_module()
    module.verify()
    networks = [op for op in module.ops if isinstance(op, NetworkOp)]
    if len(networks) != 1:
        raise VerifyException("an interface text holds exactly one network")
    return networks[0]
