"""Raw samples -> the statistical units of a comparison.

    block   the samples of one (arm, metric, process, allocation, round); its value is their median
    round   log(a / b), or a - b, of the two arms' blocks of one (process, allocation, round)
    unit    one process: the median of its rounds, or their mean (`icd.stats.summary`), in which every
            allocation weighs the same

Rounds and allocations inside a process share its memory placement, so they are not independent: two
identical copies of a model differ by up to 0.5 % with a tight interval. Only processes count as n.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icd.contracts import FloatArray, Missing, Sample
from icd.errors import MeasurementError
from icd.stats.summary import Summary, process_units, summary_of

Kind = Literal["ratio", "difference"]
Index = NDArray[np.int64]


class BlockKey(NamedTuple):
    """What two arms have to share for their blocks to form a pair."""

    process: int
    allocation: int
    round: int


# a working set that fits into the cache reads nothing from DRAM, and work may draw no more than idling does;
# a latency of 0 is a broken clock
MAY_BE_ZERO = ("dram_bytes_per_token", "dram_bytes_per_token_cold", "energy_net_j")


@dataclass(frozen=True)
class Series:
    """All samples of one metric of one arm: ``blocks[key]`` holds a block's values, by iteration."""

    blocks: dict[BlockKey, list[float]]
    unit: str
    source: str


@dataclass(frozen=True, eq=False)
class Units:
    """The units of arm a against arm b, and the rounds they were made of.

    ``units``: float64 (n_units,), log ratios or differences, one per process in ``processes`` order;
    ``rounds``, ``process``, ``allocation``, ``round``: (n_rounds,), one entry per paired round, sorted;
    ``unpaired``: blocks that only one of the arms has. ``source``: measured | simulated. ``summary``: how
    rounds became units; ``means`` (n_units,): what means alone make of them, of a block's iterations too.
    """

    units: FloatArray
    processes: tuple[int, ...]
    rounds: FloatArray
    process: Index
    allocation: Index
    round: Index
    unpaired: int
    source: str
    kind: Kind
    summary: Summary
    means: FloatArray


def series(samples: Iterable[Sample], metric: str, arm: str) -> Series | Missing:
    """The blocks of ``metric`` of ``arm``, sorted by key; Missing if there is no such sample.

    Raises MeasurementError for a value that is not finite, an iteration recorded twice, and samples
    that differ in unit or source (measured and simulated values are never averaged).
    """
    mine = [s for s in samples if s.metric == metric and s.arm == arm]
    if not mine:
        return Missing(f"no {metric} samples of arm {arm}")
    where = f"{metric} of arm {arm}"
    for what in ("unit", "source"):
        found = sorted({str(getattr(s, what)) for s in mine})
        if len(found) > 1:
            raise MeasurementError(f"{where}: expected one {what}, got {' and '.join(found)}")
    blocks: dict[BlockKey, dict[int, float]] = defaultdict(dict)
    for s in mine:
        key = BlockKey(s.process, s.allocation, s.round)
        if not math.isfinite(s.value):
            raise MeasurementError(f"{where}: expected finite values, got {s.value} in {key}")
        if s.iteration in blocks[key]:
            raise MeasurementError(f"{where}: iteration {s.iteration} of {key} is recorded twice")
        blocks[key][s.iteration] = float(s.value)
    ordered = {key: [v for _, v in sorted(blocks[key].items())] for key in sorted(blocks)}
    return Series(ordered, mine[0].unit, mine[0].source)


def paired(
    samples: Iterable[Sample],
    metric: str,
    a: str,
    b: str,
    *,
    kind: Kind = "ratio",
    summary: Summary | None = None,
) -> Units | Missing:
    """Units of arm ``a`` against arm ``b``: log(a / b) for ``kind="ratio"``, else a - b.

    ``summary``: how the rounds of a process become its unit, the metric's own if None. Missing when an arm
    has no sample, no round is common to both, one arm was measured and the other
    simulated, or a ratio would be one of zeros of a metric that may be zero. Raises MeasurementError as
    `series` does, when the arms' units differ, and when a ratio is asked of values that are not positive.
    """
    rows = list(samples)
    one, other = series(rows, metric, a), series(rows, metric, b)
    if isinstance(one, Missing):
        return one
    if isinstance(other, Missing):
        return other
    if one.unit != other.unit:
        raise MeasurementError(f"{metric}: arm {a} is in {one.unit}, arm {b} in {other.unit}")
    if one.source != other.source:
        return Missing(f"{metric} is {one.source} for arm {a} and {other.source} for arm {b}")
    keys = [key for key in one.blocks if key in other.blocks]
    if not keys:
        return Missing(f"{metric}: arms {a} and {b} have no (process, allocation, round) in common")
    changes = []
    for middle in (np.median, np.mean):
        x, y = (np.array([middle(s.blocks[key]) for key in keys]) for s in (one, other))
        for arm, values in ((a, x), (b, y)) if kind == "ratio" else ():
            if values.min() <= 0 and metric in MAY_BE_ZERO:
                return Missing(f"{metric} of arm {arm} is {values.min():g}: there is no ratio")
            if values.min() <= 0:
                raise MeasurementError(f"{metric} of arm {arm}: a ratio needs values > 0, got {values.min()}")
        changes.append(np.log(x / y) if kind == "ratio" else x - y)
    rounds, of_means = changes
    labels = np.array(keys, np.int64)  # (n_rounds, 3)
    process, allocation = labels[:, 0], labels[:, 1]
    summary = summary or summary_of(metric)
    return Units(
        units=process_units(rounds, process, allocation, summary),
        processes=tuple(int(p) for p in np.unique(process)),
        rounds=rounds,
        process=process,
        allocation=allocation,
        round=labels[:, 2],
        unpaired=len(one.blocks) + len(other.blocks) - 2 * len(keys),
        source=one.source,
        kind=kind,
        summary=summary,
        means=process_units(of_means, process, allocation, "mean"),
    )
