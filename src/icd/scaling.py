"""Powers of two that bring weights of any size near 1, so that squares neither overflow nor vanish.

Multiplying by a power of two rounds nothing, so what is computed of scaled weights is, scaled back, what
would have been computed of the weights themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MODERATE = 256  # weights of up to 2^256 = 1e77 can be summed 2^31 times and squared


def exponent(values: NDArray[Any], moderate: int = MODERATE) -> int:
    """An even e with the largest of ``values`` / 2^e in [0.25, 1); 0 where it is at most ``moderate`` from 0.

    Even, so that a square root is scaled by a power of two as well.
    """
    peak = float(np.max(values, initial=0.0))
    e = int(np.frexp(peak)[1]) if peak > 0.0 else 0
    return e + e % 2 if abs(e) > moderate else 0


def scaled(values: NDArray[Any], e: int) -> NDArray[Any]:
    """``values`` / 2^e; the same array where e is 0."""
    return np.ldexp(values, -e) if e else values
