"""The numbers behind the figures."""

from __future__ import annotations

import numpy as np
import pytest

from icd.report.figures.canvas import PAGE
from icd.report.figures.correlation import panel, spearman
from icd.report.figures.layouts import aggregate, choose, tiles
from icd.report.figures.ratios import arms_of, draw, order
from icd.report.figures.timeline import thin
from icd.report.folder import load
from icd.report.numbers import interval, number, signed
from tests.report.build import metrics, ratio, write_run


def test_the_dots_of_a_comparison_are_its_recorded_units():
    record = metrics()
    record["compare"]["iterative_vs_linear"]["latency"]["units"] = units = [-21.0, -20.5, -18.5]
    axes = draw(record, "latency", PAGE).axes[0]
    rows = [dots.get_offsets() for dots in axes.collections]
    assert any(len(row) == 3 and row[:, 0].tolist() == units for row in rows)


def test_aa_comes_last_and_the_headline_first():
    assert order({"aa": 1, "mine": 1, "iterative_vs_linear": 1}) == ["iterative_vs_linear", "mine", "aa"]
    assert arms_of("aa") == ("aa", "linear")
    assert arms_of("shuffle_vs_linear") == ("shuffle", "linear")


def test_thinning_keeps_the_extremes():
    values = np.zeros(10_001)
    values[5_003], values[7_001] = 9.0, -9.0
    kept = thin(values, 2000)
    assert len(kept) <= 2000
    assert {5_003, 7_001} <= set(kept)
    assert thin(np.zeros(10), 2000) == list(range(10))


def test_rank_correlation_with_ties():
    x = np.array([1.0, 2.0, 2.0, 4.0])
    assert spearman(x, 10 * x) == pytest.approx(1.0)
    assert spearman(x, -x) == pytest.approx(-1.0)
    assert spearman(x, np.ones(4)) is None


def test_correlation_counts_arms_without_the_copy():
    shown = panel(metrics(), "C", "latency")
    assert shown.n == 4  # dense, linear, sliced, iterative; shuffle has no cost, aa is a copy
    assert len(shown.points) == 5
    assert shown.rho is not None
    few = panel(metrics(("dense", "linear", "aa"), "linear"), "T", "latency")
    assert (few.n, few.rho) == (2, None)


def test_heat_map_keeps_the_total_and_gathers_along_the_layout():
    rows, columns = np.array([0, 2]), np.array([2, 0])
    picture = aggregate((rows, columns, np.array([3.0, 3.0])), np.array([0, 2, 1, 3], np.int32), bins=2)
    assert picture[0, 0] == pytest.approx(6.0 / 4)
    assert picture.sum() == pytest.approx(6.0 / 4)


def test_tiles_are_columns_and_the_last_may_be_short():
    picture = tiles(np.array([True, False, True]), 2)
    assert picture.tolist() == [[1, 1], [0, -1]]


def test_sites_shown_are_the_largest_and_one_of_every_group(tmp_path):
    record = metrics()
    big = [{**record["sites"][0], "site": f"n{i}", "channels": 100 + i} for i in range(6)]
    record["sites"] = [*big, record["sites"][1]]
    run = load(write_run(tmp_path / "run", record))
    before = {s["site"]: np.arange(4, dtype=np.int32) for s in record["sites"]}
    chosen = choose(type(run)(run.folder, record, before=before))
    assert [s["site"] for s in chosen] == ["n5", "n4", "n3", "layer.0.heads"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.3456, "12.35"), (0.67156, "0.6716"), (16261.8, "16,262"),
     (-0.01365, "−0.01365"), (6.3e-7, "6.30e−07"),
     (3, "3"), (None, "–"), (float("nan"), "–"), (True, "–"), (0.0, "0")],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_signs():
    assert (signed(1.25, 1), signed(-0.04), signed(-4e-7, 2), signed(None)) == ("+1.2", "0.0", "0.00", "–")
    assert interval([-13.0, 2.0]) == "−13.0 to +2.0"


def test_a_huge_interval_does_not_squeeze_the_others():
    record = metrics()
    record["compare"]["aa"]["latency"] = ratio(16.0, [-99.7, 50_800.0], "AMBIGUOUS")
    drawn = draw(record, "latency", PAGE)
    assert drawn.axes[0].get_xlim() == (-105.0, 150.0)
    assert draw(metrics(), "latency", PAGE).axes[0].get_xlim()[1] < 10
