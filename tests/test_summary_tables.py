"""The tables of docs/SOP.md about summaries are those that benchmarks/statistics wrote, and hold."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "SOP.md").read_text("utf-8")
with (ROOT / "benchmarks" / "statistics" / "summaries.csv").open(newline="") as file:
    ROWS = {(row["protocol"], row["scenario"], row["summary"]): row for row in csv.DictReader(file)}
FIVE = "five"
SCENARIOS = tuple(dict.fromkeys(scenario for _, scenario, _ in ROWS))
ONE_SIDED = ("one arm skewed", "pauses")  # in which the median is another quantity than the mean
DISTURBED = ("mixed", "blocks", "rounds", "allocations")


def whole(protocol, scenario, summary, key="win_pct"):
    return f"{float(ROWS[protocol, scenario, summary][key]):.0f}"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_row_of_the_scenarios(scenario):
    row = ROWS[FIVE, scenario, "median"]
    shown = [scenario, row["false_positive_pct"], row["coverage_pct"], row["vs_mean"]]
    shown += [whole(p, scenario, s) for p in (FIVE, "paper") for s in ("mean", "median")]
    assert f"| {' | '.join(shown)} |" in PAGE


@pytest.mark.parametrize("summary", list(dict.fromkeys(summary for _, _, summary in ROWS))[:-1])
def test_a_row_of_the_candidates(summary):
    shown = [summary, ROWS[FIVE, "plain", summary]["vs_mean"], ROWS["paper", "plain", summary]["vs_mean"]]
    shown += [whole(FIVE, scenario, summary) for scenario in DISTURBED]
    shown += [ROWS["paper", "one arm skewed", summary]["bias_pct"].lstrip("+")]
    assert f"| {' | '.join(shown)} |" in PAGE


@pytest.mark.parametrize("key", [key for key in ROWS if key[2] == "median"], ids=", ".join)
def test_the_median_keeps_false_positives_and_coverage(key):
    row = ROWS[key]
    assert float(row["false_positive_pct"]) <= 6.5
    if key[1] not in ONE_SIDED:
        assert float(row["coverage_pct"]) >= 93
    assert float(row["vs_mean"]) <= 1.25
    if key[0] != "smoke" and key[1] in DISTURBED:
        assert float(row["win_pct"]) >= 85
