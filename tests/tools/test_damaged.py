"""Damaged, foreign and linked records: sync, report and validate say so, end with 6 and write nothing."""

from __future__ import annotations

import copy
import json

import pytest

from icd.cli import main
from icd.errors import Exit
from icd.pipeline.files import check_sums, write_sums
from tests.report.build import metrics, sums, write_run

MISSING = object()
DAMAGES = {
    "a list for arms": (("arms",), ["linear"]),
    "a list for compare": (("compare",), [1, 2]),
    "a text for gates": (("gates",), "none"),
    "null for gates": (("gates",), None),
    "no run id": (("run_id",), MISSING),
    "an odd date": (("created",), "the day before yesterday"),
    "a date out of range": (("created",), "0001-01-01T00:00:00+00:00"),
    "a number for the date": (("created",), 17),
    "a list for an arm": (("arms", "linear"), ["fast"]),
    "a text for a latency": (("arms", "linear", "latency_ms"), "12 ms"),
    "an object for a mean": (("arms", "linear", "latency_ms", "mean"), {"of": "what"}),
    "a short interval": (("compare", "iterative_vs_linear", "latency", "ci95"), [1.0]),
    "a text in an interval": (("compare", "iterative_vs_linear", "latency", "ci95"), ["low", "high"]),
    "a list for the model": (("model",), ["bert"]),
    "null for a verdict's ratio": (("compare", "iterative_vs_linear", "latency"), 3),
    "a number for the elapsed time": (("elapsed_s",), "soon"),
    "a list for the configuration": (("config",), [0.5]),
}
# what a command has no use for is no damage to it
READS = {
    "sync": ["a list for arms", "a number for the date", "no run id", "an odd date", "a list for compare"],
    "report": ["a list for an arm", "a text for a latency", "a short interval", "a list for the model"],
    "validate": ["null for gates", "a text for gates", "a list for arms", "a text in an interval"],
}


def damaged(folder, path, value):
    record = copy.deepcopy(metrics())
    block = record
    for key in path[:-1]:
        block = block[key]
    if value is MISSING:
        del block[path[-1]]
    else:
        block[path[-1]] = value
    run = write_run(folder, metrics())
    (run / "metrics.json").write_text(json.dumps(record))
    sums(run)
    return run


def ended(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code, capsys.readouterr()


@pytest.mark.parametrize(("word", "name"), [(word, name) for word in READS for name in READS[word]])
def test_a_damaged_record_with_mended_sums_is_told_in_a_sentence(word, name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("icd.tracking.mlflow.MLflow.push", lambda self, folder: "logged")
    run = damaged(tmp_path / "run", *DAMAGES[name])
    before = sorted(p.name for p in run.rglob("*"))
    code, said = ended([word, str(run)], capsys)
    assert code == Exit.VERIFICATION_FAILED, said
    assert said.err.count("\n") == 1 and said.err.startswith("icd: ") and "run" in said.err
    assert sorted(p.name for p in run.rglob("*")) == before and check_sums(run) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_no_damage_ends_sync_or_validate_with_another_code(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("icd.tracking.mlflow.MLflow.push", lambda self, folder: "logged")
    run = damaged(tmp_path / "run", *DAMAGES[name])
    for word in ("sync", "validate"):
        assert ended([word, str(run)], capsys)[0] in (Exit.DONE, Exit.VERIFICATION_FAILED)


@pytest.mark.parametrize("file", ["metrics.json", "config.lock.json", "env.json"])
@pytest.mark.parametrize("content", ["[]", "{", "null", '"a text"', "[" * 3000, "\udce9", "{}"])
def test_a_file_that_holds_something_else_is_told_in_a_sentence(file, content, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("icd.tracking.mlflow.MLflow.push", lambda self, folder: "logged")
    run = write_run(tmp_path / "run", metrics())
    (run / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    sums(run)
    for word in READS if file == "metrics.json" else ("sync", "validate"):
        code, said = ended([word, str(run)], capsys)
        assert code in (Exit.DONE, Exit.VERIFICATION_FAILED), (word, said)
        assert said.err.count("\n") == (code != Exit.DONE), (word, said)
        if file == "metrics.json":
            assert code == Exit.VERIFICATION_FAILED, (word, said)


def test_sync_uploads_nothing_that_was_changed(tmp_path, capsys, monkeypatch):
    pushed = []
    monkeypatch.setattr("icd.tracking.mlflow.MLflow.push", lambda self, folder: pushed.append(folder))
    run = write_run(tmp_path / "run", metrics())
    (run / "metrics.json").write_text(json.dumps(metrics()).replace("-20.0", "-90.0"))
    code, said = ended(["sync", str(run)], capsys)
    assert code == Exit.VERIFICATION_FAILED and "metrics.json was changed after the run" in said.err
    assert pushed == []


@pytest.mark.parametrize("name", ["report.html", "plots", ".report.csv.tmp", "env.json", "W/x.npz"])
@pytest.mark.parametrize("word", ["sync", "report"])
def test_a_link_in_a_record_is_refused_and_leads_nowhere(word, name, tmp_path, capsys, monkeypatch):
    pushed = []
    monkeypatch.setattr("icd.tracking.mlflow.MLflow.push", lambda self, folder: pushed.append(folder))
    run = write_run(tmp_path / "run", metrics())
    secret = tmp_path / "secret"
    secret.mkdir() if name == "plots" else secret.write_text("secret")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(secret)
    sums(run)
    code, said = ended([word, str(run)], capsys)
    assert code == Exit.VERIFICATION_FAILED and f"{name} is a link" in said.err
    assert pushed == [] and (secret.is_dir() or secret.read_text() == "secret")
    assert not secret.is_dir() or list(secret.iterdir()) == []


def test_sync_refuses_a_linked_decision_of_a_sweep(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("icd.tracking.mlflow.MLflow.push", lambda self, folder: "logged")
    write_run(tmp_path / "s" / "0", metrics())
    (tmp_path / "elsewhere.json").write_text("{}")
    (tmp_path / "s" / "sweep.json").symlink_to(tmp_path / "elsewhere.json")
    code, said = ended(["sync", str(tmp_path / "s")], capsys)
    assert code == Exit.VERIFICATION_FAILED and "sweep.json is a link" in said.err


def test_of_several_runs_none_is_touched_where_one_is_damaged(tmp_path, capsys):
    good = write_run(tmp_path / "good", metrics())
    bad = damaged(tmp_path / "bad", ("arms", "linear"), ["fast"])
    assert ended(["report", str(good), str(bad)], capsys)[0] == Exit.VERIFICATION_FAILED
    assert not (good / "report.html").exists()


def test_a_graph_of_a_site_is_looked_for_in_its_folder_alone(tmp_path, capsys):
    run = write_run(tmp_path / "run", metrics())
    for when in ("before", "after"):
        file = run / f"perm_{when}.json"
        file.write_text(file.read_text().replace("layer.0.neurons", "../../outside"))
    record = json.loads((run / "metrics.json").read_text())
    for row in record["sites"]:
        row["site"] = row["site"].replace("layer.0.neurons", "../../outside")
    (run / "metrics.json").write_text(json.dumps(record))
    write_sums(run)
    code, said = ended(["report", str(run)], capsys)
    assert (code == Exit.VERIFICATION_FAILED and "slash" in said.err) or "dot" in said.err
