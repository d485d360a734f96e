"""What every stage of the ``qflow`` dialect has: an edge, an architecture, cycles, ranges."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Attribute, ParametrizedAttribute, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_attr_definition,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from fastml.dialects.array import ArrayAttr, Integers
from fastml.dialects.channel import ChannelType, channel_of
from fastml.dialects.qflow_folded import FoldedAttr


@irdl_attr_definition
class ParallelAttr(ParametrizedAttribute):
    """Architecture: fully unrolled, a beat every cycle."""

    name = "qflow.parallel"


def require(condition: object, message: str) -> None:
    """Raise ``VerifyException`` unless the condition holds."""
    if not condition:
        raise VerifyException(message)


class StageOp(IRDLOperation, ABC):
    """A stage: one beat of every operand in, one beat out.

    ``cycles[e]`` is the cycle in which result element ``e`` is ready, counted from the
    frame's input; the scheduling pass sets it.
    """

    edge = prop_def(StringAttr)
    """Name of the tensor in the model that this channel carries."""
    architecture = opt_prop_def(ParallelAttr | FoldedAttr)
    cycles = opt_prop_def(ArrayAttr)
    result = result_def(ChannelType)

    irdl_options = (ParsePropInAttrDict(),)
    traits = traits_def(Pure())

    @property
    def channel(self) -> ChannelType:
        """Type of the result."""
        return channel_of(self.result)

    @property
    @abstractmethod
    def sources(self) -> Sequence[SSAValue]:
        """The operand channels."""

    @abstractmethod
    def exact_ranges(self) -> tuple[Integers, Integers]:
        """Return the exact range of each result element, from the operands' ranges."""

    def verify_(self) -> None:
        """Check the parameters, then that the result type is the exact range."""
        self.verify_parameters()
        require(not self.channel.is_stream, "only a FIFO gives a channel of protocol 'rv'")
        beats = sorted({channel_of(x).beats.data for x in (*self.sources, self.result)})
        require(len(beats) == 1, f"operands and result differ in beats a frame: {beats}")
        lows, highs = self.exact_ranges()
        actual = self.channel
        require(len(lows) == len(actual), f"the result has {len(actual)} elements, not {len(lows)}")
        differs = np.flatnonzero((lows != actual.lows) | (highs != actual.highs))
        if len(differs):
            element = int(differs[0])
            raise VerifyException(
                f"element {element} of the result ranges over {lows[element]}..{highs[element]}, "
                f"its type says {actual.lows[element]}..{actual.highs[element]}"
            )
        if self.cycles is not None:
            verify_cycles(self.cycles, len(actual), "cycles must be one for each element")

    @abstractmethod
    def verify_parameters(self) -> None:
        """Check the stage's own parameters."""


def properties_of(edge: str, parameters: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Return the properties of a new stage."""
    return {"edge": StringAttr(edge), **parameters}


def require_integers(parameter: ArrayAttr, shape: tuple[int, ...], what: str) -> Integers:
    """Return the integers of a parameter; raise ``VerifyException`` naming it if they are not."""
    fits = parameter.array.shape == shape and parameter.data.dtype != "f32"
    size = "x".join(map(str, shape))
    require(fits, f"{what} must be {size} integers")
    return parameter.integers


def verify_cycles(cycles: ArrayAttr, count: int, message: str) -> None:
    """Check that there is one clock cycle for each of ``count`` places."""
    array = cycles.array
    require(array.shape == (count,) and array.dtype == np.int64, message)
    require(np.all(cycles.integers >= 0), "a cycle must not be negative")
