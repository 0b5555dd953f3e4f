"""The published runs follow from their raw samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from icd.tools.verify import verify

RUNS = sorted(
    path.parent for path in (Path(__file__).parents[1] / "docs" / "results").glob("*/*/metrics.json")
)


def test_there_are_published_runs():
    assert len(RUNS) >= 9


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_published_run_verifies(run):
    assert verify(run, graphs=False) == []
