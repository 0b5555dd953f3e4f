"""icd validate: what separate runs can say of one another; no gate is decided on a changed record."""

from __future__ import annotations

import json
import shutil

import pytest

from icd.errors import Exit, MissingResource, VerificationError
from icd.pipeline.files import write_sums
from icd.stats.gates import Gate
from icd.tools import validate
from tests.pipeline.fake_run import go


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A linear and an iterative run of one configuration, the iterative one a win in everything."""
    folder = tmp_path_factory.mktemp("apart")
    linear = go(folder / "linear", 1.0, 1.0, "pipeline=linear", gpu=True)[0]
    return linear, go(folder / "iterative", 0.7, 0.7, gpu=True)[0]


def test_runs_made_separately_are_compared_by_layout_and_agreement_and_pass_no_gate(apart, capsys):
    linear, iterative = map(str, apart)
    assert validate.main([linear, iterative]) == Exit.DONE
    said = capsys.readouterr().out
    assert "unpaired: iterative of iterative against linear of linear: -30." in said
    assert "its layouts are the same" in said and "do not compare" not in said
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in apart]
    record = validate.together(*metrics)
    assert (
        record["tags"] == ["unpaired"] and record["compare"]["iterative_vs_linear"]["latency"]["ci95"] is None
    )
    assert {gate["pass"] for gate in record["gates"].values()} == {None}
    checks = [check for gate in record["gates"].values() for check in gate["checks"]]
    assert "unpaired run" in {check["reason"] for check in checks}
    easy = Gate(name="easy", latency_pct=-10.0).evaluate(record)
    assert easy["pass"] is None
    assert Gate(name="easy", latency_pct=-10.0).evaluate(metrics[1])["pass"] is True
    assert validate.main([iterative, "--gate", "smoke"]) == Exit.DONE
    assert validate.main([linear, iterative, "--gate", "smoke"]) == Exit.MISSING_RESOURCE


def copies(apart, tmp_path):
    return [shutil.copytree(folder, tmp_path / folder.name) for folder in apart]


def test_other_layouts_or_another_latency_of_linear_speak_against_a_pair(apart, tmp_path, capsys):
    linear, iterative = copies(apart, tmp_path)
    record = json.loads((linear / "metrics.json").read_text())
    record["arms"]["linear"]["latency_ms"]["mean"] *= 1.02
    (linear / "metrics.json").write_text(json.dumps(record))
    found = json.loads((linear / "perm_before.json").read_text())
    next(iter(found["layouts"].values())).reverse()
    (linear / "perm_before.json").write_text(json.dumps(found))
    validate.main([str(linear), str(iterative)])
    said = capsys.readouterr().out
    assert "more than 1 %" in said and "linear's layouts differ (" in said and "do not compare" in said


def test_runs_that_differ_in_more_than_the_pipeline_are_no_pair(apart, tmp_path):
    linear, iterative = (json.loads((folder / "metrics.json").read_text()) for folder in apart)
    assert validate.same(linear, iterative)
    for part, key, value in (
        ("config", "seed", 7),
        ("inputs", "sha256", "00"),
        ("model", "weights", "random"),
    ):
        assert not validate.same(linear, {**iterative, part: {**iterative[part], key: value}})


def test_no_gate_is_decided_on_a_record_that_does_not_verify(apart, tmp_path, capsys):
    run = copies(apart, tmp_path)[1]
    assert validate.main([str(run), "--gate", "smoke"]) == Exit.DONE
    record = json.loads((run / "metrics.json").read_text())
    record["gates"]["mock"]["pass"] = True
    for check in record["gates"]["mock"]["checks"]:
        check |= {"pass": True, "reason": None}
    (run / "metrics.json").write_text(json.dumps(record))
    write_sums(run)
    capsys.readouterr()
    assert validate.main([str(run), "--gate", "mock"]) == Exit.VERIFICATION_FAILED
    assert "does not verify, so no gate is decided (gates.mock" in capsys.readouterr().out


def test_a_sweep_without_a_finished_cell_passes_no_gate(tmp_path):
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(MissingResource, match="no cell of this sweep has finished"):
        validate.main([str(tmp_path), "--gate", "mock"])


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": "other"}', '{"arms": 1}'])
def test_what_is_no_record_is_said_to_be_none(tmp_path, content):
    (tmp_path / "SHA256SUMS").touch()
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(VerificationError, match=r"metrics\.json"):
        validate.main([str(tmp_path)])
