"""Signed digits: recode a constant with the fewest additions.

A digit is -1, 0 or 1; digit ``p`` of a weight counts ``2**p``.
"""

import numpy as np
from numpy.typing import NDArray

from fastml.lowering.cmvm.integers import Integers

Digits = NDArray[np.int8]


def csd(weights: Integers) -> Digits:
    """Return canonical digits, ``(n_digits, *weights.shape)``, least significant first.

    No two neighbouring digits are non-zero, which makes the number of non-zero ones the
    least possible. Weights lie strictly between plus and minus ``2**62``. There is at
    least one digit.
    """
    rest = weights.astype(np.int64)
    planes: list[Digits] = []
    while rest.any() or not planes:
        # An odd remainder takes the digit that leaves a multiple of four.
        digit = np.where(rest & 1, 2 - (rest & 3), 0)
        planes.append(digit.astype(np.int8))
        rest = (rest - digit) >> 1
    return np.stack(planes)


def compact(weights: Integers) -> Digits:
    """Return as few digits as :func:`csd`, but closer together and of one sign.

    Where a digit is followed by its negative, ``4 - 1``, so many of one sign do as well,
    ``2 + 1``: the sum is narrower, and its carry may be free.
    """
    digits = csd(weights)
    for low in range(len(digits) - 3, -1, -1):
        high, middle, least = digits[low + 2], digits[low + 1], digits[low]
        opposite = (high * least == -1) & (middle == 0)
        middle[opposite] = high[opposite]
        least[opposite] = high[opposite]
        high[opposite] = 0
    return digits
