"""A linear and an iterative run made separately: whether they are a pair, and what can be said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from icd.errors import VerificationError
from icd.pipeline.solved import hash_layouts
from icd.stats.derive import equal
from icd.stats.gates import Gate
from icd.tools.recheck.recorded import read_json, saved

AGREE_PCT = 1.0  # linear of two runs made separately may differ by so much
APART = ("pipeline", "tracking", "gate", "hydra", "choices")  # of the lock: what a pair may differ in
SHOWN = 3  # differences in a sentence

Run = tuple[Path, dict[str, Any]]


class Pair(NamedTuple):
    """A linear and an iterative run made separately: their record as one, and what can be said of them."""

    name: str
    record: dict[str, Any]
    sentence: str


def pairs(runs: Sequence[Run]) -> list[Pair]:
    """Linear and iterative runs of one configuration that were made separately."""
    return [
        Pair(
            f"unpaired: iterative of {b_dir.name} against linear of {a_dir.name}",
            together(a, b),
            compared(a_dir, a, b_dir, b),
        )
        for (a_dir, a), (b_dir, b) in candidates(runs)
        if not differences((a_dir, a), (b_dir, b))
    ]


def unpaired(runs: Sequence[Run]) -> list[str]:
    """For each iterative run without a linear one, a sentence why: what the closest one differs in."""
    out = []
    closest: dict[Path, tuple[Path, list[str]]] = {}
    for a, b in candidates(runs):
        why = differences(a, b)
        if b[0] not in closest or len(why) < len(closest[b[0]][1]):
            closest[b[0]] = (a[0], why)
    for folder, (other, why) in closest.items():
        if why:
            more = f"; and {len(why) - SHOWN} more" if len(why) > SHOWN else ""
            said = "; ".join(why[:SHOWN]) + more
            out.append(
                f"no pair: iterative of {folder.name} and linear of {other.name} differ in more than the "
                f"pipeline: {said}"
            )
    return out


def candidates(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Each run of pipeline linear with each of pipeline iterative."""
    for a in runs:
        for b in runs:
            if (a[1]["config"]["pipeline"], b[1]["config"]["pipeline"]) == ("linear", "iterative"):
                yield a, b


def differences(a: Run, b: Run) -> list[str]:
    """In what two runs differ beside the pipeline: model, inputs, device, configuration and whole lock."""
    return equal(told(*a), told(*b))


def told(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be the same in a pair; VerificationError where the lock cannot be read."""
    try:
        lock = read_json(folder / "config.lock.json")
    except (OSError, ValueError) as error:
        raise VerificationError(f"{folder}: config.lock.json cannot be read ({error})") from error
    choices = lock.get("choices", {})
    return {
        **{key: value for key, value in lock.items() if key not in APART},
        "choices": {key: value for key, value in choices.items() if key not in APART},
        "config": {key: value for key, value in metrics["config"].items() if key != "pipeline"},
        "hardware used": (metrics.get("hardware") or {}).get("name"),
        "model used": metrics["model"],
        "inputs": metrics["inputs"],
    }


def compared(a_dir: Path, a: dict[str, Any], b_dir: Path, b: dict[str, Any]) -> str:
    """What can be said of a linear run ``a`` and an iterative run ``b``, and what speaks against it."""
    record = together(a, b)
    latency = record["compare"]["iterative_vs_linear"]["latency"]
    if latency["delta_pct"] is None:
        return f"not compared ({latency['reason']})"
    drift = 100.0 * (mean(b, "linear") / mean(a, "linear") - 1.0)  # type: ignore[operator]
    hashes = [hash_layouts(saved(folder / "perm_before.json").layouts) for folder in (a_dir, b_dir)]
    said = f"{latency['delta_pct']:+.1f} % (no interval; passes no gate); "
    said += f"linear itself differs by {drift:+.1f} % between the two runs"
    against = [f"more than {AGREE_PCT:g} %"] if abs(drift) > AGREE_PCT else []
    against += [f"linear's layouts differ ({hashes[0]}, {hashes[1]})"] if hashes[0] != hashes[1] else []
    return said + (f", {', '.join(against)}: do not compare" if against else "; its layouts are the same")


def together(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """The record of a linear run ``a`` and an iterative run ``b`` as one: tagged, without interval, its gates
    undecided.
    """
    linear, iterative = mean(a, "linear"), mean(b, "iterative")
    known = linear is not None and iterative is not None and mean(b, "linear") is not None
    latency: dict[str, Any] = {"delta_pct": None, "ci95": None, "source": None, "reason": "unpaired run"}
    if known:
        latency["delta_pct"] = 100.0 * (iterative / linear - 1.0)  # type: ignore[operator]
        latency["source"] = b["arms"]["iterative"]["latency_ms"]["source"]
    else:
        latency["reason"] = "one of the two runs has no latency of linear and iterative"
    record = {"tags": ["unpaired"], "compare": {"iterative_vs_linear": {"latency": latency}}}
    gates = {name: Gate(**gate["spec"]).evaluate(record) for name, gate in b["gates"].items()}
    return {**record, "gates": gates}


def mean(metrics: dict[str, Any], arm: str) -> float | None:
    """Mean latency of an arm in ms."""
    found = metrics["arms"].get(arm, {}).get("latency_ms", {}).get("mean")
    return None if found is None else float(found)
