"""``icd validate [--without-graphs] RUN... [--gate NAME]``: a table of runs with their gates, and the gate's
exit code.

One run is judged by its own arms. Two runs of pipelines ``linear`` and ``iterative`` made separately are
shown side by side and tagged unpaired (`icd.tools.pairing`): they share no rounds, so they can never pass a
gate. A sweep directory stands for its cells, whose gates are then judged together (`icd.stats.family`). A
gate is decided for runs that verify (`icd verify`), and for no others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icd.errors import ConfigError, Exit, MissingResource, VerificationError
from icd.ledger import cell_name, finished_cells, sweep_of
from icd.pipeline.sweep import judge, sentences
from icd.reading import read_json
from icd.tools.damaged import readable
from icd.tools.pairing import Run, pairs, unpaired
from icd.tools.verify import WITHOUT, verify
from icd.tracking.projection import is_sweep

USAGE = f"usage: icd validate [{WITHOUT}] RUN|SWEEP... [--gate mock|smoke|strict]"


def main(words: Sequence[str]) -> int:
    """Print the table; with a gate 6 when a run does not verify, 1 when the gate fails in one, 3 when it
    cannot be decided, else 0.
    """
    parser = argparse.ArgumentParser(prog="icd validate", exit_on_error=False)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--gate", default=None, choices=["mock", "smoke", "strict"])
    parser.add_argument(WITHOUT, action="store_true")
    try:
        args, unknown = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{USAGE}; {error}") from error
    if unknown or not args.runs:
        found = f"got {unknown[0]!r}" if unknown else "expected one or more run directories"
        raise ConfigError(f"{USAGE}; {found}")
    sweeps = [folder for folder in args.runs if is_sweep(folder)]
    folders = [cell for word in args.runs for cell in (finished_cells(word) if word in sweeps else [word])]
    if not folders:
        raise MissingResource(f"{args.runs[0]}: no cell of this sweep has finished")
    runs = [(folder, read(folder)) for folder in folders]
    for folder, metrics in runs:
        with readable(folder):
            table([(folder, metrics)])
    with readable(args.runs[0]):
        return decided(args, sweeps, runs)


def decided(args: argparse.Namespace, sweeps: Sequence[Path], runs: Sequence[Run]) -> int:
    """Print what is to be said of the runs, and return the code that the gate asked for decides."""
    folders = [folder for folder, _ in runs]
    print(table(runs))
    judged = {sweep: judge(sweep) for sweep in sweeps}
    places = {cell: (s, cell_name(s, cell)) for s in sweeps for cell in finished_cells(s)}
    apart = pairs(runs)
    for pair in apart:
        print(f"{pair.name}: {pair.sentence}")
    for sentence in unpaired(runs):
        print(sentence)
    for line in (line for record in judged.values() for line in sentences(record)):
        print(line)
    for sweep, record in judged.items():
        for name, why in record.get("missing", {}).items():
            print(f"{sweep}: cell {name} is missing: {why}")
    if args.gate is None:
        return int(Exit.DONE)
    changed = {
        folder: problems for folder in folders if (problems := verify(folder, graphs=not args.without_graphs))
    }
    for folder, problems in changed.items():
        print(f"{folder}: does not verify, so no gate is decided ({problems[0]}); icd verify lists the rest")
    if changed:
        return int(Exit.VERIFICATION_FAILED)
    outcomes = [
        judged[places[folder][0]]["gates"][args.gate]["cells"][places[folder][1]]["pass"]
        if folder in places
        else metrics["gates"][args.gate]["pass"]
        for folder, metrics in runs
    ]
    for (folder, metrics), outcome in zip(runs, outcomes, strict=True):
        if not outcome:
            checks = metrics["gates"][args.gate]["checks"]
            why = "; ".join(f"{c['name']}: {c['reason']}" for c in checks if not c["pass"])
            why = why or "it passes alone, and not corrected for the number of cells"
            print(f"{folder}: gate {args.gate} {'failed' if outcome is False else 'undecided'} ({why})")
    outcomes += [pair.record["gates"][args.gate]["pass"] for pair in apart]
    if False in outcomes:
        return int(Exit.GATE_FAILED)
    return int(Exit.MISSING_RESOURCE if None in outcomes else Exit.DONE)


def read(folder: Path) -> dict[str, Any]:
    """``metrics.json`` of a finished run; VerificationError where it is not the record of one."""
    if not folder.is_dir():
        raise MissingResource(f"{folder}: no such run directory")
    if not (folder / "SHA256SUMS").is_file() or not (folder / "metrics.json").is_file():
        raise MissingResource(f"{folder}: not a finished run (no SHA256SUMS or metrics.json)")
    try:
        found = read_json(folder / "metrics.json")
    except ValueError as error:
        raise VerificationError(f"{folder}: metrics.json cannot be read ({error})") from error
    needed = ("config", "model", "inputs", "arms", "compare", "gates")
    if not isinstance(found, dict) or any(not isinstance(found.get(key), dict) for key in needed):
        raise VerificationError(f"{folder}: metrics.json is not of schema icd.metrics/1")
    return found


def label(folder: Path) -> str:
    """A run's name: of a cell, its folder inside its sweep's."""
    sweep = sweep_of(folder)
    return folder.name if sweep is None else cell_name(sweep, folder.resolve())


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
                label(folder),
                metrics["model"]["name"],
                config["pipeline"],
                "-" if config["sparsity"] is None else str(config["sparsity"]),
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
