"""The cache simulator against ncu, for runs that were measured on a GPU; writes ncu.csv.

    python benchmarks/simulator/run.py [RUN ...] [--out FOLDER]

For every arm of every run (those in docs/results by default): the share of bytes read that did not come from
DRAM, and DRAM bytes a token, as the counters said and as the simulator says for layers of the widths that the
arm executed, caches warm. Needs no GPU: shapes are all that the simulator reads.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "engines"))

from cells import Cell, build  # noqa: E402

from icd.contracts import Workload  # noqa: E402
from icd.measure.hardware import Hardware  # noqa: E402
from icd.measure.simulate import executed_reads, simulate  # noqa: E402
from icd.runtime.cut import cut_sites  # noqa: E402
from icd.runtime.masked import Masked  # noqa: E402
from icd.transform.quantize import Precision  # noqa: E402

ARMS = ("dense", "linear", "sliced", "iterative", "shuffle")
RESULTS = HERE.parents[1] / "docs" / "results"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    runs = given.runs or sorted(path.parent for path in RESULTS.glob("*/*/metrics.json"))
    rows = [row for run in runs for row in compared(run)]
    if not rows:
        sys.exit("simulator: none of these runs has L2 figures that were measured")
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "ncu.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def compared(run: Path) -> Iterator[dict[str, Any]]:
    """A row an arm whose L2 was measured."""
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text("utf-8"))
    arms = {a: metrics["arms"][a] for a in ARMS if a in metrics["arms"]}
    arms = {name: arm for name, arm in arms.items() if arm["l2"]["source"] == "measured"}
    if not arms:
        return
    model, config = metrics["model"]["name"], metrics["config"]
    workload = build(Cell(model, config["batch_size"], config["seq_len"]), "cpu")
    device = h200()
    for name, arm in arms.items():
        small = cut(workload, {site: width for site, (width, _) in arm["executed"]["sites"].items()})
        step = Masked(64, 64).prepare(small, Precision("fp32", "fail"), "cpu")
        reads = executed_reads(step.module, small.inputs)
        found = simulate(reads, small.tokens, config["precision"], device)
        counted = arm["l2"]
        row = {
            "run": run.resolve().name,
            "model": model,
            "batch": config["batch_size"],
            "seq_len": config["seq_len"],
            "precision": config["precision"],
            "arm": name,
            "served_pct_ncu": f"{counted['served_pct']:.2f}",
            "served_pct_simulated": f"{found.served_pct:.2f}",
            "error_pp": f"{found.served_pct - counted['served_pct']:+.2f}",
            "dram_bytes_token_ncu": f"{counted['dram_bytes_per_token']:.0f}",
            "dram_bytes_token_simulated": f"{found.dram_bytes / small.tokens:.0f}",
        }
        print(*row.values(), flush=True)
        yield row


def cut(workload: Workload, widths: dict[str, int]) -> Workload:
    """``workload`` with every site cut to as many channels as an arm executed."""
    module = copy.deepcopy(workload.module)
    cut_sites(module, workload.sites, {s.name: np.arange(widths.get(s.name, s.size)) for s in workload.sites})
    return workload.with_module(module)


def h200() -> Hardware:
    """The figures that ``hardware=h200`` names."""
    from hydra import compose, initialize_config_dir

    from icd.config import check, conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        found = check(compose("config", overrides=["hardware=h200", "tracking=none"])).hardware
    assert isinstance(found, Hardware)
    return found


if __name__ == "__main__":
    main()
