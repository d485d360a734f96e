"""Canonical signed digits: the recoding of a constant with the fewest additions.

A digit is -1, 0 or 1; digit ``p`` of a weight counts ``2**p``. No two neighbouring
digits are non-zero, which makes the number of non-zero ones the least possible
(Reitwiesner, 1960).
"""

import numpy as np
from numpy.typing import NDArray

from fastml.lowering.cmvm.integers import Integers

Digits = NDArray[np.int8]


def csd(weights: Integers) -> Digits:
    """Return the digits, ``(n_digits, *weights.shape)``, least significant first.

    Weights lie strictly between plus and minus ``2**62``. There is at least one digit.
    """
    rest = weights.astype(np.int64)
    planes: list[Digits] = []
    while rest.any() or not planes:
        # An odd remainder takes the digit that leaves a multiple of four.
        digit = np.where(rest & 1, 2 - (rest & 3), 0)
        planes.append(digit.astype(np.int8))
        rest = (rest - digit) >> 1
    return np.stack(planes)
