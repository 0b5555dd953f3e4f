"""The published runs follow from their raw samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from icd.errors import Exit
from icd.tools.verify import main, verify

RUNS = sorted(
    path.parent for path in (Path(__file__).parents[1] / "docs" / "results").glob("*/*/metrics.json")
)


def test_there_are_published_runs():
    assert len(RUNS) >= 8


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_published_run_verifies(run):
    assert verify(run, graphs=False) == []


def test_a_record_of_before_counters_had_a_schema_is_said_to_be_one(capsys):
    run = next(run for run in RUNS if run.name == "aa-1x128")
    assert main(["--without-graphs", str(run)]) == Exit.DONE
    assert "a record of before icd.ncu/2" in capsys.readouterr().out
