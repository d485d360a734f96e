"""Our dialects and passes, as ``xdsl-opt`` discovers them; loading stays lazy."""

from xdsl.universe import Universe

from fastml.dialects import DIALECTS
from fastml.lowering import PASSES

FASTML_UNIVERSE = Universe(all_dialects={**DIALECTS}, all_passes={**PASSES})
"""The entry point ``fastml`` of the group ``xdsl.universe``."""
