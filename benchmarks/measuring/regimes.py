"""What a forward finds in the cache when ncu profiles it; on a GPU with ncu, in a minute; writes regimes.csv.

    python benchmarks/measuring/regimes.py [--out FOLDER]

One kernel reads 8.39 MB and writes 8.39 MB, far less than the L2 holds. CUDA graphs of it are profiled with
the flags of a run; F stands for the kernel, X for `icd.measure.cold.Flush`, and

    again    F behind F: nothing should come from DRAM
    read     F behind X, X unseen by ncu: 8.39 MB should come from DRAM
    FF ...   a graph of these, behind X
    warm     XFF - XF, as a run takes it: 0 MB from DRAM, 8.39 MB through the L2
    cold     XF - X, as a run takes it: 8.39 MB from DRAM, 8.39 MB through the L2
    FF-F, FXF-FX   warm and cold by graphs that do not begin with a flush: what the first F finds is another
             state in each of ncu's passes, and counters of several passes do not belong together

``again`` and ``read`` alike mean that a graph profiled by itself is neither warm nor cold. They are also
taken with fewer counters in a call: ``passes`` says how often ncu ran what it profiled, and where it ran once
nothing that an earlier pass left can be in the cache. Medians of three launches; ``spread``: largest less
smallest.

ncu profiles graphs as one under its kernel replay alone: asked for a range or for the whole application again
it says "Graph-based profiling is only supported with kernel replay".
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from icd.contracts import Missing
from icd.measure.cold import Flush
from icd.measure.l2 import (
    ALL,
    ALL_HIT,
    HIT,
    MISS,
    READ,
    SECTOR_BYTES,
    UNITS,
    WRITE,
    Failure,
    command,
    forwards,
    parse,
    sums,
)
from icd.measure.regimes import GRAPHS, launches
from icd.pipeline.isolate import PLAIN_NUMBERS
from icd.pipeline.profiled import capture_all, watch
from icd.pipeline.underncu import find_ncu

LAUNCHES = 3
ALONE = {"again": "F", "read": "F"}  # row -> graph
OTHERS = {"FF-F": ("FF", "F"), "FXF-FX": ("FXF", "FX")}
IN_GRAPHS = {graph: graph for pair in (*GRAPHS.values(), *OTHERS.values()) for graph in pair}
GRAPH_OF = {**ALONE, **IN_GRAPHS}
SETS = {
    "all six": tuple(UNITS),
    "DRAM": (READ, WRITE),
    "read through L2": (HIT, MISS),
    "all of L2": (ALL, ALL_HIT),
}
PASSES = "profiler__replayer_passes"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        profiled(given.child)
        return
    ncu = find_ncu()
    if isinstance(ncu, Missing):
        sys.exit(f"regimes: {ncu.reason}")
    start = time.perf_counter()
    rows = []
    for name, metrics in SETS.items():
        for row in measure(ncu, name, metrics):
            print(*row.values(), sep="  ", flush=True)
            rows.append(row)
    print(f"{time.perf_counter() - start:.0f} s")
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "regimes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measure(ncu: str, name: str, metrics: Sequence[str]) -> list[dict[str, str]]:
    """The rows of one call of ncu; with all metrics also graphs and their differences."""
    plan = [*ALONE, *(IN_GRAPHS if set(metrics) == set(UNITS) else ())]
    text = run(ncu, metrics, plan)
    found = parse(text, metrics)
    each = found if isinstance(found, Failure) else forwards(found, LAUNCHES * len(plan))
    if isinstance(each, Failure):
        return [line(name, plan[0], {}, "", each.reason)]
    passes = {cells[-1] for cells in csv.reader(text.splitlines()) if PASSES in cells}
    ran = " ".join(sorted(passes)) or "not told"
    groups = {what: each[k * LAUNCHES : (k + 1) * LAUNCHES] for k, what in enumerate(plan)}
    out = [
        line(name, what, columns([sums(p, metrics) for p in group]), ran) for what, group in groups.items()
    ]
    for what, (larger, smaller) in {**GRAPHS, **OTHERS}.items() if len(plan) > len(ALONE) else ():
        taken = launches(groups[larger], groups[smaller], tokens=1)
        if isinstance(taken, Failure):
            out.append(line(name, what, {}, ran, taken.reason))
        else:
            out.append(line(name, what, columns([launch["sums"] for launch in taken]), ran))
    return out


def columns(counted: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Megabytes of one row: medians over launches, and how far these lie apart."""
    kinds = {
        "dram_read": ((READ,), 1),
        "dram_write": ((WRITE,), 1),
        "read_through_l2": ((HIT, MISS), SECTOR_BYTES),
        "all_of_l2": ((ALL,), SECTOR_BYTES),
        "hits_of_l2": ((ALL_HIT,), SECTOR_BYTES),
    }
    out = {}
    for column, (metrics, unit) in kinds.items():
        if set(metrics) <= set(counted[0]):
            values = [unit * sum(launch[metric] for metric in metrics) / 1e6 for launch in counted]
            out[f"{column}_mb"] = f"{statistics.median(values):.3f}"
            out[f"{column}_spread_mb"] = f"{max(values) - min(values):.3f}"
    return out


def line(counters: str, what: str, found: Mapping[str, str], passes: str, reason: str = "") -> dict[str, str]:
    """One row of the table; a column that was not counted is empty."""
    names = ("dram_read", "dram_write", "read_through_l2", "all_of_l2", "hits_of_l2")
    figures = [f"{name}_{kind}" for name in names for kind in ("mb", "spread_mb")]
    return {
        "counters": counters,
        "what": what,
        **{name: found.get(name, "") for name in figures},
        "passes": passes,
        "reason": reason,
    }


def run(ncu: str, metrics: Sequence[str], plan: Sequence[str]) -> str:
    """What ncu writes of this script's child."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        words = [
            *command(ncu, str(log), "graph", (*metrics, PASSES)),
            sys.executable,
            __file__,
            "--child",
            *plan,
        ]
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **PLAIN_NUMBERS})
        return log.read_text() if log.is_file() else f"==ERROR== {(done.stdout + done.stderr).strip()[-300:]}"


def profiled(plan: Sequence[str]) -> None:
    """The process that ncu watches."""
    x = torch.randn(2 << 20, device="cuda")
    flush = Flush("cuda")
    wanted = dict.fromkeys(GRAPH_OF[what] for what in plan)
    graphs = capture_all(list(wanted), lambda: x + 1, flush)
    for what in plan:
        graph = graphs[GRAPH_OF[what]]
        graph()
        for _ in range(LAUNCHES):
            watch(graph, before=graph if what == "again" else flush)


if __name__ == "__main__":
    main()
