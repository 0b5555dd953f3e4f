"""How precisely one allocation's rounds know each comparison: the criterion of the adaptive stop.

This width says nothing of placement: two allocations differ by more than it. It only tells when further
rounds of the same copies would no longer help; verdicts are made from processes alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from icd.contracts import Missing, Sample
from icd.stats.derive import COMPARISONS
from icd.stats.interval import median_bounds, t_bounds
from icd.stats.summary import OF_TIMES, Summary
from icd.stats.units import paired


def widths_pct(
    samples: Iterable[Sample], arms: Sequence[str], summary: Summary = OF_TIMES
) -> dict[str, float]:
    """Width in % of the interval over rounds of each comparison's median (or mean) log latency ratio.

    ``samples``: of one allocation; ``summary``: the one of which verdicts are made. Infinite below two
    rounds; comparisons of absent arms are left out.
    """
    bounds = median_bounds if summary == "median" else t_bounds
    rows = [s for s in samples if s.metric == "latency_ms"]
    out = {}
    for name, (arm, base) in COMPARISONS.items():
        if arm in arms and base in arms:
            found = paired(rows, "latency_ms", arm, base, summary=summary)
            if isinstance(found, Missing) or len(found.rounds) < 2:
                out[name] = math.inf
                continue
            lo, hi = (float(end) for end in bounds(found.rounds))
            out[name] = 100 * (math.expm1(hi) - math.expm1(lo))
    return out


def widest_pct(samples: Iterable[Sample], arms: Sequence[str], summary: Summary = OF_TIMES) -> float | None:
    """The widest of `widths_pct`; None where nothing is compared or a comparison has no interval yet."""
    widest = max(widths_pct(samples, arms, summary).values(), default=math.inf)
    return widest if math.isfinite(widest) else None


def stopped(
    processes: Iterable[Mapping[str, Any]],
    samples: Iterable[Sample],
    arms: Sequence[str],
    summary: Summary = OF_TIMES,
) -> Any:
    """``protocol.stopped`` with rounds and widths computed again from ``samples``.

    ``processes``: as recorded, ``{process, criterion, rounds, width_pct, allocations}``; ``summary``: as in
    `widths_pct`.
    """
    by: dict[tuple[int, int], list[Sample]] = {}
    for s in samples:
        if s.metric == "latency_ms":
            by.setdefault((s.process, s.allocation), []).append(s)
    out = []
    for recorded in processes:
        parts = [
            allocation(
                a["allocation"], a["criterion"], by[recorded["process"], a["allocation"]], arms, summary
            )
            for a in recorded["allocations"]
        ]
        out.append(process(recorded["process"], parts))
    return out


def allocation(
    number: int,
    criterion: str,
    samples: Sequence[Sample],
    arms: Sequence[str],
    summary: Summary = OF_TIMES,
) -> dict[str, Any]:
    """What ended one allocation: ``{allocation, criterion, rounds, width_pct}``."""
    return {
        "allocation": number,
        "criterion": criterion,
        "rounds": len({s.round for s in samples if s.metric == "latency_ms"}),
        **_width(widest_pct(samples, arms, summary)),
    }


def process(number: int, allocations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What ended one process: the first criterion of its allocations that is not ``width``, all rounds,
    the widest interval.
    """
    widths = [a["width_pct"] for a in allocations]
    other = [a["criterion"] for a in allocations if a["criterion"] != "width"]
    return {
        "process": number,
        "criterion": other[0] if other else "width",
        "rounds": sum(a["rounds"] for a in allocations),
        **_width(None if None in widths else max(widths, default=None)),
        "allocations": list(allocations),
    }


def _width(value: float | None) -> dict[str, Any]:
    if value is None:
        return {"width_pct": None, "reason": "no comparison has two rounds"}
    return {"width_pct": value}
