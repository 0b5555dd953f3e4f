"""``icd validate RUN... [--gate NAME]``: a table of runs with their gates, and the gate's exit code.

One run is judged by its own arms. Two runs of pipelines ``linear`` and ``iterative`` made separately are
shown side by side and tagged unpaired: they share no rounds, so they can never pass a gate. A sweep
directory stands for its cells, whose gates are then judged together (`icd.stats.family`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icd.errors import ConfigError, Exit, MissingResource
from icd.pipeline.sweep import finished_cells, judge, sentences
from icd.report.folder import read_json
from icd.tracking.projection import is_sweep

USAGE = "usage: icd validate RUN|SWEEP... [--gate mock|smoke|strict]"


def main(words: Sequence[str]) -> int:
    """Print the table; 1 when the gate fails in a run, 3 when it cannot be decided, else 0."""
    parser = argparse.ArgumentParser(prog="icd validate", exit_on_error=False)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--gate", default=None, choices=["mock", "smoke", "strict"])
    try:
        args, unknown = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{USAGE}; {error}") from error
    if unknown or not args.runs:
        found = f"got {unknown[0]!r}" if unknown else "expected one or more run directories"
        raise ConfigError(f"{USAGE}; {found}")
    sweeps = [folder for folder in args.runs if is_sweep(folder)]
    folders = [cell for word in args.runs for cell in (finished_cells(word) if word in sweeps else [word])]
    runs = [(folder, read(folder)) for folder in folders]
    print(table(runs))
    judged = {sweep: judge(sweep) for sweep in sweeps}
    for line in (*unpaired(runs), *(line for record in judged.values() for line in sentences(record))):
        print(line)
    if args.gate is None:
        return int(Exit.DONE)
    outcomes = [
        judged[folder.parent]["gates"][args.gate]["cells"][folder.name]["pass"]
        if folder.parent in judged
        else metrics["gates"][args.gate]["pass"]
        for folder, metrics in runs
    ]
    for (folder, metrics), outcome in zip(runs, outcomes, strict=True):
        if not outcome:
            checks = metrics["gates"][args.gate]["checks"]
            why = "; ".join(f"{c['name']}: {c['reason']}" for c in checks if not c["pass"])
            why = why or "it passes alone, and not corrected for the number of cells"
            print(f"{folder}: gate {args.gate} {'failed' if outcome is False else 'undecided'} ({why})")
    if False in outcomes:
        return int(Exit.GATE_FAILED)
    return int(Exit.MISSING_RESOURCE if None in outcomes else Exit.DONE)


def read(folder: Path) -> dict[str, Any]:
    """``metrics.json`` of a finished run."""
    if not folder.is_dir():
        raise MissingResource(f"{folder}: no such run directory")
    if not (folder / "SHA256SUMS").is_file() or not (folder / "metrics.json").is_file():
        raise MissingResource(f"{folder}: not a finished run (no SHA256SUMS or metrics.json)")
    return read_json(folder / "metrics.json")


COLUMNS = (
    "run",
    "model",
    "pipeline",
    "sparsity",
    "precision",
    "latency",
    "95 % interval",
    "verdict",
    "mock",
    "smoke",
    "strict",
)


def table(runs: Sequence[tuple[Path, dict[str, Any]]]) -> str:
    """A row a run: headline comparison and gates."""
    rows = [COLUMNS]
    for folder, metrics in runs:
        config = metrics["config"]
        headline = metrics["compare"].get("iterative_vs_linear", {}).get("latency", {})
        ci95 = headline.get("ci95")
        rows.append(
            (
                folder.name,
                metrics["model"]["name"],
                config["pipeline"],
                str(config["sparsity"]),
                config["precision"],
                f"{headline['delta_pct']:+.1f} %" if headline.get("delta_pct") is not None else "-",
                f"{ci95[0]:+.1f} .. {ci95[1]:+.1f}" if ci95 else "-",
                headline.get("verdict") or "-",
                *(WORDS[metrics["gates"][gate]["pass"]] for gate in ("mock", "smoke", "strict")),
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


WORDS = {True: "pass", False: "FAIL", None: "undecided"}


def unpaired(runs: Sequence[tuple[Path, dict[str, Any]]]) -> list[str]:
    """Sentences on linear and iterative runs of one configuration that were made separately."""
    out = []
    for a_dir, a in runs:
        for b_dir, b in runs:
            if (a["config"]["pipeline"], b["config"]["pipeline"]) != ("linear", "iterative") or not same(
                a, b
            ):
                continue
            linear, iterative = (
                m["arms"][n]["latency_ms"]["mean"] for m, n in ((a, "linear"), (b, "iterative"))
            )
            again = b["arms"]["linear"]["latency_ms"]["mean"]
            drift = 100.0 * (again / linear - 1.0)
            out.append(
                f"unpaired: iterative of {b_dir.name} against linear of {a_dir.name}: "
                f"{100.0 * (iterative / linear - 1.0):+.1f} % (no interval; passes no gate); "
                f"linear itself differs by {drift:+.1f} % between the two runs"
                + ("" if abs(drift) <= 1 else ", more than 1 %: do not compare")
            )
    return out


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two runs differ in nothing but the pipeline."""
    keys = set(a["config"]) - {"pipeline"}
    return a["model"] == b["model"] and all(a["config"][k] == b["config"].get(k) for k in keys)
