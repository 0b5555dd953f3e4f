"""The verdict of a run in plain English.

A win, a loss and a null result get sentences of the same build; a simulated run says so first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icd.report.folder import dig
from icd.report.numbers import bound, is_number, signed
from icd.report.phrases import (
    HEADLINE,
    capital,
    compression,
    emulated,
    equivalence_pct,
    figure,
    l2_name,
    mean_beside,
    model,
    why,
)

SLICED = "iterative_vs_sliced"


@dataclass(frozen=True)
class Verdict:
    """``word``: WIN, LOSS, EQUIVALENT, AMBIGUOUS, SIMULATED, NO VERDICT or BASELINE; then the sentences."""

    word: str
    sentences: tuple[str, ...]


def verdict(metrics: Mapping[str, Any]) -> Verdict:
    """What the run says about its question, quality in the same sentence, then noise floor and slicing."""
    compared = metrics.get("compare") or {}
    if HEADLINE in compared:
        name = HEADLINE
        first, last = iterative_sentence(metrics), sliced_sentence(metrics)
    elif "linear_vs_dense" in compared:
        name = "linear_vs_dense"
        first, last = linear_sentence(metrics), NO_ITERATIVE
    else:
        only = (floor_sentence(metrics), ONLY_AA) if "aa" in compared else (NOTHING_COMPARED,)
        return Verdict("BASELINE", tuple(filter(None, (baseline_sentence(metrics), *only))))
    block = compared[name].get("latency") or {}
    word = "SIMULATED" if block.get("source") == "simulated" else block.get("verdict") or "NO VERDICT"
    loop = LOOP if "reference-scan" in (metrics.get("tags") or ()) else ""
    loop += NOT_EXECUTED if "precision-not-executed" in (metrics.get("tags") or ()) else ""
    first = f"{first.removesuffix('.')}; {loop}{quality_words(metrics, name)}."
    sentences = (first, mean_beside(block, alike=True), rollback_sentence(metrics), floor_sentence(metrics))
    return Verdict(
        word, tuple(s for s in (*sentences, last, beyond_latency(compared[name], l2_name(metrics))) if s)
    )


LOOP = "the scan ran as a Python loop over time, so no latency of this run is to be published; "
NOT_EXECUTED = "no layer ran in the precision asked for, so this says nothing of it; "
NO_ITERATIVE = (
    "This run has no iterative arm, so it does not say whether re-optimising the layout after the "
    "compression is worth anything; pipeline=iterative asks that."
)
BEYOND = (("ept", "energy per token"), ("l2_pp", ""), ("dram", "DRAM bytes per token"))  # "": as asked for
NOTHING_COMPARED = "Nothing was compared: this run is a baseline, not a result."
ONLY_AA = "Nothing else was compared: this run says how far two copies of one arm differ, and no more."


def iterative_sentence(metrics: Mapping[str, Any]) -> str:
    """Iterative against linear: latency, interval and what the verdict means."""
    return outcome(
        f"re-optimising the memory layout after {compression(metrics)}",
        "permuting once before it (linear)",
        metrics,
        HEADLINE,
    )


def linear_sentence(metrics: Mapping[str, Any]) -> str:
    """Linear against dense, for a run that stops there."""
    what = f"permuting once and then applying {compression(metrics)}"
    return outcome(what, "the dense model", metrics, "linear_vs_dense")


def baseline_sentence(metrics: Mapping[str, Any]) -> str:
    """The latency of the dense model alone, or of the first arm where a run has no dense one."""
    arms = metrics.get("arms") or {}
    arm = "dense" if "dense" in arms or not arms else next(iter(arms))
    what = f"dense {model(metrics)}" if arm == "dense" else f"arm {arm} of {model(metrics)}"
    block = dig(metrics, "arms", arm, "latency_ms") or {}
    if not is_number(block.get("mean")):
        return f"The latency of the {what} was not measured: {why(block)}."
    start = f"{emulated(metrics) or 'Simulated, nothing was timed: '}the"
    start = start if block.get("source") == "simulated" else "The"
    return f"{start} {what} takes {block['mean']:.4g} ms a forward on average."


def outcome(what: str, base: str, metrics: Mapping[str, Any], name: str) -> str:
    """One sentence for a latency comparison, whatever its outcome."""
    block = dig(metrics, "compare", name, "latency") or {}
    who = model(metrics)
    if not is_number(block.get("delta_pct")):
        return f"The latency of {what} was not compared with that of {base}: {why(block)}."
    change = f"latency {figure(block)} against {base}"
    if block.get("source") == "simulated":
        start, kind = emulated(metrics), "" if emulated(metrics) else "computed "
        return (
            f"{start or 'Simulated, nothing was timed: '}{what} changes the {kind}latency of {who} by "
            f"{signed(block['delta_pct'])} % against {base}; a simulated figure has no interval and gets no "
            "verdict."
        )
    limits = f"±{equivalence_pct(metrics):g} %"
    floor = f"±{bound(block.get('floor_pct') or 0.0)} %"
    match block.get("verdict"):
        case "WIN":
            return f"{capital(what)} made {who} faster: {change}, beyond the noise floor of {floor}."
        case "LOSS":
            return f"{capital(what)} made {who} slower: {change}, beyond the noise floor of {floor}."
        case "EQUIVALENT":
            return (
                f"{capital(what)} made no notable difference to the speed of {who}: {change}, inside the "
                f"equivalence limits of {limits}."
            )
        case "AMBIGUOUS":
            return (
                f"This run cannot tell whether {what} changes the speed of {who}: {change}; the interval "
                f"neither clears the noise floor of {floor} nor lies inside the equivalence limits of "
                f"{limits}."
            )
    return f"{capital(what)} changed the latency of {who}: {change}; there is no verdict: {why(block)}."


def rollback_sentence(metrics: Mapping[str, Any]) -> str:
    """Said when no re-permutation was kept."""
    tags = metrics.get("tags") or ()
    if "rolled-back-by-measurement" in tags:
        return (
            "The layout found after the compression measured worse and was rolled back by measurement, so "
            "iterative runs linear's layout, measured again; any difference between the two is noise. The "
            "section on the rollback says what was worse and why."
        )
    if "rolled-back" not in tags:
        return ""
    return (
        "No layout found after the compression was enough better to be kept (rolled back), so iterative runs "
        "linear's layout and any difference between the two is noise."
    )


def floor_sentence(metrics: Mapping[str, Any]) -> str:
    """What two allocations of the same arm differ by, and the floor that follows."""
    aa = dig(metrics, "compare", "aa", "latency") or {}
    floor = next(
        (dig(c, "latency", "floor_pct") for n, c in (metrics.get("compare") or {}).items() if n != "aa"), None
    )
    if aa.get("source") == "simulated":
        return ""
    if not is_number(aa.get("delta_pct")):
        rest = f"; the floor is the fixed ±{bound(floor)} %" if is_number(floor) else ""
        return f"There is no A/A control to say how far two copies of one arm differ here{rest}."
    sentence = f"A/A control (a second allocation of linear against linear): latency {figure(aa)}"
    return (
        f"{sentence}, so changes within ±{bound(floor)} % count as noise."
        if is_number(floor)
        else f"{sentence}."
    )


def quality_words(metrics: Mapping[str, Any], name: str) -> str:
    """Both quality figures, always: against the other arm and against the dense fp32 model."""
    compared = dig(metrics, "compare", name) or {}
    arm, _, base = name.partition("_vs_")
    metric = dig(metrics, "arms", arm, "quality", "metric")
    against, dense = compared.get("quality_pp"), compared.get("quality_vs_dense_pp")
    if not is_number(against) and not is_number(dense):
        reason = compared.get("quality_reason") or dig(metrics, "arms", arm, "quality", "reason")
        return f"quality was not compared ({reason or 'no reason recorded'})"
    parts = dict.fromkeys(
        f"{signed(value, 2)} pp against {what}" if is_number(value) else f"not known against {what}"
        for value, what in ((against, base), (dense, "the dense fp32 model"))
    )
    return f"quality of {arm} ({metric}): {' and '.join(parts)}"


def sliced_sentence(metrics: Mapping[str, Any]) -> str:
    """Iterative against slicing; for whole channels the two are expected to be one."""
    block = dig(metrics, "compare", SLICED, "latency")
    if block is None:
        return "Slicing was not run as a control: what a layout search is worth beyond it is not known."
    channel = dig(metrics, "config", "transform") == "channel"
    if not is_number(block.get("delta_pct")):
        said = f"not compared ({why(block)})"
    elif block.get("source") == "simulated":
        said = f"latency {signed(block['delta_pct'])} %, simulated"
    else:
        said = f"latency {figure(block)}, {block.get('verdict') or 'no verdict'}"
    start = f"Against slicing (live channels cut out in their original order, no solver): {said}."
    if not channel:
        return f"{start} Only what is gained here is owed to the layout search."
    expected = (
        "For channel sparsity an EQUIVALENT is expected: gathering the live channels and cutting the dead "
        "ones out is what slicing does, so re-layout is slicing there."
    )
    if block.get("verdict") in ("WIN", "LOSS"):
        expected += f" The {block['verdict']} found is therefore a surprise and asks for a second run."
    return f"{start} {expected}"


def beyond_latency(compared: Mapping[str, Any], l2: str) -> str:
    """Energy per token, L2 and DRAM of the headline, in a sentence; empty where the comparison has none."""
    parts: list[str] = []
    unknown: dict[str, list[str]] = {}
    for block, what in ((block, what or l2) for block, what in BEYOND):
        found = compared.get(block) or {}
        value = found.get("delta_pct", found.get("delta"))
        if is_number(value):
            note = " (simulated)" if found.get("source") == "simulated" else ""
            parts.append(f"{what} {figure(found, 'pp' if block == 'l2_pp' else '%')}{note}")
        elif found:
            unknown.setdefault(why(found), []).append(what)
    for reason, names in unknown.items():
        parts.append(f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not known ({reason})")
    return f"{capital('; '.join(parts))}." if parts else ""


def solver_sentence(metrics: Mapping[str, Any]) -> str:
    """What the solver took and when that is earned back; a gain that is not established is not a gain."""
    solver = metrics.get("solver") or {}
    if not is_number(solver.get("seconds")):
        return ""
    took = f"The solver took {solver['seconds']:.3g} s."
    forwards = solver.get("break_even_forwards")
    if not is_number(forwards):
        return f"{took} There is no break-even: {why(solver)}."
    latency = dig(metrics, "compare", HEADLINE, "latency") or {}
    about = forwards if forwards < 1000 else round(forwards, 3 - len(str(int(forwards))))
    count = f"{about:,} forward{'' if about == 1 else 's'} of iterative instead of linear"
    if latency.get("source") == "simulated":
        return f"{took} By the simulated latencies that is earned back after {count}."
    if latency.get("verdict") == "WIN":
        return f"{took} By the mean latencies that is earned back after {count}."
    verdict_word = latency.get("verdict") or "no verdict"
    return (
        f"{took} By the mean latencies alone that would be earned back after {count}; the gain itself is not "
        f"established ({verdict_word})."
    )
