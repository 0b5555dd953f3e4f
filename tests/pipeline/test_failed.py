"""What was measured is kept, whatever fails later: in a directory that says why and holds no result."""

from __future__ import annotations

import dataclasses
import errno
import json
from typing import ClassVar

import pytest

from icd.errors import Exit, IcdError, MeasurementError, MissingResource, Unforeseen
from icd.pipeline import measurement, run
from icd.pipeline.files import SUMS, check_sums
from icd.samples import read_samples
from tests.pipeline import fake_run
from tests.pipeline.fake_run import Child, experiment, go

LATER = ("build_metrics", "write_html", "write_sums", "figures")
PREPARED = {}
MEASURED = {"samples.csv.gz", "ncu.json", "power.csv", "W", "perm_before.json", "perm_after.json"}


class Counted(Child):
    """A child that remembers the samples that it handed over, and fails in process ``at``."""

    taken: ClassVar[list] = []
    at: ClassVar[int | None] = None

    def __call__(self, stage, arguments, folder, listen, **kwargs):
        if stage == "prepare":  # the same model each time
            if self.gpu not in PREPARED:
                PREPARED[self.gpu] = super().__call__(stage, arguments, folder, listen, **kwargs)
            return PREPARED[self.gpu]
        if stage == "measure" and arguments["process"] == self.at:
            raise MeasurementError("the measure process was ended by SIGKILL")
        result = super().__call__(stage, arguments, folder, listen, **kwargs)
        if stage == "measure":
            self.taken.extend(result["samples"])
        return result


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(Counted, "taken", [])
    monkeypatch.setattr(fake_run, "Child", Counted)
    return Counted


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("step", LATER)
def test_an_error_after_the_measurement_keeps_every_sample(step, counted, tmp_path, monkeypatch):
    error = UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed")
    monkeypatch.setattr(run, "write_html", lambda folder: None)
    monkeypatch.setattr(run, step, failing(error))
    with pytest.raises(Unforeseen, match=r"UnicodeEncodeError.*; what was measured until then is in"):
        go(tmp_path / "run", 1.0, 1.0, "measure.processes=2")
    folder = tmp_path / "run"
    assert {p.name for p in tmp_path.iterdir()} == {"run"} and check_sums(folder)
    assert {p.name for p in folder.iterdir()} >= {*MEASURED, "error.json", "run.log", "traceback.txt"}
    assert not (folder / SUMS).exists()
    assert read_samples(folder / "samples.csv.gz") == counted.taken
    told = json.loads((folder / "error.json").read_text())
    assert (told["code"], told["measured"], told["traceback"]) == (4, True, "traceback.txt")
    text = (folder / "traceback.txt").read_text()
    assert 'File "icd/pipeline/run.py", line' in text and str(tmp_path) not in text
    last = json.loads((folder / "run.log").read_text().splitlines()[-1])
    assert last["stage"] == "failed" and last["meta"]["traceback"] == "traceback.txt"
    assert "run.py, line" in last["meta"]["message"]


def test_a_process_that_dies_costs_its_own_samples_and_not_those_before(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(Counted, "at", 1)
    with pytest.raises(MeasurementError, match="SIGKILL; what was measured until then is in"):
        go(tmp_path / "run", 1.0, 1.0, "measure.processes=3")
    kept = read_samples(tmp_path / "run" / "samples.csv.gz")
    assert kept == counted.taken and {s.process for s in kept} == {0}


def test_a_failure_of_the_first_process_leaves_a_reason_and_no_samples(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(Counted, "at", 0)
    with pytest.raises(MeasurementError):
        go(tmp_path / "run", 1.0, 1.0, "measure.processes=3")
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {"config.lock.json", "config.lock.yaml", "env.json", "run.log", "error.json"}


def test_a_profiler_that_breaks_keeps_what_was_timed(counted, tmp_path):
    with pytest.raises(IcdError, match="what was measured until then is in"):
        go(tmp_path / "run", 1.0, 1.0, gpu=True, child_of_ncu=failing(ZeroDivisionError("of nothing")))
    assert read_samples(tmp_path / "run" / "samples.csv.gz") == counted.taken


def test_a_full_disk_ends_with_3_and_keeps_what_was_written(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "write_html", failing(OSError(errno.ENOSPC, "No space left on device", "/a/b")))
    with pytest.raises(MissingResource, match=r"No space left on device \(b\); an unfinished run") as caught:
        go(tmp_path / "run", 1.0, 1.0, "measure.processes=2")
    assert caught.value.code == Exit.MISSING_RESOURCE
    assert read_samples(tmp_path / "run" / "samples.csv.gz") == counted.taken


def test_an_interrupt_leaves_nothing(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "write_html", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "run", 1.0, 1.0, "measure.processes=2")
    assert list(tmp_path.iterdir()) == []


class Store:
    """A tracking store that took nothing."""

    def log(self, folder):
        assert check_sums(folder) == []
        return f"MLflow at sqlite:////a/b/mlflow.db did not take the run (disk full); icd sync {folder}"


def test_a_store_that_fails_is_told_of_recorded_and_changes_no_code(counted, tmp_path, monkeypatch, capsys):
    whole = experiment("measure.processes=2")
    child = Counted(1.0, 1.0, False, None)
    for module in (run, measurement):
        monkeypatch.setattr(module, "run_child", child)
    monkeypatch.setattr(run, "write_html", lambda folder: None)
    tracked = dataclasses.replace(whole, tracking=Store())
    assert run.run(tracked, tmp_path / "run", {"model": "mock"}) == Exit.DONE
    assert "did not take the run (disk full); icd sync" in capsys.readouterr().out
    assert check_sums(tmp_path / "run") == []
    last = (tmp_path / "run" / "run.log").read_text().splitlines()[-1]
    assert json.loads(last)["stage"] == "tracking" and not json.loads(last)["ok"]
    assert "disk full" in last and "/a/b" not in last and str(tmp_path) not in last
