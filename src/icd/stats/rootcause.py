"""Why a new layout measured worse: every candidate cause is examined and answered yes, no or not known.

Each answer is ``{cause, supported, evidence}``: ``supported`` is True, False or None (the record cannot
say), ``evidence`` one plain sentence with the figures it rests on. Several may hold; none is a proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from icd.contracts import Sample
from icd.stats.interval import t_bounds
from icd.stats.rollback import HEADLINE

ARM, BASE = "iterative", "linear"
CLOCK_PCT = 1.0  # a lower clock by this much explains as much latency
WARMER_C = 2.0
UNTIMED = ("reason",)  # words of a record that say nothing about what ran


def root_cause(
    first: Mapping[str, Any],
    samples: Sequence[Sample],
    again: Mapping[str, Any],
    time_limited: Sequence[str],
) -> list[dict[str, Any]]:
    """The causes of a rollback; pure, so that `icd verify` asks again.

    ``first``: ``{arms, compare}`` of the measurement that found the new layout worse, ``samples`` its raw
    samples; ``again``: ``compare`` of the second measurement, in which both arms have one layout;
    ``time_limited``: the sites whose solver ran out of time.
    """
    compared = first["compare"][HEADLINE]
    return [
        clock_drift(samples),
        kernel_change(first["arms"][ARM]["executed"], first["arms"][BASE]["executed"]),
        cache_without_speed(compared),
        out_of_time(time_limited),
        variance(compared),
        not_the_layout(again),
    ]


def clock_drift(samples: Iterable[Sample]) -> dict[str, Any]:
    """A lower SM clock or a hotter device in the new layout's blocks than in linear's of the same round."""
    rows = [s for s in samples if s.metric in ("latency_ms", "energy_j") and s.arm in (ARM, BASE)]
    clock, warmth = (_paired_change(rows, field) for field in ("clock", "temperature"))
    if not len(clock):
        return _answer("clock drift", None, "No clock was read around the blocks, so drift cannot be seen.")
    slower = float(100.0 * np.mean(clock))
    certain = len(clock) < 2 or float(t_bounds(clock)[1]) < 0
    said = f"The SM clock in blocks of {ARM} was {slower:+.2f} % against {BASE}'s of the same rounds"
    warmer = float(np.mean(warmth)) if len(warmth) else 0.0
    said += f", the device {warmer:+.1f} degrees C." if len(warmth) else "; no temperature was read."
    return _answer("clock drift", (slower <= -CLOCK_PCT and certain) or warmer >= WARMER_C, said)


def _paired_change(rows: Sequence[Sample], field: str) -> np.ndarray:
    """One value a round in which both arms were read: relative for clocks, a difference for temperature."""
    found: dict[tuple[Any, ...], dict[str, float]] = {}
    for s in rows:
        value = getattr(s, field)
        if value is not None:
            found.setdefault((s.metric, s.process, s.allocation, s.round), {})[s.arm] = float(value)
    both = np.array([(pair[ARM], pair[BASE]) for pair in found.values() if len(pair) == 2]).reshape(-1, 2)
    change = both[:, 0] - both[:, 1]
    return change / both[:, 1] if field == "clock" else change


def kernel_change(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Whether something else ran: another kernel or engine, or layers of other widths."""
    keys = [k for k in dict.fromkeys([*new, *old]) if k not in UNTIMED and k != "sites"]
    other = [f"{k}: {old.get(k)} -> {new.get(k)}" for k in keys if new.get(k) != old.get(k)]
    before, after = old.get("sites") or {}, new.get("sites") or {}
    wider = [name for name in after if name in before and after[name] != before[name]]
    if not other and not wider:
        return _answer(
            "kernel change", False, "Both arms ran the same engine and kernels at the same widths."
        )
    parts = [f"recorded differences: {'; '.join(other[:6])}"] if other else []
    if wider:
        name = wider[0]
        parts.append(
            f"{len(wider)} of {len(after)} sites ran at another width "
            f"(first: {name}, {before[name][0]} -> {after[name][0]} channels), so other kernels may have run"
        )
    return _answer("kernel change", True, _capital("; ".join(parts)) + ".")


def cache_without_speed(compared: Mapping[str, Any]) -> dict[str, Any]:
    """L2 improved and latency did not: the time goes elsewhere than into moving weights."""
    cause = "L2 better, latency not"
    l2, latency = compared.get("l2_pp") or {}, compared.get("latency") or {}
    if l2.get("ci95") is None or latency.get("ci95") is None:
        missing = l2 if l2.get("ci95") is None else latency
        return _answer(cause, None, f"Not known: {missing.get('reason') or 'no interval'}.")
    better, slower = l2["ci95"][0] > 0, latency["delta_pct"] > 0
    said = f"L2 changed by {l2['delta']:+.2f} pp and latency by {latency['delta_pct']:+.2f} %"
    verdict = "the time goes elsewhere than into traffic" if better and slower else "they point the same way"
    return _answer(cause, better and slower, f"{said}: {verdict}.")


def out_of_time(time_limited: Sequence[str]) -> dict[str, Any]:
    """A solver that hit its budget may have left a layout that it would have bettered."""
    if not time_limited:
        return _answer("solver out of time", False, "No site's solver hit its time budget.")
    return _answer(
        "solver out of time",
        True,
        f"The solver hit its time budget at {len(time_limited)} site(s), first {time_limited[0]}.",
    )


def variance(compared: Mapping[str, Any]) -> dict[str, Any]:
    """Intervals wider than the effect, correlated rounds, or outliers that carry the result."""
    said, found, seen = [], False, False
    for block in ("latency", "ept"):
        figure = compared.get(block) or {}
        if figure.get("ci95") is None:
            continue
        seen = True
        width, effect = figure["ci95"][1] - figure["ci95"][0], abs(figure["delta_pct"])
        wide = width > effect
        checks = figure.get("diagnostics") or {}
        drifts = bool((checks.get("lag1") or {}).get("flagged"))
        without = checks.get("ci95_without_outliers")
        carried = bool(checks.get("outliers")) and (without is None or without[0] <= figure["floor_pct"])
        found |= wide or drifts or carried
        words = [f"interval of {width:.2f} points for an effect of {effect:.2f} %"]
        words += ["successive rounds are correlated"] if drifts else []
        words += [f"{checks['outliers']} outlying rounds"] if checks.get("outliers") else []
        words += ["without which it would not count as worse"] if carried else []
        said.append(f"{block}: {', '.join(words)}")
    if not seen:
        return _answer("variance", None, "Not known: neither latency nor energy has an interval.")
    return _answer("variance", found, _capital("; ".join(said)) + ".")


def not_the_layout(again: Mapping[str, Any]) -> dict[str, Any]:
    """Measured again both arms have one layout: if one is still slower, the layout was not the cause."""
    cause = "something other than the layout"
    latency = (again.get(HEADLINE) or {}).get("latency") or {}
    if latency.get("ci95") is None:
        return _answer(cause, None, f"Not known: {latency.get('reason') or 'no interval'}.")
    still = latency["verdict"] == "LOSS"
    lo, hi = latency["ci95"]
    said = f"With linear's layout in both arms, latency differs by {latency['delta_pct']:+.2f} % "
    return _answer(cause, still, f"{said}(95 % interval {lo:+.2f} to {hi:+.2f} %).")


def _answer(cause: str, supported: bool | None, evidence: str) -> dict[str, Any]:
    return {"cause": cause, "supported": None if supported is None else bool(supported), "evidence": evidence}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
