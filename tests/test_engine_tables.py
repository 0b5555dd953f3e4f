"""The tables of docs/engines.md are those that benchmarks/engines wrote."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "engines"
PAGE = (ROOT / "docs" / "engines.md").read_text("utf-8")
NAMES = {
    "bert": "BERT-base",
    "bert_large": "BERT-large",
    "mamba": "Mamba-130M",
    "mamba_3b": "Mamba-2.8B",
    "minilm": "MiniLM",
}
PLAIN, WHOLE = "transformers, eager", "torch.compile, whole model"


def cells(device):
    """{(model, batch x length): {(engine, sparsity): median ms}} of DEVICE.csv."""
    found = {}
    with (FOLDER / f"{device}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            times = found.setdefault((row["model"], f"{row['batch']}x{row['seq_len']}"), {})
            times[row["engine"], float(row["sparsity"])] = float(row["median_ms"])
    return found


def ms(value, digits=None):
    """Two or three digits behind the point, as the page has them; empty where nothing was timed."""
    if value is None:
        return ""
    return f"{value:.{(2 if value >= 10 else 3) if digits is None else digits}f}"


def line(cell, row):
    return f"| {NAMES[cell[0]]} {cell[1]} |" + "".join(f" {entry} |" if entry else " |" for entry in row)


@pytest.mark.parametrize("cell", cells("cuda"), ids="-".join)
def test_a_row_of_the_gpu_s_table(cell):
    times = cells("cuda")[cell]
    dense, half = times["dense", 0.0], times["compact", 0.5]
    plain = times.get((PLAIN, 0.0))
    row = ["" if plain is None else f"{plain:.2f}" if plain < 100 else f"{float(f'{plain:.3g}'):.0f}"]
    row += [ms(times.get((WHOLE, 0.0))), *(ms(x) for x in (dense, times["compact", 0.3], half))]
    row += [ms(times["compact", 0.7]), f"{half / dense:.3f}"]
    assert line(cell, row) in PAGE


@pytest.mark.parametrize("cell", cells("cpu"), ids="-".join)
def test_a_row_of_the_cpu_s_table(cell):
    times = cells("cpu")[cell]
    keys = ((PLAIN, 0.0), ("dense", 0.0), ("compact", 0.3), ("compact", 0.5), ("compact", 0.7))
    row = [ms(times[key], 1) for key in keys]
    row.append(f"{times['compact', 0.5] / times['dense', 0.0]:.3f}")
    assert line(cell, row) in PAGE


def test_the_table_of_the_scan():
    with (FOLDER / "scan.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            ratio = float(row["scan_us"]) / float(row["kernel_us"])
            times = " | ".join(row[key] for key in ("scan_us", "library_us", "kernel_us"))
            where = f"{row['batch']}x{row['seq_len']}, {row['channels']}"
            assert f"| {where} | {times} | {ratio:.2f} |" in PAGE


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_what_the_page_promises_of_every_row(device):
    """Compact near a model built small, auto near the better engine; see the page for the figures."""
    for cell, times in cells(device).items():
        half = times["compact", 0.5]
        assert half / times["built small", 0.5] < 1.03, cell
        assert times["auto", 0.5] / min(half, times["masked", 0.5]) < 1.02, cell
