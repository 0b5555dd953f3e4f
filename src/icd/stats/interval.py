"""Intervals, tests and effect sizes over independent units.

Everything here takes units, never rounds: see `icd.stats.units` for why. `t_bounds` works on arrays of
any leading shape, so a simulation of many experiments runs the function that the product runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from icd.contracts import FloatArray, Missing
from icd.stats.summary import robust_sd

LEVEL = 0.95
BOOTSTRAP_FROM = 40  # below it the bootstrap is narrower than it should be
RESAMPLES = 10_000


def t_bounds(units: NDArray[Any], level: float = LEVEL) -> tuple[FloatArray, FloatArray]:
    """Two-sided t interval of the mean over the last axis: (..., n) -> lo (...), hi (...); n >= 2."""
    from scipy.special import stdtrit

    units = np.asarray(units, float)
    n = units.shape[-1]
    if n < 2:
        raise ValueError(f"an interval needs at least 2 units, got {n}")
    mean = units.mean(-1)
    half = stdtrit(n - 1, 0.5 + level / 2) * units.std(-1, ddof=1) / math.sqrt(n)
    return mean - half, mean + half


def median_bounds(rounds: NDArray[Any], level: float = LEVEL) -> tuple[FloatArray, FloatArray]:
    """Two-sided interval of the median over the last axis: (..., n) -> lo (...), hi (...); n >= 2.

    As a t interval, its standard error being sqrt(pi / 2) robust standard deviations over sqrt(n), as of
    normal rounds; n / (n - 0.8) takes off what the deviation of few of them is too small by (C. Croux and
    P. J. Rousseeuw, COMPSTAT 1992). A few outlying rounds do not widen it.
    """
    from scipy.special import stdtrit

    rounds = np.asarray(rounds, float)
    n = rounds.shape[-1]
    if n < 2:
        raise ValueError(f"an interval needs at least 2 rounds, got {n}")
    error = math.sqrt(math.pi / 2 / n) * n / (n - 0.8) * robust_sd(rounds)
    middle, half = np.median(rounds, -1), stdtrit(n - 1, 0.5 + level / 2) * error
    return middle - half, middle + half


def t_interval(
    units: NDArray[Any], level: float = LEVEL, *, at_least: int = 2
) -> tuple[float, float] | Missing:
    """Paired t interval of the mean of ``units`` (n,), in their unit; Missing below ``at_least`` of them."""
    if len(units) < at_least:
        return Missing(f"an interval needs at least {at_least} processes, got {len(units)}")
    lo, hi = t_bounds(units, level)
    return float(lo), float(hi)


def positive_interval(units: NDArray[Any], level: float = LEVEL) -> tuple[float, float] | Missing:
    """Interval of the mean of positive quantities ``units`` (n,), in their unit; Missing below 2 of them.

    The t interval of the mean's logarithm by the delta method, ``mean * exp(+-h / mean)`` with ``h`` the half
    width of the plain one: the same where units agree closely, and above 0 where three noisy processes would
    put the plain one below it. Units that are not all positive keep the plain interval.
    """
    plain = t_interval(units, level)
    if isinstance(plain, Missing) or np.min(units) <= 0:
        return plain
    mean = float(np.mean(units))
    share = (plain[1] - plain[0]) / 2 / mean
    return mean * math.exp(-share), mean * math.exp(share)


def bca_interval(
    units: NDArray[Any], level: float = LEVEL, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float] | Missing:
    """Bias-corrected accelerated bootstrap interval of the mean of ``units`` (n,), seeded.

    Missing below 40 units. Efron, "Better bootstrap confidence intervals", JASA 82 (1987), section 3.
    """
    from scipy.special import ndtr, ndtri

    x = np.asarray(units, float)
    n = len(x)
    if n < BOOTSTRAP_FROM:
        return Missing(f"the bootstrap needs at least {BOOTSTRAP_FROM} processes, got {n}")
    mean = float(x.mean())
    if np.ptp(x) == 0:
        return mean, mean
    rng = np.random.default_rng(seed)
    means = np.array([x[rng.integers(0, n, n)].mean() for _ in range(resamples)])
    below = (np.sum(means < mean) + 0.5 * np.sum(means == mean)) / resamples
    z0 = ndtri(below)  # bias
    left_out = (x.sum() - x) / (n - 1)  # (n,) jackknife
    d = left_out.mean() - left_out
    acceleration = np.sum(d**3) / (6 * np.sum(d**2) ** 1.5)
    z = z0 + ndtri([0.5 - level / 2, 0.5 + level / 2])
    lo, hi = np.quantile(means, ndtr(z0 + z / (1 - acceleration * z)))
    return float(lo), float(hi)


def cohen_dz(units: NDArray[Any]) -> float | Missing:
    """Mean of ``units`` (n,) over their standard deviation; Missing below 2 units or without spread."""
    if len(units) < 2:
        return Missing(f"an effect size needs at least 2 processes, got {len(units)}")
    sd = float(np.std(units, ddof=1))
    if sd == 0:
        return Missing("an effect size needs units that differ")
    return float(np.mean(units)) / sd


def t_test(
    units: NDArray[Any],
    threshold: float = 0.0,
    alternative: Literal["less", "greater", "two-sided"] = "two-sided",
) -> float | Missing:
    """p-value of a t test of the mean of ``units`` (n,) against ``threshold``, in the units' unit.

    ``less`` is small when the mean lies below the threshold. Missing below 2 units.
    """
    from scipy.special import stdtr

    n = len(units)
    if n < 2:
        return Missing(f"a test needs at least 2 processes, got {n}")
    gap = float(np.mean(units)) - threshold
    error = float(np.std(units, ddof=1)) / math.sqrt(n)
    t = gap / error if error > 0 else math.copysign(math.inf, gap) if gap else 0.0
    if alternative == "two-sided":
        return float(2 * stdtr(n - 1, -abs(t)))
    return float(stdtr(n - 1, t if alternative == "less" else -t))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Scand. J. Stat. 6, 1979)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
