"""``ncu.json``: every arm, regime and launch is there, and what it says of them holds together."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from icd.contracts import Sample
from icd.measure.l2 import FLAGS, UNITS, Failure, Kernel, Profile, rates
from icd.measure.regimes import GRAPHS, difference, slack_bytes
from icd.pipeline.profiling import LAUNCHES, SCHEMA, SUFFIX, WITHOUT_KERNELS, samples_of
from icd.stats.design import rounds
from icd.tools.recheck.recorded import Recorded, differ

TIMED = "as timed"
CAPTURED = {"cuda_graph": True, "cuda_graph_when_timed": False}  # of an arm that is timed without a graph


def counters(run: Recorded, ncu: Mapping[str, Any], arms: Mapping[str, Any]) -> list[str]:
    """What ``ncu.json`` must hold; ``arms``: of the record of this measurement."""
    if ncu["schema"] != SCHEMA:
        return [f"ncu.json: schema {ncu['schema']!r}; expected {SCHEMA}"]
    for key in ("runs", "processes", "flags"):
        if not isinstance(ncu[key], list):
            return [f"ncu.json: {key}: expected a list, got {type(ncu[key]).__name__}"]
    if any(not isinstance(flag, str) for flag in ncu["flags"]):
        return ["ncu.json: flags: expected texts"]
    if strange := sorted({entry["arm"] for entry in ncu["runs"]} - set(arms)):
        return [f"ncu.json: runs: {', '.join(strange)}: the record has no such arm"]
    return [*visited(run, ncu, list(arms)), *executed(run, ncu, arms), *regimes(ncu)]


def visited(run: Recorded, ncu: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Every repetition that was asked for, in the order of the design, unless ncu gave a reason for less;
    of each that succeeded every arm and regime, of one that failed none.
    """
    asked = run.lock["measure"]["ncu_repetitions"]
    design = [[names[i] for i in order] for order in rounds(len(names), asked, run.lock["seed"])]
    timed = [p for p in ncu["processes"] if p["profiled"] == TIMED]
    order = [[p["repetition"], list(p["arms"])] for p in timed]
    out = []
    if order != [[k, arms] for k, arms in enumerate(design[: len(timed)])]:
        out.append("ncu.json: processes: repetitions or the order of their arms are not those of the design")
    if any(a["ok"] for p in ncu["processes"] for a in p["attempts"][:-1]):
        out.append("ncu.json: processes: an attempt follows one that succeeded")
    done = [p["repetition"] for p in timed if p["attempts"][-1]["ok"]]
    expected = sorted((k, regime, arm) for k in done for regime in SUFFIX for arm in names)
    if sorted((e["repetition"], e["regime"], e["arm"]) for e in ncu["runs"]) != expected:
        out.append("ncu.json: arms, regimes or repetitions are not those of the processes that succeeded")
    if any(len(entry["launches"]) != LAUNCHES for entry in ncu["runs"]):
        out.append(f"ncu.json: launches are missing; expected {LAUNCHES} of every arm, regime and repetition")
    failed = [p["attempts"][-1]["reason"] for p in timed if not p["attempts"][-1]["ok"]]
    if timed:
        out += differ(ncu["flags"], list(FLAGS), "ncu.json: flags")
        out += differ(ncu["reason"], failed[-1] if failed else None, "ncu.json: reason")
    if ncu["reason"] is None and len(timed) != asked:
        out.append("ncu.json: repetitions are missing, without a reason")
    if ncu["kernels_reason"] is None:
        own = [name for name in names if name not in WITHOUT_KERNELS]
        out += differ([entry["arm"] for entry in ncu["kernels"]], own, "ncu.json: kernels: arms")
    return out


def executed(run: Recorded, ncu: Mapping[str, Any], arms: Mapping[str, Any]) -> list[str]:
    """What was profiled is what was timed, but for the graph it was captured in. A plan (runtime=auto) is
    measured once and remembered; where it is not (``runtime.cache=false``), each process has its own.
    """
    apart = {"plan"} | ({"sites", "padded"} if run.lock["runtime"].get("cache") is False else set())
    out = []
    for number, entry in enumerate(ncu["runs"]):
        timed = arms[entry["arm"]]["executed"]
        again = {**timed, **({} if timed.get("cuda_graph") else CAPTURED)}
        found, again = (
            {key: value for key, value in said.items() if key not in apart}
            for said in (entry["executed"], again)
        )
        out += differ(found, again, f"ncu.json: runs[{number}].executed")
    return out


def regimes(ncu: Mapping[str, Any]) -> list[str]:
    """What is subtracted is what other profiles counted: warm subtracts the graph that cold profiles, cold
    the profiles in ``base``.
    """
    out = []
    profiles = {
        (entry["repetition"], entry["arm"], entry["regime"]): [
            launch["profiled"] for launch in entry["launches"]
        ]
        for entry in ncu["runs"]
    }
    for number, entry in enumerate(ncu["runs"]):
        where = f"ncu.json: runs[{number}]"
        missing = [key for key in ("graphs", "base") if key not in entry]
        if missing:
            out.append(f"{where}: it has no {' and no '.join(missing)}")
            continue
        out += differ(entry["graphs"], list(GRAPHS[entry["regime"]]), f"{where}.graphs")
        base = entry["base"]
        if len(base) != LAUNCHES:
            out.append(f"{where}.base: expected {LAUNCHES} profiles, got {len(base)}")
        if entry["regime"] == "warm":
            cold = profiles[entry["repetition"], entry["arm"], "cold"]
            out += differ(base, cold, f"{where}.base")
        for launch in entry["launches"]:
            again = {metric: statistics.median(sums[metric] for sums in base) for metric in UNITS}
            out += differ(launch["subtracted"], again, f"{where}.subtracted")
    return out


def profiled(samples: Sequence[Sample], ncu: Mapping[str, Any], tokens: int) -> list[str]:
    """Figures of the cache from the counters in ``ncu.json``, and samples from its figures."""
    out = []
    arms = {p["repetition"]: p["arms"] for p in ncu["processes"] if p["profiled"] == TIMED}
    expected: list[Sample] = []
    for number, entry in enumerate(ncu["runs"]):
        expected += samples_of(entry, arms[entry["repetition"]].index(entry["arm"]))
        if len({json.dumps(launch.get("subtracted"), sort_keys=True) for launch in entry["launches"]}) > 1:
            out.append(f"ncu.json: runs[{number}]: what is subtracted differs between its launches")
        for launch in entry["launches"]:
            where = f"ncu.json: runs[{number}]"
            out += counted(launch, tokens, where)
    kinds = {s.metric for s in expected}
    there = [s for s in samples if s.metric in kinds or (ncu["runs"] and s.metric.startswith("l2_"))]
    if sorted(map(repr, there)) != sorted(map(repr, expected)):
        out.append("ncu.json: its figures are not the samples of samples.csv.gz")
    measured = {s.metric for s in samples if s.source == "measured"}
    if not ncu["runs"] and any(metric.startswith(("l2_", "dram_")) for metric in measured):
        out.append("samples.csv.gz holds measured figures of the cache, and ncu.json none")
    for entry in ncu["kernels"]:
        total = sum(entry["sums"][metric] for metric in UNITS if metric.startswith("dram__"))
        for kernel in entry["top_kernels"]:
            share = kernel["dram_bytes"] / total if total else 0.0
            out += differ(kernel["share"], share, f"ncu.json: kernels: {entry['arm']}: share")
    return out


def counted(launch: Mapping[str, Any], tokens: int, where: str) -> list[str]:
    """One launch: its sums from what two graphs counted, its figures from the sums."""
    again = difference(launch["profiled"], launch["subtracted"])
    if isinstance(again, Failure):
        return [f"{where}: {again.reason}"]
    out = differ(launch["sums"], again, f"{where}.sums")
    found = rates(Profile((Kernel("", launch["sums"]),)), tokens, slack_bytes(launch["profiled"]))
    if isinstance(found, Failure):
        return [*out, f"{where}: {found.reason}"]
    figures = {
        key: value
        for key, value in launch.items()
        if key not in ("results", "sums", "profiled", "subtracted")
    }
    return out + differ(figures, vars(found), where)
