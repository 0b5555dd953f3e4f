"""Diagnostics of the rounds behind a comparison: order effects and outliers.

They describe, they never drop: a flagged round stays in the result, and the record says what the result
would be without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icd.contracts import BoolArray, FloatArray, Missing
from icd.stats.summary import process_units, robust_sd
from icd.stats.units import Units

MIN_STEPS = 8
CUTOFF = 3.5  # robust z-score; Iglewicz and Hoaglin (1993)


@dataclass(frozen=True)
class Autocorrelation:
    """Lag-1 autocorrelation of successive rounds, pooled over allocations.

    ``value`` is freed of the bias that centring short series brings; ``flagged`` when it is further
    than 2 / sqrt(steps) from 0.
    """

    value: float
    steps: int
    flagged: bool


def lag1(units: Units) -> Autocorrelation | Missing:
    """Do successive rounds of an allocation resemble one another (drift, throttling)?

    Every (process, allocation) is centred by itself, so that placement does not count. Missing below
    8 steps or when rounds do not vary.
    """
    products = squares = bias = 0.0
    steps = 0
    for p, a in sorted(set(zip(units.process.tolist(), units.allocation.tolist(), strict=True))):
        x = units.rounds[(units.process == p) & (units.allocation == a)]  # sorted by round
        d = x - x.mean()
        products += float(d[1:] @ d[:-1])
        squares += float(d @ d)
        bias -= (len(x) - 1) / len(x)  # of `products`, in units of the variance, if independent
        steps += len(x) - 1
    if steps < MIN_STEPS:
        return Missing(f"autocorrelation needs at least {MIN_STEPS} steps between rounds, got {steps}")
    if squares == 0:
        return Missing("autocorrelation needs rounds that vary")
    value = products / squares - bias / steps
    return Autocorrelation(value, steps, abs(value) > 2 / math.sqrt(steps))


def mad_outliers(values: NDArray[Any], cutoff: float = CUTOFF) -> BoolArray:
    """Which of ``values`` (k,) lie further than ``cutoff`` robust standard deviations from the median."""
    distance = np.abs(np.asarray(values, float) - np.median(values))
    return np.asarray(distance > cutoff * robust_sd(values))


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """``flagged``: (process, allocation, round) of each outlying round; ``units``: made from the others."""

    flagged: tuple[tuple[int, int, int], ...]
    units: FloatArray


def without_outliers(units: Units, cutoff: float = CUTOFF) -> Sensitivity:
    """Which rounds are flagged, and the units made from the rest; a process may lose all of its rounds."""
    flagged = mad_outliers(units.rounds, cutoff)
    kept = ~flagged
    where = zip(*(x[flagged].tolist() for x in (units.process, units.allocation, units.round)), strict=True)
    rest = process_units(units.rounds[kept], units.process[kept], units.allocation[kept], units.summary)
    return Sensitivity(tuple(where), rest)
