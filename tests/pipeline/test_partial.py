"""Figures that only some processes gave are tagged, explained beside the figures, and verify."""

from __future__ import annotations

import json

import pytest

from icd.errors import MeasurementError
from icd.pipeline.files import write_sums
from icd.pipeline.partial import partial
from icd.report.caveats import BADGES, caveats
from icd.tools.verify import verify
from tests.pipeline.fake_run import go, ncu

STUCK = "the energy counter did not move for 2 s"


@pytest.mark.parametrize(
    ("no_energy", "repetitions", "asked", "said"),
    [
        ((None, None), (0, 1, 1), 2, {}),
        ((STUCK, STUCK), (), 3, {}),
        ((None, None), (), 0, {}),
        ((None, STUCK, None), (0,), 1, {"energy": f"2 of 3 processes gave energy; process 1: {STUCK}"}),
        ((None,), (0, 2, 2), 3, {"l2": "2 of 3 repetitions under ncu gave figures; why"}),
    ],
)
def test_partial_is_neither_all_nor_none(no_energy, repetitions, asked, said):
    found = partial([{"no_energy": reason} for reason in no_energy], repetitions, asked, "why")
    assert found == ({"partial": said} if said else {})


def flaky(stage, arguments, folder, listen, **kwargs):
    """ncu, whose second repetition fails every time."""
    if arguments["repetition"] == 1:
        raise MeasurementError("it ended with code 9")
    return ncu(stage, arguments, folder, listen, **kwargs)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    words = ("measure.rounds=2", "measure.power_rounds=1", "measure.processes=3", "measure.ncu_repetitions=3")
    folder = tmp_path_factory.mktemp("partial") / "run"
    return go(folder, 0.8, 0.7, *words, gpu=True, stuck=1, child_of_ncu=flaky)[:2]


def test_what_is_partial_is_tagged_and_says_how_many_of_how_many(run):
    _, metrics = run
    assert {"partial-energy", "partial-l2"} <= set(metrics["tags"]) & set(BADGES)
    for arm in metrics["arms"].values():
        assert arm["energy"]["ept_j"] > 0
        assert arm["energy"]["reason"] == f"2 of 3 processes gave energy; process 1: {STUCK}"
        for block in ("l2", "l2_cold"):
            assert arm[block]["served_pct"] > 0
            assert arm[block]["reason"].startswith("2 of 3 repetitions under ncu gave figures; it ended")


def test_the_report_says_it_in_its_caveats(run):
    said = " ".join(caveats(run[1], {}))
    assert "Energy per token is of a part of what was to be measured: 2 of 3 processes" in said
    assert "L2 is of a part of what was to be measured: 2 of 3 repetitions" in said


def test_it_verifies_and_not_without_its_tag(run):
    folder, metrics = run
    assert verify(folder) == []
    path = folder / "metrics.json"
    before = path.read_text("utf-8")
    path.write_text(json.dumps({**metrics, "tags": [t for t in metrics["tags"] if t != "partial-l2"]}))
    write_sums(folder)
    try:
        assert any("tags" in problem for problem in verify(folder))
    finally:
        path.write_text(before, "utf-8")
        write_sums(folder)
