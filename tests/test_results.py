"""The published runs follow from their raw samples, and the pages from the published runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from icd.tools.verify import verify

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
RUNS = sorted(path.parent for path in RESULTS.glob("*/*/metrics.json"))
PAGE = (RESULTS / "README.md").read_text("utf-8")


def test_there_are_published_runs():
    assert len(RUNS) >= 7


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_published_run_verifies(run):
    assert verify(run, graphs=False) == []


def metrics(run):
    return json.loads((RESULTS / "h200" / run / "metrics.json").read_text("utf-8"))


def signed(value, digits=1):
    text = f"{value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def change(found, digits=1):
    """``-9.4 [-9.8, -9.0]``, as the pages write a change."""
    value = next(found[key] for key in ("delta_pct", "delta") if key in found)
    low, high = found["ci95"]
    return f"{signed(value, digits)} [{signed(low, digits)}, {signed(high, digits)}]"


@pytest.mark.parametrize("arm", ["dense", "linear", "sliced", "iterative", "shuffle"])
def test_the_page_s_arms_are_the_records(arm):
    cells = []
    for run in ("bert-1x128", "bert-8x256"):
        found = metrics(run)["arms"][arm]
        cells += [f"{found['latency_ms']['p50']:.3f}", f"{1e3 * found['energy']['ept_j']:.3f}"]
        cells += [f"{found['l2']['served_pct']:.1f} %", f"{found['l2']['dram_bytes_per_token'] / 1e3:.0f}"]
    assert f"| `{arm}` | {' | '.join(cells)} |" in PAGE


@pytest.mark.parametrize("shape", ["1x128", "8x256"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("iterative_vs_linear", "iterative vs linear"),
        ("iterative_vs_sliced", "iterative vs sliced"),
        ("iterative_vs_dense", "iterative vs dense"),
        ("shuffle_vs_linear", "shuffle vs linear"),
        ("aa", "A/A"),
    ],
)
def test_the_page_s_changes_are_the_records(name, said, shape):
    found = metrics(f"bert-{shape}")["compare"][name]
    latency, energy, dram = (change(found[key]) for key in ("latency", "ept", "dram"))
    first = said if shape == "1x128" else ""
    row = [first, shape, f"{latency} {found['latency']['verdict']}", energy, change(found["l2_pp"]), dram]
    assert f"| {' | '.join(row)} |".replace("|  |", "| |") in PAGE


def test_the_page_s_controls_are_the_records():
    for run in RUNS:
        if run.name.startswith("aa-"):
            found = metrics(run.name)["compare"]["aa"]["latency"]
            assert f"| `h200/{run.name}` | {change(found, 2)} | {found['verdict']} |" in PAGE


@pytest.mark.parametrize(
    ("said", "shape", "name"),
    [
        ("linear", "1x128", "iterative_vs_linear"),
        ("linear", "8x256", "iterative_vs_linear"),
        ("slicing, no solver at all", "8x256", "iterative_vs_sliced"),
        ("the dense model", "8x256", "iterative_vs_dense"),
    ],
)
def test_the_readme_s_changes_are_the_records(said, shape, name):
    found = metrics(f"bert-{shape}")["compare"][name]
    row = [said, shape, *(f"{change(found[key])} %" for key in ("latency", "ept", "dram"))]
    assert f"| {' | '.join(row)} |" in (ROOT / "README.md").read_text("utf-8")
