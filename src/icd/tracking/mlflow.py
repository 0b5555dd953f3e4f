"""``tracking=mlflow``: a sweep is a parent run, a cell its child; the run directory stays the record."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icd import errors
from icd.errors import IcdError, MissingResource
from icd.tracking.projection import SUMS, Projection, project
from icd.tracking.store import (
    PROBE,
    UPLOAD,
    brief,
    environment,
    one_at_a_time,
    patiently,
    quiet,
    shown,
)
from icd.tracking.sweep import Sweep, project_sweep

RUN_KEY = "icd.run_id"
SWEEP_KEY = "icd.sweep_id"
SWEEP_NAME = "icd.sweep"
STATE_KEY = "icd.sums"  # digest of the run's SHA256SUMS: what was logged last
PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"
METRICS_A_BATCH = 500


@dataclass(frozen=True)
class MLflow:
    """``uri``: the tracking store; ``artifacts``: folder or address of its files; ``experiment``: its name.

    ``artifacts`` applies to stores without a server; an http server keeps files where it was told to.
    """

    uri: str
    artifacts: str
    experiment: str

    def log(self, run_dir: Path) -> str | None:
        """Log a finished run, None when that went well, else a sentence that says how to log it later."""
        return _told(lambda: self.push(run_dir), f"log the run later with: icd sync {run_dir}")

    def log_sweep(self, folder: Path) -> str | None:
        """Log what a sweep decided into its parent run; None when that went well, else a sentence."""
        return _told(lambda: self.push_sweep(folder), f"log the sweep later with: icd sync {folder}")

    def push(self, run_dir: Path) -> str:
        """Log a finished run and say what was done; a run that is there already is brought up to date.

        Raises MissingResource without MLflow or when its store does not answer, ConfigError when
        ``run_dir`` is not a finished run.
        """
        cell = project(run_dir)
        state = _digest(run_dir / SUMS)
        return self._patiently(lambda client, experiment: _write(client, experiment, cell, state))

    def push_sweep(self, folder: Path) -> str:
        """Log ``sweep.json`` into the sweep's parent run; MissingResource as `push` raises it."""
        sweep = project_sweep(folder)
        return self._patiently(lambda client, experiment: _write_sweep(client, experiment, sweep))

    def _patiently(self, write: Callable[[Any, str], str]) -> str:
        """``write(client, experiment id)`` while no other process writes."""
        if importlib.util.find_spec("mlflow") is None:
            raise MissingResource("MLflow is not installed")
        import requests
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError

        with environment({**PROBE, "MLFLOW_RUN_ID": None}), quiet():  # MLflow sets its levels on import
            try:
                with one_at_a_time(self.uri):
                    client = patiently(lambda: MlflowClient(tracking_uri=self.uri, registry_uri=self.uri))
                    experiment = patiently(lambda: self._experiment(client))
                    with environment(UPLOAD):
                        return patiently(lambda: write(client, experiment))
            except (MlflowException, SQLAlchemyError, requests.RequestException, OSError) as error:
                raise MissingResource(
                    f"MLflow at {shown(self.uri)} did not take the run ({brief(error, self.uri)})"
                ) from error

    def _experiment(self, client: Any) -> str:
        """The experiment's id; it is created with an explicit place for files."""
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return str(client.create_experiment(self.experiment, artifact_location=self._location()))
            except MlflowException:  # another process was faster
                found = client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _location(self) -> str | None:
        """Where files go; None leaves it to an http server."""
        if "://" in self.artifacts:
            return self.artifacts
        if self.uri.startswith(("http://", "https://")):
            return None
        return Path(self.artifacts).resolve().as_uri()


def _told(push: Callable[[], str], later: str) -> str | None:
    """None when ``push`` went well, else why it did not: a run is finished whatever its projection meets."""
    try:
        push()
    except Exception as error:  # noqa: BLE001 - said in a sentence, recorded, and left to icd sync
        why = (
            str(error)
            if isinstance(error, IcdError)
            else f"MLflow failed ({type(error).__name__}: {errors.brief(error)})"
        )
        return f"{why}; {later}"
    return None


def _write(client: Any, experiment: str, cell: Projection, state: str) -> str:
    """Find or create the cell's run and its sweep's, and bring the cell's up to date."""
    run = _find(client, experiment, RUN_KEY, cell.run_id)
    if run is not None and run.data.tags.get(STATE_KEY) == state and run.info.status == "FINISHED":
        return f"{cell.name}: already in MLflow"
    tags = {**cell.tags, NAME_TAG: cell.name}
    if cell.sweep is not None and cell.sweep_id is not None:
        named = {NAME_TAG: cell.sweep, SWEEP_NAME: cell.sweep}
        parent = _find_or_create(client, experiment, SWEEP_KEY, cell.sweep_id, named, cell.time_ms)
        client.set_terminated(parent.info.run_id, "FINISHED", max(cell.end_ms, parent.info.end_time or 0))
        tags |= {PARENT_TAG: parent.info.run_id, "icd.cell_of": cell.sweep}
    new = run is None
    if run is None:
        run = _find_or_create(client, experiment, RUN_KEY, cell.run_id, tags, cell.time_ms)
    _log_values(client, run, cell, tags)
    for file in cell.files:
        client.log_artifact(run.info.run_id, str(file), "plots" if file.parent.name == "plots" else None)
    client.set_tag(run.info.run_id, STATE_KEY, state)
    client.set_terminated(run.info.run_id, "FINISHED", cell.end_ms)
    return f"{cell.name}: {'logged to' if new else 'brought up to date in'} MLflow"


def _write_sweep(client: Any, experiment: str, sweep: Sweep) -> str:
    """Bring the sweep's parent run up to date."""
    from mlflow.entities import Metric, RunTag

    named = {NAME_TAG: sweep.name, SWEEP_NAME: sweep.name}
    parent = _find_or_create(client, experiment, SWEEP_KEY, sweep.id, named, sweep.time_ms)
    client.log_batch(
        parent.info.run_id,
        metrics=[Metric(k, v, sweep.time_ms, 0) for k, v in sweep.metrics.items()],
        tags=[RunTag(k, v) for k, v in sweep.tags.items()],
    )
    client.log_artifact(parent.info.run_id, str(sweep.file))
    client.set_terminated(parent.info.run_id, "FINISHED", max(sweep.time_ms, parent.info.end_time or 0))
    return f"{sweep.name}: decisions of the sweep logged to MLflow"


def _log_values(client: Any, run: Any, cell: Projection, tags: dict[str, str]) -> None:
    """Values that the run does not have yet; params are immutable in MLflow and stay as first logged."""
    from mlflow.entities import Metric, Param, RunTag

    known = run.data
    params = [Param(k, v) for k, v in cell.params.items() if k not in known.params]
    metrics = [Metric(k, v, cell.time_ms, 0) for k, v in cell.metrics.items() if known.metrics.get(k) != v]
    labels = [RunTag(k, v) for k, v in tags.items() if known.tags.get(k) != v]
    client.log_batch(run.info.run_id, metrics=metrics[:METRICS_A_BATCH], params=params, tags=labels)
    for start in range(METRICS_A_BATCH, len(metrics), METRICS_A_BATCH):
        client.log_batch(run.info.run_id, metrics=metrics[start : start + METRICS_A_BATCH])


def _find(client: Any, experiment: str, key: str, value: str) -> Any | None:
    """The oldest run with this tag; ties go by run id, so that every process picks the same."""
    quoted = value.replace("'", "")
    found = client.search_runs([experiment], f"tags.`{key}` = '{quoted}'", max_results=100)
    return min(found, key=lambda r: (r.info.start_time, r.info.run_id), default=None)


def _find_or_create(
    client: Any, experiment: str, key: str, value: str, tags: dict[str, str], time_ms: int
) -> Any:
    """One run a tag value, also when several processes create it at once: the oldest stays."""
    found = _find(client, experiment, key, value)
    if found is not None:
        return found
    mine = client.create_run(experiment, start_time=time_ms, tags={**tags, key: value.replace("'", "")})
    oldest = _find(client, experiment, key, value) or mine
    if oldest.info.run_id != mine.info.run_id:
        client.delete_run(mine.info.run_id)
    return oldest


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
