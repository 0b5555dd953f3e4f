"""``icd verify RUN...``: recompute every statistic of a run from its raw samples and compare.

Checksums alone prove nothing, since whoever changes a file can make the sums fit; so intervals,
verdicts, gates and costs are computed again from samples, graphs and layouts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icd.errors import ConfigError, Exit, MissingResource
from icd.pipeline.files import check_sums, read_samples
from icd.stats.derive import derive, equal
from icd.stats.gates import Gate


def main(words: Sequence[str]) -> int:
    """Verify each run directory named; 6 when one differs, 3 when one is not there."""
    if not words or any(word.startswith("-") for word in words):
        raise ConfigError("usage: icd verify RUN...; expected one or more run directories")
    code = Exit.DONE
    for word in words:
        problems = verify(Path(word))
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
        return problems + statistics(metrics, samples) + gates(metrics) + costs(folder, metrics)
    except (KeyError, TypeError, ValueError) as error:
        return [*problems, f"the record is not of schema icd.metrics/1: {type(error).__name__} {error}"]


def statistics(metrics: dict[str, Any], samples: Sequence[Any]) -> list[str]:
    """Differences between recorded and recomputed statistics of arms and comparisons."""
    settings = metrics["derivation"]
    again = derive(
        samples,
        list(metrics["arms"]),
        device=settings["device"],
        tokens=settings["tokens"],
        l2_metric=settings["l2_metric"],
        regime=settings["regime"],
        reasons=settings["reasons"],
    )
    out = []
    for part in ("arms", "compare"):
        if set(again[part]) != set(metrics[part]):
            out.append(f"{part}: recorded {sorted(metrics[part])}, the samples give {sorted(again[part])}")
        for name, block in again[part].items():
            recorded = {key: metrics[part].get(name, {}).get(key) for key in block}
            out += equal(recorded, json.loads(json.dumps(block)), path=f"{part}.{name}")
    return out


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
