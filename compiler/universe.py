"""Our dialects, passes and targets, as ``xdsl-opt`` discovers them; loading stays lazy."""

from xdsl.universe import Universe

from fastml.compiler.emit.targets import TARGETS
from fastml.dialects import DIALECTS
from fastml.lowering import PASSES

FASTML_UNIVERSE = Universe(
    all_dialects={**DIALECTS}, all_passes={**PASSES}, all_targets={**TARGETS}
)
"""The entry point ``fastml`` of the group ``xdsl.universe``."""
