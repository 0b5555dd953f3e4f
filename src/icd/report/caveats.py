"""Badges and caveats: what a reader must know beside every figure, made from recorded facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.report.figures.ratios import label, order
from icd.report.folder import dig
from icd.report.numbers import bound, interval, is_number, signed
from icd.report.phrases import HEADLINE, emulated, mean_beside, why

BADGES = {
    "unknown-weights": "nobody said whether the weights are trained: quality compares them with themselves",
    "random-weights": "weights are random, not trained: quality and structure say nothing about a real model",
    "simulated": "figures that no device was measured for; they pass no measured gate",
    "emulated": "values were rounded to a precision that the device cannot execute, and computed in float32",
    "precision-not-executed": "in some arm no layer ran in the precision asked for; no gate passes",
    "time-limited": "the solver hit its time budget: the same seed may give another layout elsewhere",
    "rolled-back": "no re-permutation was kept; iterative runs linear's layout",
    "rolled-back-by-measurement": "the new layout measured worse and was rolled back; see the section on it",
    "null-result": "iterative and linear could not be told apart, or are equal",
    "loss": "iterative is slower than linear",
    "measure-quick": "few processes and rounds, for a first look; published results use measure=paper",
    "measure-smoke": "the least that exercises the measurement; not a result",
    "unlocked": "GPU clocks were not locked, so they move with load and temperature",
    "clocks-unknown": "whether GPU clocks were locked could not be read",
    "busy": "the machine's load was above its cores: something else ran while this was measured",
    "unpaired": "arms were not measured side by side; no gate passes",
    "extended-positions": "the position table was extended by repetition; quality is not evaluated",
    "reference-scan": "the scan ran as a Python loop over time: latency and energy are not to be published",
    "partial-energy": "only some of the processes gave energy",
    "partial-l2": "only some of the repetitions under ncu gave figures of L2 and DRAM",
    "shared-gpu": "other processes computed on the GPU while this was measured",
    "throttled": "the device lowered its clocks while measuring",
}
DTYPE = {"bf16": "bfloat16", "fp16": "float16", "fp8": "float8_e4m3fn", "int8": "int8"}
OWN = "-own"
UNKNOWN_BADGE = "recorded by the run"
ENOUGH_UNITS = 5
FEW_ROUNDS = 3  # rounds of a process, below which a median leaves none out
ONE_ORDER = (
    "The arms were built in the same order in every process, so where each lies in memory, and what it owes "
    "to that, may repeat in all of them, and intervals do not hold it: on an H200 0.2 to 0.4 %."
)


def badges(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The run's tags with what each means."""
    return [(str(tag), _meaning(str(tag))) for tag in metrics.get("tags") or ()]


def _meaning(tag: str) -> str:
    if tag.startswith("measure-") and tag.endswith(OWN):
        return f"measure={tag[len('measure-') : -len(OWN)]} with settings of its own: not that preset"
    return BADGES.get(tag, UNKNOWN_BADGE)


def caveats(metrics: Mapping[str, Any], env: Mapping[str, Any]) -> list[str]:
    """Sentences that limit what the figures say, the weightiest first."""
    tags = set(metrics.get("tags") or ())
    simulated = "simulated" in tags
    out = []
    if emulated(metrics):
        out.append(
            "The precision was not executed: values were rounded to it and computed in float32. Quality is "
            "that of the precision; latencies are those of the emulation, which spends time on rounding."
        )
    elif simulated:
        out.append(
            "Latency, L2 and energy marked simulated come from a model of the device, not from a device."
        )
    out += _precision(metrics)
    if dig(metrics, "model", "weights") == "planted":
        out.append(
            "The weights are planted: made so that a better order of channels exists. They test the method "
            "and say nothing about trained models."
        )
    if "random-weights" in tags:
        out.append(
            "The weights are random: pruning finds no structure, and quality is not that of a real model."
        )
    if "unknown-weights" in tags:
        out.append(
            "Nobody said whether the weights are trained: quality compares the outputs with those of the "
            "same weights before compression, and says nothing about a task."
        )
    if not simulated and dig(metrics, "config", "device") == "cpu":
        out.append("Latency was measured on a CPU and does not carry over to a GPU.")
    if not simulated:
        out += _statistics(metrics)
        processes = env.get("measured") or ()
        if processes and not any("built" in process for process in processes):
            out.append(ONE_ORDER)
    if "measure-quick" in tags or "measure-smoke" in tags:
        out.append("A preset for a first look was used; measure=paper is the protocol for published figures.")
    if any(tag.startswith("measure-") and tag.endswith(OWN) for tag in tags):
        out.append(
            "Settings of the measurement differ from the preset's; measure=paper as it is published is the "
            "protocol for published figures."
        )
    if "unlocked" in tags:
        out.append("GPU clocks were not locked; they are recorded beside the samples.")
    if "clocks-unknown" in tags:
        out.append("Whether the GPU's clocks were locked could not be read.")
    if "time-limited" in tags:
        out.append(
            "The solver stopped at its time budget, so the layout depends on the speed of the machine."
        )
    out += _transform(metrics)
    out += _missing(metrics)
    out += _machine(env)
    return out


def _statistics(metrics: Mapping[str, Any]) -> list[str]:
    """Few units, a wide floor, outliers and drift of the headline comparison."""
    out = []
    compared = metrics.get("compare") or {}
    name = HEADLINE if HEADLINE in compared else next(iter(compared), "")
    block = dig(compared, name, "latency")
    if not block or not is_number(block.get("delta_pct")):
        return []
    n = block.get("n_units") or 0
    if n < ENOUGH_UNITS:
        out.append(
            f"n = {n} processes: {ENOUGH_UNITS} or more are asked for a published result. Rounds of an "
            "allocation share its memory placement, and neither they nor allocations count as n."
        )
    ends = dig(compared, "aa", "latency", "ci95")
    if ends and not ends[0] <= 0 <= ends[1]:
        out.append(
            f"The A/A interval, {interval(ends, 2)} %, leaves zero out, though both arms are the same: one "
            "in twenty does by chance, more where placement repeats in every process. A change of its size "
            "says nothing."
        )
    floor = block.get("floor_pct")
    if is_number(floor) and floor > 5:
        out.append(
            f"The noise floor is ±{bound(floor)} %: two copies of the same arm differ by as much here, so "
            "only larger changes could be seen."
        )
    found = block.get("diagnostics") or {}
    if block.get("summary") == "median" and found.get("rounds", FEW_ROUNDS * n) < FEW_ROUNDS * n:
        out.append(
            "The processes have one or two rounds each, whose median is their mean: a round that another "
            "program disturbed counts in full."
        )
    for pair in order(compared):
        said = mean_beside(dig(compared, pair, "latency") or {}, alike=pair != name)
        out += [f"Latency of {label(pair)}: {said}"] if said else []
    if found.get("outliers"):
        without = signed(found.get("delta_pct_without_outliers"))
        out.append(
            f"{found['outliers']} of {found.get('rounds')} rounds of {name.replace('_', ' ')} lie far out; "
            f"without them the change would be {without} %. They are kept."
        )
    if dig(found, "lag1", "flagged"):
        out.append("Consecutive rounds are correlated: the machine drifted while measuring.")
    return out


def _precision(metrics: Mapping[str, Any]) -> list[str]:
    """Arms of which no layer, or less than half of the weight bytes, ran in the precision asked for."""
    out = []
    asked = dig(metrics, "config", "precision")
    if "precision-not-executed" in (metrics.get("tags") or ()):
        out.append(
            f"The precision was not executed: in some arm no layer ran in {asked}. Latencies are those of "
            "what ran instead, which is recorded for every arm."
        )
    for name, arm in (metrics.get("arms") or {}).items():
        found = dig(arm, "executed", "weight_bytes") or {}
        most, total = dig(arm, "executed", "dtype"), sum(found.values())
        own = found.get(DTYPE.get(str(dig(arm, "executed", "format")), ""), 0)
        if own and 2 * own < total:
            out.append(
                f"In arm {name} {100 * own / total:.0f} % of the bytes of multiplied weights are in {asked}; "
                f"most are in {most}."
            )
    return out


def _transform(metrics: Mapping[str, Any]) -> list[str]:
    """Sites too small for the share asked for or not to be cut, what recovery lacked or rejected."""
    out = []
    share = dig(metrics, "transform", "share", "reason")
    if share:
        out.append(f"{share[0].upper()}{share[1:]}.")
    arms = (metrics.get("arms") or {}).values()
    whole = {name: said for arm in arms for name, said in (dig(arm, "executed", "whole") or {}).items()}
    if whole:
        first = next(iter(whole))
        out.append(
            f"No layout makes {len(whole)} of the sites faster: they are not cut ({first}: {whole[first]})."
        )
    recover = dig(metrics, "transform", "recover") or {}
    out += rejected_refits(recover)
    if recover.get("underdetermined"):  # in records of earlier versions
        out.append(
            f"The recovery is underdetermined ({recover['reason']}): it may fit the calibration text alone."
        )
    return out


def rejected_refits(recover: Mapping[str, Any]) -> list[str]:
    """How many refits of the recovery were not kept, and why the first was not."""
    rows = recover.get("consumers") or ()
    lost = [row for row in rows if not row.get("kept", True)]
    if not lost:
        return []
    return [
        f"Recovery kept {len(rows) - len(lost)} of {len(rows)} refits; the other layers stay as they were "
        f"pruned, the first because {lost[0]['reason']}."
    ]


def _missing(metrics: Mapping[str, Any]) -> list[str]:
    """A sentence for every kind of figure that no arm has, or that only some processes gave."""
    arms = list((metrics.get("arms") or {}).values())
    out = []
    for path, what in ((("l2", "served_pct"), "L2"), (("energy", "ept_j"), "Energy per token")):
        if arms and all(dig(arm, *path) is None for arm in arms):
            out.append(f"{what} was not measured: {why(dig(arms[0], path[0]) or {})}.")
        elif told := dig(metrics, "derivation", "partial", path[0]):
            out.append(f"{what} is of a part of what was to be measured: {told}.")
    return out


def _machine(env: Mapping[str, Any]) -> list[str]:
    """A busy machine, a shared GPU and code that is not committed."""
    out = []
    cores = dig(env, "cpu", "machine_cores") or dig(env, "cpu", "cores")
    measured = [m for m in env.get("measured") or () if isinstance(m, Mapping)]
    loads = [dig(env, "cpu", "load_1min"), *(m.get("load_1min") for m in measured)]
    busiest = max((float(load) for load in loads if is_number(load)), default=None)
    if busiest is not None and is_number(cores) and busiest > cores * 1.25:
        out.append(
            f"The machine was busy: load {busiest:g} on {cores} cores at the start or around the rounds, so "
            "something else took time from what was measured."
        )
    beside = max((m["other_processes"] for m in measured if m.get("other_processes")), default=0)
    if beside:
        out.append(
            f"The GPU was shared: {beside} other process(es) computed on it before or behind timed rounds "
            "and took part of it: latency, energy and L2 are not of the arms alone."
        )
    if dig(env, "git", "dirty"):
        out.append("The code had changes that were not committed, so the commit alone does not reproduce it.")
    return out
