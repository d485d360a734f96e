"""What a design owes to the outside: the host's share of the model, kept with every level.

Below ``fastml`` a module holds integers only. The fp32 work before the first integer and
after the last is two networks of the ``fastml`` dialect, which travel as text in one builtin
attribute, ``fastml.interface``, so that files of every level stay readable by upstream tools:

- ``prologue``: the model's inputs to the design's input edges (quantised);
- ``view``: the design's edges to every other edge of the model, and to its outputs. Fused
  edges (a batch normalisation inside a threshold) are seen through it; its outputs are the
  model's outputs, so their path through it is the epilogue.
"""

from dataclasses import dataclass
from functools import lru_cache

from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, DictionaryAttr, ModuleOp, StringAttr
from xdsl.utils.exceptions import VerifyException

from fastml.compiler.support.parsing import TextParser
from fastml.dialects.fastml import Fastml, NetworkOp

ATTRIBUTE = "fastml.interface"


@dataclass(frozen=True)
class Interface:
    """The host networks of a design."""

    prologue: NetworkOp
    view: NetworkOp

    def attach(self, module: ModuleOp) -> None:
        """Store the host networks on ``module``."""
        module.attributes[ATTRIBUTE] = DictionaryAttr(
            {
                "prologue": StringAttr(str(self.prologue)),
                "view": StringAttr(str(self.view)),
            }
        )

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
        return cls(*networks)


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
