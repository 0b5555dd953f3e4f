"""Every method on every instance, each in a fresh process; writes results.csv and results.png.

    python benchmarks/solver/run.py [--instances NAME ...] [--methods NAME ...] [--out FOLDER]

``seconds``: from the instance in memory to the answer, compilation and imports excluded; ``memory_mib``:
the process's peak resident memory, instance included. T counts non-empty tiles, C is normalised, Q is
the modularity of the blocks (of the communities on modularity-hard). A peer that is not installed is
named and left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from instances import NAMES, Instance, make
from scipy import sparse

COLUMNS = ("instance", "n", "nets", "nnz", "method", "seconds", "memory_mib", "T", "C", "Q")
LIMIT_S = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instances", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "METHOD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(load(Path(arguments.child[0])), arguments.child[1])))
        return
    rows = []
    for name in arguments.instances:
        with tempfile.TemporaryDirectory() as folder:
            store(make(name), Path(folder))
            rows += [
                row for method in methods_of(name, arguments.methods) if (row := child(folder, name, method))
            ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    from plot import draw

    draw(arguments.out / "results.csv", arguments.out / "results.png")


def methods_of(name: str, wanted: list[str] | None) -> list[str]:
    from methods import COMMUNITY_METHODS, LAYOUT_METHODS

    there = COMMUNITY_METHODS if name == "modularity-hard" else LAYOUT_METHODS
    return [method for method in there if wanted is None or method in wanted]


def child(folder: str, name: str, method: str) -> dict | None:
    """One measurement in a process of its own, so that memory and thread pools are its own."""
    command = [sys.executable, __file__, "--child", folder, method]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"{name:16} {method:15} left out: more than {LIMIT_S:.0f} s", flush=True)
        return None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        print(f"{name:16} {method:15} left out: {reason}", flush=True)
        return None
    row = {"instance": name, "method": method, **json.loads(done.stdout.strip().splitlines()[-1])}
    print(f"{name:16} {method:15} " + " ".join(f"{key}={row[key]}" for key in COLUMNS[5:]), flush=True)
    return row


def measure(instance: Instance, method: str) -> dict:
    from methods import COMMUNITY_METHODS, LAYOUT_METHODS

    from icd.contracts import Nets
    from icd.solver.objective import evaluate

    solve = {**LAYOUT_METHODS, **COMMUNITY_METHODS}[method]()
    start = time.perf_counter()
    answer = solve(instance)
    seconds = time.perf_counter() - start
    row = {"n": instance.W.shape[0], "seconds": round(seconds, 3), "memory_mib": peak_memory_mib()}
    if instance.pins is None:
        q = round(partition_modularity(instance.W, answer), 6)
        return {**row, "nets": 0, "nnz": instance.W.nnz, "T": "", "C": "", "Q": q}
    nets = Nets(instance.pins, np.ones(instance.pins.shape[0]))
    score = evaluate(instance.W, nets, answer, block=instance.block, line=instance.block)
    figures = {"T": int(score["T"]), "C": round(score["C"], 6), "Q": round(score["Q"], 6)}
    return {**row, "nets": instance.pins.shape[0], "nnz": instance.pins.nnz, **figures}


def peak_memory_mib() -> int:
    """VmHWM; ru_maxrss would carry over the parent's memory."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def partition_modularity(W: sparse.csr_matrix, labels: np.ndarray) -> float:
    member = sparse.csr_matrix((np.ones(len(labels)), (np.arange(len(labels)), labels)))
    between = np.asarray((member.T @ W @ member).todense()) / W.sum()
    return float(np.trace(between) - (between.sum(axis=1) ** 2).sum())


def store(instance: Instance, folder: Path) -> None:
    sparse.save_npz(folder / "W.npz", instance.W)
    if instance.pins is not None:
        sparse.save_npz(folder / "pins.npz", instance.pins)
    (folder / "instance.json").write_text(json.dumps({"name": instance.name, "block": instance.block}))


def load(folder: Path) -> Instance:
    facts = json.loads((folder / "instance.json").read_text())
    pins = sparse.load_npz(folder / "pins.npz") if (folder / "pins.npz").exists() else None
    return Instance(facts["name"], sparse.load_npz(folder / "W.npz"), pins, facts["block"])


if __name__ == "__main__":
    main()
