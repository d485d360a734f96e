"""fastml: trained neural networks to hardware that computes the same numbers."""

from pathlib import Path as _Path
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# In a checkout the sub-packages live at the top of the repository, two levels above
# this file.  In an installed wheel they sit beside it and the branch is not taken.
if (_src := _Path(__file__).resolve().parents[1]).name == "src":
    __path__.append(str(_src.parent))

if TYPE_CHECKING:
    from fastml.compiler.design import Design, compile

__all__ = ["Design", "compile"]


def __getattr__(name: str) -> object:
    """Load the public API on first use, so that ``import fastml`` stays fast."""
    if name in __all__:
        from fastml.compiler import design

        return getattr(design, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
