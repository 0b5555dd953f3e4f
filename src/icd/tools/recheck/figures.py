"""Statistics, protocol and rollback again, from raw samples and what the processes said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icd.contracts import Sample
from icd.pipeline.computed import arm_block, arm_cost, computed
from icd.pipeline.partial import partial
from icd.pipeline.record import REGIME, l2_metric, missing_reasons, protocol
from icd.pipeline.rollback import FOLDER
from icd.samples import read_samples
from icd.stats.derive import derive
from icd.stats.rollback import BLOCKS, HEADLINE, decide
from icd.stats.rootcause import root_cause
from icd.stats.summary import OF_TIMES
from icd.stats.width import stopped
from icd.tools.recheck.layouts import arm_totals
from icd.tools.recheck.recorded import Recorded, differ, read_json


def statistics(run: Recorded) -> list[str]:
    """``arms``, ``compare``, ``derivation`` and ``hardware`` of the run's own measurement."""
    metrics = run.metrics
    own = settings(run, run.env["measured"], run.ncu)
    own["objective"] = run.objective
    return [
        *differ(metrics["derivation"], own, "derivation"),
        *differ(metrics["hardware"], run.env["measured"][0]["hardware"], "hardware"),
        *measurement(run, metrics, metrics["derivation"], run.samples, arm_totals(run)),
    ]


def settings(run: Recorded, processes: Sequence[Mapping[str, Any]], ncu: Mapping[str, Any]) -> dict[str, Any]:
    """What `derive` was asked with; ``processes``: of env.json."""
    return {
        **({"summary": OF_TIMES} if "summary" in run.metrics["derivation"] else {}),  # earlier: no name
        "device": processes[0]["device"],
        "tokens": run.metrics["inputs"]["tokens"],
        "l2_metric": l2_metric(run.lock["measure"].get("l2_compared", "served_pct")),  # earlier: no choice
        "regime": REGIME,
        "reasons": missing_reasons(processes, ncu["reason"]),
        **partial(
            processes,
            (entry["repetition"] for entry in ncu["runs"]),
            run.lock["measure"]["ncu_repetitions"],
            ncu["reason"],
        ),
    }


def measurement(
    run: Recorded,
    record: Mapping[str, Any],
    asked: Mapping[str, Any],
    samples: Sequence[Sample],
    totals: Mapping[str, Mapping[str, float]],
    where: str = "",
) -> list[str]:
    """Differences in ``arms`` and ``compare`` of ``record``, whole, so that nothing can be added either.

    ``asked``: the settings of `derive`; ``totals``: model-wide cost of each arm.
    """
    names = list(record["arms"])
    there = dict.fromkeys(s.arm for s in samples)
    if set(there) != set(names):
        return [f"{where}arms: recorded {', '.join(sorted(names))}, sampled {', '.join(sorted(there))}"]
    keys = ("device", "tokens", "l2_metric", "regime", "reasons")
    derived = derive(
        samples,
        names,
        partial=asked.get("partial"),
        summary=asked.get("summary"),
        **{key: asked[key] for key in keys},
    )
    arms = {
        name: arm_block(
            derived["arms"][name],
            quality=arm["quality"],
            cost=arm_cost(totals, name),
            executed=arm["executed"],
            check=arm["engine_check"],
            parts=arm["roofline"]["parts"],
            hardware=record["hardware"],
            sites=run.metrics["sites"],
        )
        for name, arm in record["arms"].items()
    }
    compare = {name: {**block, **computed(name, arms)} for name, block in derived["compare"].items()}
    said = {name: arm["executed"]["source"] for name, arm in record["arms"].items()}
    timed = {name: arm["latency_ms"]["source"] for name, arm in arms.items()}
    return [
        *differ(said, timed, f"{where}arms.executed.source"),
        *differ(record["arms"], arms, f"{where}arms"),
        *differ(record["compare"], compare, f"{where}compare"),
    ]


def stops(run: Recorded) -> list[str]:
    """``protocol``: what was asked, what ended each process, the check of the clocks."""
    recorded, measure = run.metrics["protocol"], run.lock["measure"]
    again = stopped(recorded["stopped"], run.samples, list(run.metrics["arms"]), run.of_times)
    out = differ(recorded, protocol(measure, run.samples, again, run.ncu["runs"], run.of_times), "protocol")
    timed = (
        set()
        if run.simulated
        else {(s.process, s.allocation) for s in run.samples if s.metric == "latency_ms"}
    )
    told = {(p["process"], a["allocation"]) for p in recorded["stopped"] for a in p["allocations"]}
    if timed != told:
        out.append("protocol.stopped: other processes or allocations than the samples hold")
    for a in (a for p in again for a in p["allocations"]):
        narrow = a["width_pct"] is not None and a["width_pct"] <= measure["target_width_pct"]
        ended = "rounds" if measure["stop"] == "fixed" else "width" if narrow else "time_budget"
        out += differ(a["criterion"], ended, "protocol.stopped.criterion")
    return out


def rollback(run: Recorded) -> list[str]:
    """The decision to roll back, made again; where the layout was rolled back, on the first measurement,
    whose statistics are computed again from its own samples, as are the root causes.
    """
    metrics, recorded = run.metrics, run.metrics["rollback"]
    first, device = recorded["first"], run.env["measured"][0]["device"]
    steps = metrics["iterations"] if first is None else metrics["iterations"][:-1]
    enabled = run.lock["pipeline"]["rollback"]
    decision = decide((first or metrics)["compare"], steps, device, enabled=enabled)
    expected: dict[str, Any] = {**decision, "remeasured": None, "root_cause": [], "first": None}
    if first is None:
        return differ(recorded, expected, "rollback")
    folder, processes = run.folder / FOLDER, run.env["measured_before_rollback"]
    old, again = read_samples(folder / "samples.csv.gz"), metrics["compare"]
    expected["remeasured"] = {name: again[HEADLINE][key] for name, key in BLOCKS.items()}
    expected["root_cause"] = root_cause(first, old, again, metrics["solver"]["time_limited"])
    expected |= {"samples": f"{FOLDER}/samples.csv.gz", "first": first}
    asked = settings(run, processes, read_json(folder / "ncu.json"))
    return [
        *differ(recorded, expected, "rollback"),
        *differ(sorted(first), sorted(("arms", "compare", "settings", "hardware")), "rollback.first"),
        *differ(first["settings"], asked, "rollback.first.settings"),
        *differ(first["hardware"], processes[0]["hardware"], "rollback.first.hardware"),
        *measurement(run, first, asked, old, arm_totals(run, first=True), "rollback.first."),
    ]
