"""Look-up tables of the stages that are not folded, before there is any hardware.

The same factors as for hardware are used (a table compares two bits, chooses between two
bits, or adds one), so that a contract on area speaks of what the report will say.
"""

import numpy as np

from fastml.dialects import qflow
from fastml.dialects.qflow import channel_of
from fastml.lowering.cmvm.csd import compact

ADD, COMPARE, CHOOSE = 0.78, 0.5, 0.5
"""Look-up tables for each bit."""
SHARED = 0.6
"""What is left of thresholds and rescalings once constants are known: 0.4 to 0.9 on the jet
tagger, TFC and the examples."""


def stage_luts(stage: qflow.StageOp) -> float:
    """Estimate the look-up tables of a stage other than a dense one."""
    wide = np.array(channel_of(stage.sources[0]).elements.widths, np.float64)
    narrow = np.array(stage.channel.elements.widths, np.float64)
    match stage:
        case qflow.ThresholdOp():
            high = channel_of(stage.input).highs[:, None]
            steps = (stage.thresholds.integers <= high).sum(axis=1).astype(np.float64)
            return SHARED * float((steps * (COMPARE * wide + CHOOSE * narrow)).sum())
        case qflow.RescaleOp():
            each = ADD * wide + 2 * COMPARE * wide + 2 * CHOOSE * narrow
            return SHARED * float(np.where(stage.wired, 0.0, each).sum())
        case qflow.MaximumOp():
            contenders = (stage.trees.counts - 1).astype(np.float64)
            return float((contenders * (COMPARE + CHOOSE) * narrow).sum())
        case qflow.LookupOp():
            words = stage.table.array.shape[1]
            return float((narrow * max(words / 64, 1)).sum())
        case qflow.MultiplyOp():
            other = np.array(channel_of(stage.right).elements.widths, np.float64)
            return float((wide * other).sum())
        case qflow.CombineOp():
            digits = np.count_nonzero(compact(stage.coefficients.integers), axis=0)
            terms = digits.sum(axis=0) + (stage.bias.integers != 0)
            width = (narrow + wide) / 2
            return SHARED * float(ADD * (width * np.maximum(terms - 1, 0)).sum())
        case _:
            return 0.0
