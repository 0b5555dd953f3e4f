"""Raw samples of a run -> every statistic of ``metrics.json`` that comes from them.

A pure function of its arguments: the pipeline writes its result, `icd verify` computes it again from
``samples.csv.gz`` and asks `equal`. A new figure is a row in `RATIOS` or in `icd.stats.arms.MEANS`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from icd.contracts import Sample
from icd.stats.arms import describe, with_reason
from icd.stats.compare import compare
from icd.stats.interval import holm
from icd.stats.net import net_energy
from icd.stats.summary import OF_TIMES, Summary, summary_of
from icd.stats.verdict import Floor, equivalence_pct, fixed_floor_pct, noise_floor

# comparison -> (arm, base); A/A first, because it sets the floor of the others
COMPARISONS = {
    "aa": ("aa", "linear"),
    "iterative_vs_linear": ("iterative", "linear"),
    "iterative_vs_sliced": ("iterative", "sliced"),
    "linear_vs_dense": ("linear", "dense"),
    "iterative_vs_dense": ("iterative", "dense"),
    "shuffle_vs_linear": ("shuffle", "linear"),
}
# block of a comparison -> metric compared as a ratio, lower is better
RATIOS = {
    "latency": "latency_ms",
    "latency_cold": "latency_cold_ms",
    "ept": "energy_j",
    "ept_net": "energy_net_j",
    "dram": "dram_bytes_per_token",
    "dram_cold": "dram_bytes_per_token_cold",
}
REPETITIONS = 3  # processes under a profiler that an interval of the cache needs


def derive(
    samples: Iterable[Sample],
    arms: Sequence[str],
    *,
    device: str,
    tokens: int,
    l2_metric: str = "l2_served_pct",
    regime: str = "warm",
    reasons: Mapping[str, str] | None = None,
    partial: Mapping[str, str] | None = None,
    summary: Summary | None = OF_TIMES,
) -> dict[str, Any]:
    """``{"arms": {arm: ...}, "compare": {comparison: ...}}`` of a run with these ``arms``.

    ``tokens``: per forward (batch x seq_len). Metrics: ``latency_ms``; ``energy_j``, in J/token or in
    J, which is per forward; ``dram_bytes_per_token``; ``l2_served_pct``, ``l2_lookup_hit_pct``;
    ``watts``, ``idle_watts``, which give ``energy_net_j``; with a cold cache ``latency_cold_ms`` and the
    cache's figures with ``_cold``.
    ``l2_metric`` is the one compared, in percentage points; ``regime`` is the cache state it was read in
    (warm | cold). ``reasons[metric]`` says why a metric was not
    measured, ``partial[block]`` (l2, energy) that only some processes gave it. Comparisons of arms that are
    not in ``arms`` are left out. ``summary``: how the rounds of a time become a process's unit
    (`icd.stats.summary`); None for a record that names none: the mean, and no word of it.
    Raises MeasurementError for samples that contradict one another, ValueError for an unknown device.
    """
    why = dict(reasons or {})
    by_metric: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_metric[sample.metric].append(sample)
    by_metric["energy_net_j"] = net_energy(by_metric)
    pairs = {name: pair for name, pair in COMPARISONS.items() if set(pair) <= set(arms)}
    compared: dict[str, dict[str, Any]] = {name: {} for name in pairs}
    for block, metric in RATIOS.items():
        for name, result in _ratios(by_metric[metric], metric, pairs, device, summary).items():
            compared[name][block] = with_reason(result, metric, why)
    for name, pair in pairs.items():
        for block, key, state in (("l2_pp", l2_metric, regime), ("l2_cold_pp", f"{l2_metric}_cold", "cold")):
            compared[name][block] = with_reason(
                _points(by_metric[key], key, pair, state, named=summary is not None), key, why
            )
    return {
        "arms": {
            arm: describe(by_metric, arm, tokens=tokens, reasons=why, partial=partial or {}) for arm in arms
        },
        "compare": compared,
    }


def _ratios(
    samples: Sequence[Sample],
    metric: str,
    pairs: Mapping[str, tuple[str, str]],
    device: str,
    summary: Summary | None,
) -> dict[str, dict[str, Any]]:
    """All comparisons of one metric: A/A by the fixed floor, the others by the floor that A/A sets.

    ``p_holm``: the p-values corrected for the number of comparisons, A/A left out.
    """
    out: dict[str, dict[str, Any]] = {}
    for name, pair in pairs.items():
        floor = Floor(fixed_floor_pct(device)) if name == "aa" else noise_floor(out.get("aa"), device)
        equivalence = equivalence_pct(device)
        out[name] = compare(
            samples,
            metric,
            *pair,
            floor=floor.percent,
            equivalence=equivalence,
            at_least=units_needed(metric),
            summary=summary_of(metric, summary or "mean"),
            named=summary is not None,
        )
        if out[name]["delta_pct"] is None:
            continue
        out[name] |= {"floor_pct": floor.percent, "equivalence_pct": equivalence}
        if floor.reason:
            out[name]["floor_reason"] = floor.reason
    tested = [result for name, result in out.items() if name != "aa" and result["p_value"] is not None]
    for result, p in zip(tested, holm([result["p_value"] for result in tested]), strict=True):
        result["p_holm"] = p
    return out


def _points(
    samples: Sequence[Sample], metric: str, pair: tuple[str, str], regime: str, *, named: bool
) -> dict[str, Any]:
    """A cache figure compared in percentage points; no noise floor, so no verdict."""
    out = compare(
        samples,
        metric,
        *pair,
        floor=None,
        equivalence=None,
        kind="difference",
        at_least=units_needed(metric),
        named=named,
    )
    del out["verdict"]
    return {**out, "metric": metric, "regime": None if out["delta"] is None else regime}


def units_needed(metric: str) -> int:
    """Units below which a comparison of ``metric`` has no interval."""
    return REPETITIONS if metric.startswith(("l2_", "dram_")) else 2


def equal(a: Any, b: Any, rel: float = 1e-9, path: str = "") -> list[str]:
    """Where two nested dicts differ, one ``path: a != b`` each; empty when they agree.

    Numbers agree within ``rel`` relative or 1e-12 absolute; a list and a tuple are the same.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        found = []
        for key in sorted({*a, *b}, key=str):
            below = f"{path}.{key}" if path else str(key)
            if key in a and key in b:
                found += equal(a[key], b[key], rel, below)
            else:
                found.append(f"{below}: only in the {'first' if key in a else 'second'}")
        return found
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return [f"{path}: {len(a)} entries != {len(b)}"]
        return [
            d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in equal(x, y, rel, f"{path}[{i}]")
        ]
    if _is_number(a) and _is_number(b):
        same = math.isclose(a, b, rel_tol=rel, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    else:
        same = type(a) is type(b) and a == b
    return [] if same else [f"{path}: {a!r} != {b!r}"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
