"""icd validate: what separate runs can say of one another; no gate is decided on a changed record."""

from __future__ import annotations

import json
import shutil

import pytest

from icd.errors import Exit, MissingResource, VerificationError
from icd.pipeline.files import write_sums
from icd.stats.gates import Gate
from icd.tools import pairing, validate
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
    record = pairing.together(*metrics)
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


def edited(folder, file, *path, value):
    """``value`` at ``path`` of a JSON file of a copy."""
    found = json.loads((folder / file).read_text())
    node = found
    for key in path[:-1]:
        node = node[key]
    assert node[path[-1]] != value
    node[path[-1]] = value
    (folder / file).write_text(json.dumps(found))


LOCK, METRICS = "config.lock.json", "metrics.json"


@pytest.mark.parametrize(
    ("file", "path", "value", "said"),
    [
        (METRICS, ("config", "seed"), 7, "config.seed: 0 != 7"),
        (METRICS, ("inputs", "sha256"), "00", "inputs.sha256: "),
        (METRICS, ("model", "weights"), "trained", "model used.weights: "),
        (METRICS, ("hardware", "name"), "another GPU", "hardware used: 'a CPU' != 'another GPU'"),
        (LOCK, ("measure", "rounds"), 40, "measure.rounds: 4 != 40"),
        (LOCK, ("solver", "seed"), 5, "solver.seed: 0 != 5"),
        (LOCK, ("choices", "model"), "other", "choices.model: "),
    ],
)
def test_runs_that_differ_in_more_than_the_pipeline_are_no_pair_and_it_is_said_why(
    apart, tmp_path, capsys, file, path, value, said
):
    linear, iterative = copies(apart, tmp_path)
    edited(iterative, file, *path, value=value)
    validate.main([str(linear), str(iterative)])
    out = capsys.readouterr().out
    assert "unpaired" not in out
    why = "no pair: iterative of iterative and linear of linear differ in more than the pipeline: "
    assert why + said in out


@pytest.mark.parametrize("part", ["tracking", "gate"])
def test_what_says_nothing_of_a_measurement_may_differ_in_a_pair(apart, tmp_path, capsys, part):
    linear, iterative = copies(apart, tmp_path)
    edited(iterative, LOCK, part, value={"name": "other"})
    edited(iterative, LOCK, "choices", value={"model": "mock", part: "other"})
    validate.main([str(linear), str(iterative)])
    out = capsys.readouterr().out
    assert "unpaired: iterative of iterative" in out and "no pair" not in out


def test_a_run_that_has_a_partner_is_not_said_to_lack_one(apart, tmp_path, capsys):
    linear, iterative = copies(apart, tmp_path)
    other = shutil.copytree(linear, tmp_path / "other")
    edited(other, LOCK, "measure", "rounds", value=40)
    validate.main([str(linear), str(iterative), str(other)])
    out = capsys.readouterr().out
    assert "unpaired: iterative of iterative" in out and "no pair" not in out
    edited(linear, LOCK, "measure", "rounds", value=41)
    edited(linear, LOCK, "seed", value=41)
    validate.main([str(linear), str(iterative), str(other)])
    out = capsys.readouterr().out  # of the two that it could be, the one that is closer
    assert out.count("no pair: ") == 1 and "linear of other" in out


def test_a_lock_that_cannot_be_read_is_said_to_be_so(apart, tmp_path):
    linear, iterative = copies(apart, tmp_path)
    (iterative / LOCK).write_text("{")
    with pytest.raises(VerificationError, match=r"config\.lock\.json cannot be read"):
        validate.main([str(linear), str(iterative)])


def test_the_gate_of_an_archive_without_its_graphs_is_decided_when_asked_for(apart, tmp_path, capsys):
    run = copies(apart, tmp_path)[1]
    shutil.rmtree(run / "W")
    assert validate.main([str(run), "--gate", "smoke"]) == Exit.VERIFICATION_FAILED
    assert validate.main(["--without-graphs", str(run), "--gate", "smoke"]) == Exit.DONE


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
    assert "does not verify, so no gate is decided (metrics.json: gates.mock" in capsys.readouterr().out


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
