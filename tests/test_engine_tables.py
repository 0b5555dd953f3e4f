"""The tables of docs/engines.md are those that benchmarks/engines wrote."""

from __future__ import annotations

import csv
import math
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


def ratios(device):
    """Of every cell: compact, auto and masked, over built small, the better engine and dense."""
    for times in cells(device).values():
        half, dense = times["compact", 0.5], times["dense", 0.0]
        better = min(half, times["masked", 0.5])
        masked = {share: times["masked", share] / dense for share in (0.3, 0.5, 0.7)}
        yield half / times["built small", 0.5], times["auto", 0.5] / better, masked


def percent(shares):
    """The largest of ``shares``, rounded up to a tenth of a percent."""
    return f"{math.ceil(1000 * max(shares) - 1e-9) / 10:.1f} %"


def said(sentence):
    """Whether the page says it, however its lines are broken."""
    return sentence in " ".join(PAGE.split())


def test_what_is_said_of_the_gpu_s_rows():
    built, auto, masked = zip(*ratios("cuda"), strict=True)
    off = sorted(abs(x - 1) for x in built)
    assert said(f"`compact` runs within {percent(off)} of a dense model built at that size")
    assert said(f"({percent(off[:-2])} but for Mamba-2.8B 1x2048 and BERT-base 32x256")
    assert said(f"`auto` takes at most {percent(x - 1 for x in auto)} more than the better engine")
    half = [x[0.5] for x in masked]
    assert said(f"`masked` at 50 % takes {min(half):.3f} to {max(half):.3f} of what dense takes")


def test_what_is_said_of_the_cpu_s_rows():
    built, auto, masked = zip(*ratios("cpu"), strict=True)
    away = percent(abs(x - 1) for shares in masked for x in shares.values())
    assert said(f"`masked` stays within {away} of dense")
    assert said(f"`auto` within {percent(x - 1 for x in auto)} of `compact`, which it chooses")
    assert said(f"`compact` within {percent(x - 1 for x in built)} of a model built small")


def test_the_table_of_eight_bits():
    found = {}
    with (ROOT / "benchmarks" / "precision" / "cuda.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            kind = row["precision"], row["scales"], row["calibration"]
            found.setdefault(kind, {})[row["model"], row["batch"]] = row
    assert len(found) == 6
    for (precision, scales, calibration), mine in found.items():
        if precision == "bf16":
            continue
        rows = [mine[key] for key in (("bert", "1"), ("bert", "8"), ("bert_large", "8"), ("mamba", "2"))]
        times = " | ".join(f"{float(row['vs_bf16']):.2f}" for row in rows)
        errors = sorted(f"{100 * float(row['layer_err_median']):.1f}" for row in mine.values())
        error = " to ".join(dict.fromkeys((errors[0], errors[-1])))
        spelt = "static" if calibration == "static" else "as it comes"
        assert f"| {precision}, a {scales}, {spelt} | {times} | {error} % |" in PAGE.replace("**", "")
