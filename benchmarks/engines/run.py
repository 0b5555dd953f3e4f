"""Engines at several models, shapes and sparsities; writes DEVICE.csv and DEVICE.png.

    python benchmarks/engines/run.py [--device cuda|cpu] [--cells bert-1x128 ...] [--warm-up N] [--out FOLDER]

One process times everything, cell after cell; with ``--warm-up N`` as many others compile the same layers
beforehand, side by side, so that it finds them in the compiler's cache. ``median_ms`` is the median of blocks
of one candidate, blocks of all candidates alternating; ``roofline_ms`` the least time at the rates that the
device reached here in a large matrix product and a large copy, for the products, attention and bytes counted
in ``gflop`` and ``mbyte`` (scans, norms and launches are not in it). Weights are random: shapes count here.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from cells import Cell, block, build, candidates, rows, time_all, warm

COLUMNS = (
    "model", "batch", "seq_len", "engine", "sparsity", "median_ms", "p5_ms", "p95_ms", "rounds", "vs_dense",
    "gflop", "mbyte", "tflop_s", "gb_s", "roofline_ms",
)  # fmt: skip
CELLS = {
    "cuda": (
        Cell("bert", 1, 128),
        Cell("bert", 8, 256),
        Cell("mamba_3b", 2, 256),
        Cell("mamba_3b", 1, 2048, plain=False, whole=False),
        Cell("mamba", 2, 256, whole=False),
        Cell("bert_large", 8, 256, whole=False),
        Cell("mamba", 1, 2048, plain=False, whole=False),
        Cell("bert_large", 1, 128, whole=False),
        Cell("bert", 32, 256, whole=False),
    ),
    "cpu": (Cell("minilm", 8, 128, whole=False), Cell("bert", 1, 128, whole=False)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=CELLS)
    parser.add_argument("--cells", nargs="+")
    parser.add_argument("--warm-up", type=int, default=0, metavar="N")
    parser.add_argument("--compile-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    cells = [c for c in CELLS[given.device] if not given.cells or name(c) in given.cells]
    if given.compile_only:
        for cell in cells:  # one candidate at a time, for the others need memory too; plans are not kept
            for candidate in candidates(cell, build(cell, given.device), given.device, remember=False):
                warm(candidate, given.device)
                del candidate
        return
    if given.warm_up:
        compile_beside(cells, given.device, given.warm_up)
    peaks = rates(given.device)
    print(f"{peaks[0] / 1e12:.1f} TFLOP/s, {peaks[1] / 1e9:.0f} GB/s", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    table = given.out / f"{given.device}.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for cell in cells:
            start = time.perf_counter()
            made = list(candidates(cell, build(cell, given.device), given.device))
            for row in rows(cell, made, time_all(made, given.device), peaks):
                writer.writerow(row)
                print(*row.values(), flush=True)
            file.flush()
            del made
            if given.device == "cuda":
                torch.cuda.empty_cache()
            print(f"{name(cell)}: {time.perf_counter() - start:.1f} s", flush=True)
    from plot import draw

    draw(table, table.with_suffix(".png"))


def name(cell: Cell) -> str:
    """As ``--cells`` spells it."""
    return f"{cell.model}-{cell.batch}x{cell.seq_len}"


def compile_beside(cells: list[Cell], device: str, count: int) -> None:
    """A process a cell, ``count`` at a time, that compiles and exits."""

    def one(cell: Cell) -> None:
        words = [sys.executable, __file__, "--device", device, "--cells", name(cell), "--compile-only"]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            print(f"{name(cell)}: {done.stderr.strip().splitlines()[-1]}", flush=True)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(one, cells))


def rates(device: str) -> tuple[float, float]:
    """FLOP/s of a large matrix product and bytes/s, read and written, of a large copy."""
    cuda = device == "cuda"
    n, dtype = (8192, torch.bfloat16) if cuda else (1536, torch.float32)
    a = torch.randn(n, n, device=device, dtype=dtype)
    source = torch.empty(1 << 30 if cuda else 1 << 27, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product, copy = lambda: a @ a, lambda: target.copy_(source)
    best = [min(block(step, 5, device) for _ in range(5)) / 1e3 for step in (product, copy)]
    return 2.0 * n**3 / best[0], 2.0 * source.numel() / best[1]


if __name__ == "__main__":
    main()
