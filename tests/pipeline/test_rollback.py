"""A run whose new layout measures worse: the layout before it is measured again, and all of it verifies.

The measuring processes are those of `tests.pipeline.fake_run`.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil

import pytest

from icd.pipeline.files import check_sums, write_sums
from icd.pipeline.rollback import FOLDER, TAG
from icd.samples import read_samples
from icd.tools.verify import verify
from tests.pipeline.fake_run import go

# energy is read there; all channels are executed and nothing is profiled: only the clock tells arms apart
ON_A_GPU = ("runtime=masked", "measure.ncu_enable=false")


@pytest.fixture(scope="module")
def rolled(tmp_path_factory):
    """A run that was rolled back; tests that change it copy it."""
    return go(tmp_path_factory.mktemp("rolled") / "run", 1.2, 1.3, *ON_A_GPU, gpu=True)


def test_two_worse_figures_roll_back_and_measure_the_layout_before_it_again(rolled):
    _, metrics, child = rolled
    found = metrics["rollback"]
    assert found["triggered"] and found["metrics"] == ["latency", "ept"] and found["reason"] is None
    assert len(child.measured) == 6  # three processes, twice
    first, again = child.measured[0], child.measured[3]
    assert any((first["iterative"][s] != first["linear"][s]).any() for s in first["linear"])
    assert all((again["iterative"][s] == again["linear"][s]).all() for s in again["linear"])
    assert metrics["compare"]["iterative_vs_linear"]["latency"]["verdict"] == "EQUIVALENT"
    assert found["remeasured"]["latency"] == metrics["compare"]["iterative_vs_linear"]["latency"]
    assert set(found["remeasured"]) == {"latency", "l2", "ept"}
    before = found["first"]["compare"]["iterative_vs_linear"]
    assert before["latency"]["verdict"] == before["ept"]["verdict"] == "LOSS"
    assert {"rolled-back", TAG} <= set(metrics["tags"]) and "loss" not in metrics["tags"]


def test_the_record_after_a_rollback_is_whole_and_verifies(rolled):
    folder, metrics, _ = rolled
    assert verify(folder) == []
    kept = {p.name for p in (folder / FOLDER).iterdir()}
    assert kept == {"samples.csv.gz", "power.csv", "ncu.json", "perm_after.json"}
    rejected, after, before = (
        json.loads((folder / name).read_text())["layouts"]
        for name in (f"{FOLDER}/perm_after.json", "perm_after.json", "perm_before.json")
    )
    assert after == before != rejected
    last = metrics["iterations"][-1]
    assert last["accepted"] is False and "rolled back by measurement" in last["reason"]
    assert last["pi_hash"] == metrics["iterations"][0]["pi_hash"]
    assert metrics["arms"]["iterative"]["cost"] == metrics["arms"]["linear"]["cost"]
    assert metrics["rollback"]["first"]["arms"]["iterative"]["cost"] != metrics["arms"]["linear"]["cost"]
    assert json.loads((folder / "env.json").read_text())["measured_before_rollback"]


def test_the_root_causes_are_examined_on_the_first_measurement(rolled):
    _, metrics, _ = rolled
    answers = {a["cause"]: a["supported"] for a in metrics["rollback"]["root_cause"]}
    assert answers == {
        "clock drift": False,
        "kernel change": False,
        "L2 better, latency not": None,
        "solver out of time": False,
        "variance": False,
        "something other than the layout": False,
    }


def test_the_report_says_what_was_worse_what_came_of_it_and_why(rolled):
    folder, _, _ = rolled
    page = re.sub(r"\s+", " ", (folder / "report.html").read_text().replace("\u00a0", " "))
    assert "Rollback by measurement" in page and "Root cause" in page
    assert "process 2 ended by" in page and "rounds after 4 rounds; widest interval over rounds" in page
    assert "measured worse than linear&#39;s in latency and energy per token" in page
    assert "None of the causes examined is supported by the record" in page
    assert "Not known for want of figures: L2 better, latency not." in page
    rows = list(csv.DictReader((folder / "report.csv").open()))
    causes = {r["name"]: (r["supported"], r["evidence"]) for r in rows if r["kind"] == "root cause"}
    assert len(causes) == 6 and causes["clock drift"][0] == "false" and causes["clock drift"][1]
    before, after = (
        next(r for r in rows if r["kind"] == kind and r["name"] == "iterative_vs_linear")
        for kind in ("comparison before rollback", "comparison")
    )
    assert (before["latency_verdict"], after["latency_verdict"]) == ("LOSS", "EQUIVALENT")
    assert float(before["latency_effect_dz"]) > 5 and before["latency_ci_lo_without_outliers_pct"]


@pytest.mark.parametrize(
    ("slower", "hungrier", "overrides", "reason"),
    [
        (1.2, 1.0, (), "1 of 2 known figures worse"),
        (1.0, 1.3, (), "1 of 2 known figures worse"),
        (0.8, 0.8, (), "0 of 2 known figures worse"),
        (1.2, 1.3, ("pipeline.rollback=false",), "pipeline.rollback=false"),
    ],
)
def test_one_worse_figure_or_a_switch_keeps_the_new_layout(tmp_path, slower, hungrier, overrides, reason):
    folder, metrics, child = go(tmp_path / "run", slower, hungrier, *ON_A_GPU, *overrides, gpu=True)
    found = metrics["rollback"]
    assert not found["triggered"] and reason in found["reason"] and found["first"] is None
    assert len(child.measured) == 3 and not (folder / FOLDER).exists()
    assert TAG not in metrics["tags"] and verify(folder) == []
    page = (folder / "report.html").read_text()
    assert "was not rolled back by measurement" in page and "Root cause" not in page


@pytest.mark.parametrize("what", ["decision", "cause", "sample", "removed", "roofline"])
def test_a_changed_rollback_is_found_even_when_the_sums_were_made_to_fit(rolled, tmp_path, what):
    folder = shutil.copytree(rolled[0], tmp_path / "copy")
    metrics = json.loads((folder / "metrics.json").read_text())
    if what == "sample":
        path = folder / FOLDER / "samples.csv.gz"
        text = gzip.decompress(path.read_bytes()).decode()
        assert read_samples(path)
        path.write_bytes(gzip.compress(text.replace(",ms,", ",ms,", 1).replace("10.0", "10.9", 1).encode()))
    elif what == "removed":
        shutil.rmtree(folder / FOLDER)
    else:
        changed = metrics["rollback"]
        if what == "decision":
            changed["metrics"] = ["latency"]
        elif what == "roofline":
            assert changed["first"]["arms"]["dense"]["roofline"]["limit"] == "compute"
            changed["first"]["arms"]["dense"]["roofline"]["of_bound_pct"] = 99.0
        else:
            changed["root_cause"][0]["supported"] = True
        (folder / "metrics.json").write_text(json.dumps(metrics))
    write_sums(folder)
    assert check_sums(folder) == []
    assert any("rollback" in problem or "record" in problem for problem in verify(folder))
