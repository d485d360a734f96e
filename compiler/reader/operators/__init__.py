"""The operators, one file a family; importing the package registers them all."""

from fastml.compiler.reader.operators import (
    arithmetic,
    constants,
    index_maps,
    linear,
    normalisation,
    quantisers,
)

__all__ = ["arithmetic", "constants", "index_maps", "linear", "normalisation", "quantisers"]
