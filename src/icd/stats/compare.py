"""Samples of one metric -> the summary of an arm, the comparison of two arms.

Results are plain dicts as written to ``metrics.json``: a value that is not there is None, and a sibling
``reason`` says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from icd.contracts import Missing, Sample
from icd.stats.diagnose import lag1, without_outliers
from icd.stats.interval import BOOTSTRAP_FROM, bca_interval, cohen_dz, positive_interval, t_interval, t_test
from icd.stats.summary import Summary, summary_of
from icd.stats.units import Kind, Units, paired, series
from icd.stats.verdict import verdict


def summarise(samples: Iterable[Sample], metric: str, arm: str) -> dict[str, Any]:
    """``mean, p50, p95, ci95, n, source`` of one metric of one arm, in the metric's unit.

    ``p50`` and ``p95`` are over iterations, ``n`` counts them; ``mean`` is the mean of the process
    means and ``ci95`` its t interval over processes, on the logarithmic scale, so that it stays positive
    (`icd.stats.interval.positive_interval`). Raises MeasurementError for samples that cannot be averaged
    (`icd.stats.units.series`).
    """
    found = series(samples, metric, arm)
    if isinstance(found, Missing):
        nothing = dict.fromkeys(("mean", "p50", "p95", "ci95"))
        return {**nothing, "n": 0, "source": None, "reason": found.reason}
    values = np.concatenate(list(found.blocks.values()))
    process = np.repeat([key.process for key in found.blocks], [len(v) for v in found.blocks.values()])
    means = np.array([values[process == p].mean() for p in np.unique(process)])
    interval = Missing("simulated") if found.source == "simulated" else positive_interval(means)
    p50, p95 = np.percentile(values, [50, 95])
    return {
        "mean": float(means.mean()),
        "p50": float(p50),
        "p95": float(p95),
        **nullable("ci95", interval),
        "n": len(values),
        "source": found.source,
    }


def compare(
    samples: Iterable[Sample],
    metric: str,
    arm: str,
    base: str,
    *,
    floor: float | None,
    equivalence: float | None,
    kind: Kind = "ratio",
    at_least: int = 2,
    summary: Summary | None = None,
    named: bool = True,
) -> dict[str, Any]:
    """``arm`` against ``base`` over paired rounds; the unit is the process.

    ``kind="ratio"``: ``delta_pct = 100 (exp(mean of the units) - 1)``, negative is better;
    ``kind="difference"``: ``delta``, arm - base in the metric's unit. ``ci95``, ``floor`` and
    ``equivalence`` are in the same unit; without a floor there is no verdict (None). Below ``at_least``
    units there is no interval, test or verdict. Also ``effect``
    (Cohen's dz of the units), ``p_value`` (no change, two-sided), ``source``, the ``units`` themselves
    and ``diagnostics``.
    ``summary``: how the rounds of a process became its unit (`icd.stats.summary`), the metric's own if None;
    ``named``: whether the result says which, and where it is the median also what the mean would be
    (`beside`).
    Simulated values are deterministic: they give a delta and no interval. Raises MeasurementError as
    `icd.stats.units.paired` does.
    """
    name = "delta_pct" if kind == "ratio" else "delta"
    summary = summary or summary_of(metric)
    found = paired(samples, metric, arm, base, kind=kind, summary=summary)
    told: dict[str, Any] = {"summary": summary} if named else {}
    if isinstance(found, Missing):
        nothing = {name: None, "ci95": None, "n_units": 0, "verdict": None, **told}
        return {**nothing, "effect": None, "p_value": None, "source": None, "reason": found.reason}
    units = found.units
    interval = Missing("simulated") if found.source == "simulated" else t_interval(units, at_least=at_least)
    out: dict[str, Any] = {
        name: in_unit(float(units.mean()), kind),
        "ci95": None,
        "n_units": len(units),
        "verdict": None,
        "effect": None,
        "p_value": None,
        "source": found.source,
        "units": [in_unit(float(unit), kind) for unit in units],
        "diagnostics": diagnostics(found, name, at_least),
        **told,
        **(beside(found, name, at_least) if named and summary == "median" else {}),
    }
    if isinstance(interval, Missing):
        return {**out, "reason": interval.reason}
    reasons = []
    out["ci95"] = [in_unit(end, kind) for end in interval]
    if floor is not None and equivalence is not None:
        out["verdict"] = verdict(out["ci95"], floor=floor, equivalence=equivalence)
    for key, value in (("effect", cohen_dz(units)), ("p_value", t_test(units))):
        if isinstance(value, Missing):
            reasons.append(value.reason)
        else:
            out[key] = value
    if len(units) >= BOOTSTRAP_FROM:
        bca = bca_interval(units)
        out["ci95_bca"] = None if isinstance(bca, Missing) else [in_unit(end, kind) for end in bca]
    return {**out, "reason": "; ".join(reasons)} if reasons else out


def beside(units: Units, name: str, at_least: int = 2) -> dict[str, Any]:
    """What the mean of every iteration, round and allocation says beside the median.

    ``mean_<name>`` and ``mean_ci95``, in the result's unit; ``mean_gap_ci95``: the interval of the change
    that lies between the two, which leaves zero out where slow iterations belong to one arm in every process,
    and holds it where chance struck. Null where the result has no interval.
    """
    out: dict[str, Any] = {f"mean_{name}": in_unit(float(units.means.mean()), units.kind)}
    for key, x in (("mean_ci95", units.means), ("mean_gap_ci95", units.means - units.units)):
        ends = Missing("simulated") if units.source == "simulated" else t_interval(x, at_least=at_least)
        out[key] = None if isinstance(ends, Missing) else [in_unit(end, units.kind) for end in ends]
    return out


def diagnostics(units: Units, name: str, at_least: int = 2) -> dict[str, Any]:
    """Rounds used and left over, their autocorrelation, and the result without outlying rounds.

    Outlying rounds are counted, named (``[process, allocation, round]``) and kept.
    """
    rest = without_outliers(units)
    interval = (
        Missing("simulated") if units.source == "simulated" else t_interval(rest.units, at_least=at_least)
    )
    auto = lag1(units)
    return {
        "rounds": len(units.rounds),
        "unpaired_blocks": units.unpaired,
        "outliers": len(rest.flagged),
        "outlying_rounds": [list(where) for where in rest.flagged],
        f"{name}_without_outliers": in_unit(float(rest.units.mean()), units.kind),
        **(
            {"ci95_without_outliers": None, "ci95_without_outliers_reason": interval.reason}
            if isinstance(interval, Missing)
            else {"ci95_without_outliers": [in_unit(end, units.kind) for end in interval]}
        ),
        "lag1": {"value": None, "reason": auto.reason} if isinstance(auto, Missing) else asdict(auto),
    }


def in_unit(mean: float, kind: Kind) -> float:
    """A mean of units as it is reported: percent for log ratios, unchanged for differences."""
    return 100 * math.expm1(mean) if kind == "ratio" else mean


def nullable(name: str, value: tuple[float, float] | Missing) -> dict[str, Any]:
    """``{name: [lo, hi]}``, or ``{name: None, reason: ...}``."""
    return {name: None, "reason": value.reason} if isinstance(value, Missing) else {name: list(value)}
