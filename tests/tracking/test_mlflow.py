"""Runs in a real SQLite store: nothing is lost, nothing is there twice, no failure reaches the run."""

from __future__ import annotations

import copy
import json
import logging
import multiprocessing
import os
import sys
import time
from pathlib import Path

import pytest

from icd.errors import MissingResource
from icd.ledger import read_plan, write_plan
from icd.report.html import write_html
from icd.tracking.mlflow import MLflow
from icd.tracking.store import environment, one_at_a_time, patiently
from tests.report.build import metrics, sums, write_run


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """A store with tables and nothing in them; creating one takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    run = write_run(folder / "run", metrics())
    tracking(folder).push(run)
    client(folder).delete_run(cells(folder)[0].info.run_id)
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path, empty_store) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    return folder


def tracking(folder: Path) -> MLflow:
    return MLflow(
        uri=f"sqlite:///{folder / 'mlflow.db'}", artifacts=str(folder / "mlartifacts"), experiment="icd"
    )


def client(folder: Path):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


def cells(folder: Path, where: str = "") -> list:
    found = client(folder)
    return list(found.search_runs([found.get_experiment_by_name("icd").experiment_id], where))


def run_named(folder: Path, name: str, run_id: str) -> Path:
    record = copy.deepcopy(metrics())
    record["run_id"] = run_id
    return write_run(folder / name, record)


def test_a_run_is_logged_with_params_metrics_tags_and_files(tmp_path, store):
    run = write_run(tmp_path / "run", metrics())
    write_html(run)
    assert tracking(store).log(run) is None
    (found,) = cells(store)
    assert found.info.status == "FINISHED"
    assert found.info.end_time - found.info.start_time == 12_500
    assert found.data.params["model"] == "tiny"
    assert found.data.metrics["latency.delta_pct"] == -20.0
    assert found.data.tags["icd.verdict"] == "WIN"
    files = {f.path for f in client(store).list_artifacts(found.info.run_id)}
    assert files == {"report.html", "config.lock.yaml", "metrics.json", "env.json", "plots"}


def test_logging_twice_leaves_one_run(tmp_path, store):
    run = write_run(tmp_path / "run", metrics())
    assert "logged to MLflow" in tracking(store).push(run)
    assert "already" in tracking(store).push(run)
    assert len(cells(store)) == 1


def test_a_changed_report_is_brought_up_to_date(tmp_path, store):
    run = write_run(tmp_path / "run", metrics())
    tracking(store).push(run)
    write_html(run)
    sums(run)
    assert "brought up to date" in tracking(store).push(run)
    (found,) = cells(store)
    assert "report.html" in {f.path for f in client(store).list_artifacts(found.info.run_id)}
    assert len(client(store).get_metric_history(found.info.run_id, "latency.delta_pct")) == 1


def test_cells_are_children_of_their_sweep(tmp_path, store):
    sweep = tmp_path / "my-sweep"
    runs = [run_named(sweep, str(i), f"id{i}") for i in range(2)]
    (sweep / "multirun.yaml").touch()
    for run in runs:
        tracking(store).push(run)
    (parent,) = cells(store, "tags.`icd.sweep` = 'my-sweep'")
    children = cells(store, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {c.data.tags["icd.run_id"] for c in children} == {"id0", "id1"}
    assert len(cells(store)) == 3


def test_two_sweeps_of_one_name_have_a_parent_each_and_syncing_twice_adds_none(tmp_path, store):
    sweeps = [tmp_path / place / "sweep" for place in "ab"]
    for sweep in sweeps:
        write_plan(sweep, ["0", "1"])
        runs = [run_named(sweep, str(i), f"{sweep.parent.name}{i}") for i in range(2)]
        for run in (*runs, *runs):
            tracking(store).push(run)
    parents = cells(store, "tags.`icd.sweep` = 'sweep'")
    assert {p.data.tags["icd.sweep_id"] for p in parents} == {read_plan(s).sweep for s in sweeps}
    found = {
        frozenset(
            c.data.tags["icd.run_id"] for c in cells(store, f"tags.`mlflow.parentRunId` = '{p.info.run_id}'")
        )
        for p in parents
    }
    assert found == {frozenset({"a0", "a1"}), frozenset({"b0", "b1"})} and len(cells(store)) == 6


def test_without_mlflow_the_run_completes_with_a_sentence(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", metrics())
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said = tracking(tmp_path).log(run)
    assert said == f"MLflow is not installed; log the run later with: icd sync {run}"
    with pytest.raises(MissingResource):
        tracking(tmp_path).push(run)


def test_a_dead_server_costs_seconds_and_a_sentence(tmp_path):
    run = write_run(tmp_path / "run", metrics())
    start = time.monotonic()
    said = MLflow(uri="http://user:secret@127.0.0.1:9", artifacts="x", experiment="icd").log(run)
    assert time.monotonic() - start < 20
    assert "icd sync" in said
    assert said.startswith("MLflow at http://127.0.0.1:9 did not take the run (the server does not answer)")
    assert "\n" not in said


def test_a_broken_database_costs_a_sentence(tmp_path):
    run = write_run(tmp_path / "run", metrics())
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    said = tracking(tmp_path).log(run)
    assert "did not take the run" in said
    assert "icd sync" in said


def test_environment_and_loggers_are_as_before(tmp_path, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "of another program")
    run = write_run(tmp_path / "run", metrics())
    import mlflow  # noqa: F401  (its import sets the levels)

    before = logging.getLogger("mlflow").level
    assert tracking(store).log(run) is None
    assert os.environ["MLFLOW_RUN_ID"] == "of another program"
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
    assert logging.getLogger("mlflow").level == before


def _push(store: str, run: str) -> None:
    tracking(Path(store)).push(Path(run))


def test_processes_that_log_at_once_lose_nothing_and_share_one_parent(tmp_path):
    sweep, store = tmp_path / "sweep", tmp_path / "store"
    runs = [run_named(sweep, str(i), f"id{i}") for i in range(3)]
    (sweep / "ledger.jsonl").touch()
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_push, args=(str(store), str(run))) for run in runs]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [w.exitcode for w in writers] == [0, 0, 0]
    (parent,) = cells(store, "tags.`icd.sweep` = 'sweep'")
    children = cells(store, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert len(children) == 3


def test_a_locked_database_is_tried_again():
    from mlflow.exceptions import MlflowException

    calls = []

    def call() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise MlflowException("(sqlite3.OperationalError) database is locked")
        return "done"

    assert patiently(call, pause=0.001) == "done"
    with pytest.raises(MlflowException, match="no such table"):
        patiently(lambda: (_ for _ in ()).throw(MlflowException("no such table")), pause=0.001)


def test_helpers_restore_what_they_change(tmp_path):
    with environment({"ICD_TEST_A": "1", "PATH": None}):
        assert os.environ["ICD_TEST_A"] == "1"
        assert "PATH" not in os.environ
    assert "ICD_TEST_A" not in os.environ
    assert "PATH" in os.environ
    with one_at_a_time("http://somewhere"), one_at_a_time(f"sqlite:///{tmp_path / 'a.db'}"):
        pass


def test_what_a_sweep_decided_goes_into_its_parent_run(store):
    sweep = store / "2026-01-02" / "10-00-00-sweep"
    sweep.mkdir(parents=True)
    (sweep / "multirun.yaml").touch()
    for name in ("a", "b"):
        tracking(store).push(write_run(sweep / name, {**copy.deepcopy(metrics()), "run_id": name}))
    gate = {
        "size": 2,
        "passed": 1,
        "cells": {"a": {"own": True, "pass": True}, "b": {"own": True, "pass": False}},
    }
    untested = {"size": 0, "passed": 0, "cells": {}}
    record = {"cells": {"a": "a", "b": "b"}, "gates": {"smoke": gate, "mock": untested}}
    (sweep / "sweep.json").write_text(json.dumps(record))
    assert tracking(store).log_sweep(sweep) is None
    assert tracking(store).log_sweep(sweep) is None  # again changes nothing
    parents = cells(store, "tags.`icd.sweep` = '2026-01-02/10-00-00-sweep'")
    assert len(parents) == 1
    assert parents[0].data.metrics == {
        "sweep.cells": 2.0,
        "family.smoke.tests": 2.0,
        "family.smoke.passed_alone": 2.0,
        "family.smoke.passed": 1.0,
    }
    assert parents[0].data.tags["icd.family.smoke"] == "a"
    files = client(store).list_artifacts(parents[0].info.run_id)
    assert [f.path for f in files] == ["sweep.json"]


def test_a_sweep_without_mlflow_is_told_how_to_log_it_later(tmp_path, monkeypatch):
    (tmp_path / "sweep.json").write_text('{"cells": {}, "gates": {}}')
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "icd sync" in tracking(tmp_path).log_sweep(tmp_path)
