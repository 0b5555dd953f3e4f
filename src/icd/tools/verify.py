"""``icd verify RUN|SWEEP...``: recompute every statistic of a run from its raw samples and compare.

Checksums alone prove nothing, since whoever changes a file can make the sums fit; so intervals,
verdicts, gates and costs are computed again from samples, graphs and layouts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icd.contracts import Sample
from icd.errors import ConfigError, Exit, MissingResource
from icd.pipeline.files import check_sums, read_samples
from icd.pipeline.sweep import FILE, finished_cells, judge
from icd.stats.derive import derive, equal
from icd.stats.gates import Gate
from icd.stats.rollback import BLOCKS, HEADLINE, decide
from icd.stats.roofline import roofline
from icd.stats.rootcause import root_cause
from icd.stats.width import stopped
from icd.tracking.projection import is_sweep


def main(words: Sequence[str]) -> int:
    """Verify each run directory named; 6 when one differs, 3 when one is not there."""
    if not words or any(word.startswith("-") for word in words):
        raise ConfigError("usage: icd verify RUN...; expected one or more run directories")
    code = Exit.DONE
    for word in words:
        folder = Path(word)
        problems = verify_sweep(folder) if is_sweep(folder) else verify(folder)
        if problems:
            code = Exit.VERIFICATION_FAILED
            print(f"{word}: {len(problems)} difference(s)")
            for problem in problems[:20]:
                print(f"  {problem}")
        else:
            print(f"{word}: verified; every statistic follows from its raw samples")
    return int(code)


def verify(folder: Path) -> list[str]:
    """What does not hold in a run directory, a sentence each."""
    if not folder.is_dir():
        raise MissingResource(f"{folder}: no such run directory")
    problems = check_sums(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        samples = read_samples(folder / "samples.csv.gz")
    except (OSError, ValueError, EOFError) as error:
        return [*problems, f"the record cannot be read: {error}"]
    try:
        return [
            *problems,
            *statistics(metrics, metrics["derivation"], samples),
            *stops(metrics, samples),
            *rooflines(metrics, metrics["hardware"]),
            *rollback(folder, metrics),
            *gates(metrics),
            *costs(folder, metrics),
        ]
    except (KeyError, TypeError, ValueError) as error:
        return [*problems, f"the record is not of schema icd.metrics/1: {type(error).__name__} {error}"]


def verify_sweep(folder: Path) -> list[str]:
    """What does not hold in a sweep's finished cells and in its ``sweep.json``."""
    problems = [f"{cell.name}: {problem}" for cell in finished_cells(folder) for problem in verify(cell)]
    recorded = folder / FILE
    if not recorded.is_file():
        return [*problems, f"{FILE} is missing: the sweep did not end"]
    try:
        return problems + equal(json.loads(recorded.read_text("utf-8")), judge(folder), path=FILE)
    except (KeyError, TypeError, ValueError) as error:
        return [*problems, f"the sweep cannot be judged again: {type(error).__name__} {error}"]


def statistics(
    record: Mapping[str, Any], settings: Mapping[str, Any], samples: Sequence[Sample], where: str = ""
) -> list[str]:
    """Differences between the ``arms`` and ``compare`` of ``record`` and those that ``samples`` give."""
    again = derive(
        samples,
        list(record["arms"]),
        device=settings["device"],
        tokens=settings["tokens"],
        l2_metric=settings["l2_metric"],
        regime=settings["regime"],
        reasons=settings["reasons"],
    )
    out = []
    for part in ("arms", "compare"):
        if set(again[part]) != set(record[part]):
            out.append(f"{where}{part}: recorded {sorted(record[part])}, samples give {sorted(again[part])}")
        for name, block in again[part].items():
            recorded = {key: record[part].get(name, {}).get(key) for key in block}
            out += equal(recorded, json.loads(json.dumps(block)), path=f"{where}{part}.{name}")
    return out


def stops(metrics: Mapping[str, Any], samples: Sequence[Sample]) -> list[str]:
    """Differences between the recorded rounds and widths of each process and those of the samples."""
    recorded = metrics["protocol"]["stopped"]
    return equal(recorded, stopped(recorded, samples, list(metrics["arms"])), path="protocol.stopped")


def rooflines(record: Mapping[str, Any], hardware: Mapping[str, Any], where: str = "") -> list[str]:
    """Differences between the recorded rooflines and those that work, figures and latency give again."""
    out = []
    for name, arm in record["arms"].items():
        again = roofline(arm["roofline"]["parts"], hardware, arm["latency_ms"])
        out += equal(arm["roofline"], again, path=f"{where}arms.{name}.roofline")
    return out


def rollback(folder: Path, metrics: Mapping[str, Any]) -> list[str]:
    """Differences between the recorded decision to roll back and the one that the record gives again.

    Where the layout was rolled back, the decision was made on the first measurement, whose statistics are
    computed again from its own samples, as are the root causes.
    """
    recorded = metrics["rollback"]
    first, settings = recorded["first"], metrics["derivation"]
    seen = [step for step in metrics["iterations"] if first is None or step is not metrics["iterations"][-1]]
    compare = (first or metrics)["compare"]
    decision = decide(compare, seen, settings["device"], enabled=recorded["enabled"])
    expected: dict[str, Any] = {**decision, "remeasured": None, "root_cause": []}
    out = []
    if first is not None:
        path = folder / recorded["samples"]
        if not path.is_file():
            return [
                f"{recorded['samples']} is missing: the measurement before the rollback cannot be checked"
            ]
        old = read_samples(path)
        out += statistics(first, first["settings"], old, where="rollback.first.")
        out += rooflines(first, first["hardware"], where="rollback.first.")
        again = metrics["compare"]
        expected["remeasured"] = {name: again[HEADLINE][key] for name, key in BLOCKS.items()}
        expected["root_cause"] = root_cause(first, old, again, metrics["solver"]["time_limited"])
    here = {key: recorded[key] for key in expected}
    return out + equal(here, json.loads(json.dumps(expected)), path="rollback")


def gates(metrics: dict[str, Any]) -> list[str]:
    """Differences between recorded and recomputed gates."""
    out = []
    for name, recorded in metrics["gates"].items():
        again = Gate(**recorded["spec"]).evaluate(metrics)
        out += equal({k: recorded[k] for k in again}, json.loads(json.dumps(again)), path=f"gates.{name}")
    return out


def costs(folder: Path, metrics: dict[str, Any]) -> list[str]:
    """Differences between recorded C and Q and those of the saved graphs under the saved layouts."""
    import scipy.sparse

    from icd.solver.objective import Objective, evaluate

    objective = Objective(**metrics["derivation"]["objective"])
    saved = {
        "linear": json.loads((folder / "perm_before.json").read_text()),
        "iterative": json.loads((folder / "perm_after.json").read_text()),
    }
    out = []
    for row in metrics["sites"]:
        W = scipy.sparse.csr_matrix(scipy.sparse.load_npz(folder / "W" / f"{row['site']}.npz"))
        for arm, record in saved.items():
            if arm not in row["cost"]:
                continue
            live = np.zeros(W.shape[0])
            live[record["live"].get(row["site"], range(W.shape[0]))] = 1.0
            D = scipy.sparse.diags(live)
            again = evaluate(
                scipy.sparse.csr_matrix(D @ W @ D),
                None,
                np.asarray(record["layouts"][row["site"]], np.int32),
                block=row["block"],
                line=row["line"],
                objective=objective,
            )
            recorded = {key: row["cost"][arm][key] for key in ("C", "Q")}
            out += equal(recorded, {k: again[k] for k in recorded}, path=f"sites.{row['site']}.{arm}")
    return out
