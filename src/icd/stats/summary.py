"""The rounds of a process -> its unit: by their median where outliers may come in, else by their mean.

    median   times. Where another program takes the core for a moment, an iteration takes ten times as long;
             the mean of the process then says by how much, the median what the others took. Half of the
             rounds may be hit before it moves far. The mean is recorded beside it.
    mean     energy, a sum over a window, of which no part may be left out, and what counters saw (L2, DRAM).

Which one it is follows from the metric, never from the samples, and stands in the record by its name. Records
from before it was named took the mean of every metric. `benchmarks/statistics` compares the candidates.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from icd.contracts import FloatArray

Summary = Literal["median", "mean"]
TIMES = ("latency_ms", "latency_cold_ms")
OF_TIMES: Summary = "median"
SAME = 1e-9  # shares of weight that are equal but for rounding


def summary_of(metric: str, of_times: Summary = OF_TIMES) -> Summary:
    """How the rounds of ``metric`` become a unit; ``of_times``: of those in `TIMES`."""
    return of_times if metric in TIMES else "mean"


def process_units(
    rounds: NDArray[Any], process: NDArray[Any], allocation: NDArray[Any], summary: Summary
) -> FloatArray:
    """Units from rounds: (..., k) -> (..., n_processes), processes in ascending order.

    Every allocation of a process weighs the same, and every round of an allocation, however many
    rounds were kept. ``process`` and ``allocation`` label the last axis, both of shape (k,).
    """
    weights, x = shares(process, allocation), np.asarray(rounds, float)
    if summary == "mean":
        return np.asarray(x @ weights.T)
    units = [weighted_median(x[..., share > 0], share[share > 0]) for share in weights]
    return np.stack(units, -1) if units else np.zeros((*x.shape[:-1], 0))


def shares(process: NDArray[Any], allocation: NDArray[Any]) -> FloatArray:
    """(n_processes, k): what each round weighs in the unit of each process; rows sum to 1."""
    slot, slot_of = np.unique(np.stack([process, allocation]), axis=1, return_inverse=True)
    slot_of = slot_of.ravel()
    _, process_of, allocations = np.unique(slot[0], return_inverse=True, return_counts=True)
    per_slot = np.bincount(slot_of)  # rounds of each (process, allocation)
    out = np.zeros((len(allocations), len(slot_of)))
    weight = 1.0 / (per_slot[slot_of] * allocations[process_of[slot_of]])  # (k,)
    out[process_of[slot_of], np.arange(len(slot_of))] = weight
    return out


def weighted_median(values: NDArray[Any], weights: NDArray[Any]) -> FloatArray:
    """(..., k) -> (...): below and above it lies half of the weight (k,), which sums to 1.

    Between two values that part it evenly it is their mean, so that equal weights give the plain median.
    """
    order = np.argsort(values, -1, kind="stable")
    ordered = np.take_along_axis(np.asarray(values, float), order, -1)
    below = np.cumsum(np.asarray(weights)[order], -1)
    low, high = (np.argmax(below > 0.5 + shift, -1)[..., None] for shift in (-SAME, SAME))
    middle = [np.take_along_axis(ordered, at, -1)[..., 0] for at in (low, high)]
    return np.asarray((middle[0] + middle[1]) / 2)


def robust_sd(values: NDArray[Any]) -> FloatArray:
    """(..., k) -> (...): the median absolute deviation x 1.4826; where more than half of the values coincide,
    the mean absolute deviation x 1.2533.
    """
    distance = np.abs(np.asarray(values, float) - np.median(values, -1, keepdims=True))
    scale = 1.4826 * np.median(distance, -1)
    return np.where(scale > 0, scale, 1.2533 * distance.mean(-1))
