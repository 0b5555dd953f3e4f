"""A sweep's cells judged together: ``sweep.json``, its check by icd verify, and the gates of icd validate."""

from __future__ import annotations

import json
import shutil

import pytest

from icd.cli import finish_sweep
from icd.errors import Exit
from icd.pipeline.files import write_sums
from icd.pipeline.sweep import FILE, judge, sentences, write_sweep
from icd.tools import validate, verify
from tests.report.build import metrics, write_run


def gates(p_value, passed):
    check = {
        "name": "latency",
        "threshold": -10.0,
        "value": -12.0,
        "ci95": [-14.0, -10.5],
        "p_value": p_value,
    }
    smoke = {"pass": passed, "checks": [{**check, "pass": passed, "reason": None, "required": True}]}
    nothing = {"pass": True, "checks": []}
    return {"smoke": smoke, "mock": nothing, "strict": nothing}


@pytest.fixture
def sweep(tmp_path):
    """Three cells: one passes by far, one by a little, one not."""
    for name, p, passed in (("a", 0.001, True), ("b", 0.02, True), ("c", 0.6, False)):
        write_run(tmp_path / "s" / name, {**metrics(), "run_id": name, "gates": gates(p, passed)})
    (tmp_path / "s" / "multirun.yaml").touch()
    (tmp_path / "s" / "unfinished").mkdir()
    return tmp_path / "s"


def test_a_cell_passes_only_where_holm_says_so(sweep):
    record = write_sweep(sweep)
    assert record == json.loads((sweep / FILE).read_text()) == judge(sweep)
    assert record["cells"] == {"a": "a", "b": "b", "c": "c"}
    smoke = record["gates"]["smoke"]
    # 0.001 x 3, 0.02 x 2, 0.6 x 1 against 0.025
    assert [h["p_holm"] for h in smoke["hypotheses"]] == pytest.approx([0.003, 0.04, 0.6])
    assert {n: (c["own"], c["pass"]) for n, c in smoke["cells"].items()} == {
        "a": (True, True),
        "b": (True, False),
        "c": (False, False),
    }
    assert sentences(record) == [
        "gate smoke: 2 of 3 cells pass alone, 1 with Holm's correction over 3 tests: a"
    ]


def test_validate_of_a_sweep_decides_by_the_corrected_gate(sweep, capsys, monkeypatch):
    monkeypatch.setattr(
        validate, "verify", lambda folder, graphs, notes=None: []
    )  # these cells hold gates alone
    assert validate.main([str(sweep / "b"), "--gate", "smoke"]) == Exit.DONE
    shutil.rmtree(sweep / "c")
    assert validate.main([str(sweep), "--gate", "smoke"]) == Exit.DONE  # 0.02 x 1 with two cells left
    write_run(sweep / "d", {**metrics(), "run_id": "d", "gates": gates(0.02, True)})
    capsys.readouterr()
    assert validate.main([str(sweep), "--gate", "smoke"]) == Exit.GATE_FAILED
    said = capsys.readouterr().out
    assert "1 with Holm's correction over 3 tests: a" in said
    assert "passes alone, and not corrected" in said


def test_verify_judges_a_sweep_again(sweep, monkeypatch):
    monkeypatch.setattr(verify, "verify", lambda folder, graphs, notes=None: [])
    monkeypatch.setattr(verify, "cells", lambda folder: [])  # made from one record
    assert verify.verify_sweep(sweep) == ["sweep.json is missing: the sweep did not end"]
    write_sweep(sweep)
    assert verify.verify_sweep(sweep) == []
    record = json.loads((sweep / FILE).read_text())
    record["gates"]["smoke"]["cells"]["b"]["pass"] = True
    (sweep / FILE).write_text(json.dumps(record))
    assert any("cells.b.pass" in problem for problem in verify.verify_sweep(sweep))


def test_a_changed_p_value_of_a_cell_is_found_from_its_units(mock_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(mock_run, copy)
    record = json.loads((copy / "metrics.json").read_text())
    record["gates"]["smoke"]["checks"][0]["p_value"] = 0.001
    (copy / "metrics.json").write_text(json.dumps(record))
    write_sums(copy)
    assert any("p_value" in problem for problem in verify.verify(copy))


def test_the_end_of_a_sweep_tells_the_tracking_store(sweep, monkeypatch, capsys):
    told = []

    class Tracking:
        def log_sweep(self, folder):
            told.append(folder)
            return "log it later"

    monkeypatch.setattr("icd.config.build", lambda cfg: type("E", (), {"tracking": Tracking()}))
    finish_sweep(sweep, None)
    assert told == [sweep] and (sweep / FILE).is_file()
    assert capsys.readouterr().out.splitlines()[-1] == "log it later"
