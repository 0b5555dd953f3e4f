"""One run: prepare, measure in fresh processes, derive, judge, record; the parent of all children.

Everything is written into a hidden folder beside the run directory, which takes the run directory's name
in one rename when the last file is there. Whoever sees a run directory with ``SHA256SUMS`` sees a
finished run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from icd.claims import temporary
from icd.errors import Exit
from icd.measure.environment import environment
from icd.pipeline.arms import Prepared
from icd.pipeline.console import Console
from icd.pipeline.directory import LOG, claim
from icd.pipeline.experiment import Experiment
from icd.pipeline.failed import failed
from icd.pipeline.files import jsonable, write_bytes, write_json, write_sums
from icd.pipeline.isolate import run_child
from icd.pipeline.log import RunLog
from icd.pipeline.measurement import Measurement, measure_arms
from icd.pipeline.record import build_metrics, figures
from icd.pipeline.rollback import reason, rolled_back
from icd.pipeline.write import write_first, write_measured
from icd.recording import recorded
from icd.report.csv import write_csv
from icd.report.html import write_html
from icd.report.words import verdict
from icd.stats.gates import name_in_record
from icd.stats.rollback import decide

TEMPORARY = "icd-"  # prefix of the folder that a run's processes share


def run(experiment: Experiment, run_dir: Path, choices: Mapping[str, str], another_name: bool = False) -> int:
    """Run ``experiment`` into ``run_dir`` (absent or empty) and return its exit code.

    ``choices`` (group -> name) go into the lock, so that `icd rerun` can compose the same again;
    ``another_name``: where another run took ``run_dir``, its name with a number serves.

    Raises `IcdError` when the run could not be finished; then the run directory holds ``run.log``,
    ``error.json``, the configuration and the samples that were measured, and no result.
    """
    directory = claim(run_dir, another_name)
    log = RunLog(directory.folder / LOG)
    console = Console()
    try:
        with temporary(TEMPORARY) as work:
            write_lock(directory.folder, experiment, choices)
            metrics = _execute(experiment, directory.folder, work, log, console)
    except Exception as error:
        raise failed(error, directory, log) from error
    except BaseException:  # interrupted
        directory.discard()
        raise
    finally:
        console.close()
    published = directory.publish()
    said = verdict(metrics)
    console.say(said.sentences[0] if said.word == "SIMULATED" else f"{said.word}: {said.sentences[0]}")
    console.say(f"report: {published / 'report.html'}")
    track(experiment, published, console)
    return judged(experiment, metrics, console)


def track(experiment: Experiment, folder: Path, console: Console) -> None:
    """Log a finished run; a store that did not take it is told of, recorded, and fails no run."""
    note = experiment.tracking.log(folder)
    if note:
        console.say(note)
        RunLog(folder / LOG).write("tracking", ok=False, reason=note)
        write_sums(folder)


def _execute(
    experiment: Experiment, folder: Path, work: Path, log: RunLog, console: Console
) -> dict[str, Any]:
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    start = time.perf_counter()
    env = environment()
    write_json(folder / "env.json", env)
    log.write("start", model=experiment.model.name, pipeline=experiment.pipeline.name)

    def listen(event: dict[str, Any]) -> None:
        console.hear(event)
        if event["event"] in ("stage", "notice"):
            what = event.get("what", "notice")
            log.write(what, **{k: v for k, v in event.items() if k not in ("event", "what")})

    prepared: Prepared = run_child("prepare", {"experiment": experiment, "folder": work}, work, listen)

    def measured(arms: Prepared, name: str) -> tuple[Measurement, dict[str, Any]]:
        (work / name).mkdir()  # nothing that an earlier child wrote can be taken for a later one's
        keep = partial(write_measured, folder)
        taken = measure_arms(experiment, arms, work / name, listen, console, log.write, keep)
        keep(taken)
        return taken, figures(taken, experiment.measure.l2_compared)

    taken, found = measured(prepared, "first")
    decision = decide(
        found["compare"],
        prepared.facts["iterations"],
        prepared.facts["device"],
        enabled=experiment.pipeline.rollback,
    )
    env["measured"] = taken.environment()
    first = None
    if decision["triggered"]:
        listen({"event": "notice", "message": f"{reason(decision)}; measuring the layout before it again"})
        first, env["measured_before_rollback"] = taken, taken.environment()
        write_first(folder, first)
        taken, found = measured(rolled_back(prepared, decision), "again")
        env["measured"] = taken.environment()
    write_json(folder / "env.json", env)
    metrics = build_metrics(
        experiment,
        taken,
        found,
        decision=decision,
        first=first,
        machine=env,
        run_id=uuid4().hex,
        created=created,
    )
    gates = {**experiment.gates, asked_gate(experiment): experiment.gate}
    metrics["gates"] = {
        name: {**gate.evaluate(metrics), "spec": asdict(gate)}
        for name, gate in gates.items()
        if name != "none"
    }
    metrics["elapsed_s"] = time.perf_counter() - start
    write_json(folder / "metrics.json", metrics)
    log.write("record", files=len(list(folder.iterdir())))
    write_csv(folder)
    write_html(folder)
    log.write("done", seconds=round(time.perf_counter() - start, 1))
    write_sums(folder)
    return metrics


def write_lock(folder: Path, experiment: Experiment, choices: Mapping[str, str]) -> None:
    """The resolved configuration as YAML and JSON, as `icd.recording` tells it."""
    import yaml

    lock = jsonable({**recorded(experiment.lock), "choices": dict(choices)})
    write_json(folder / "config.lock.json", lock)
    write_bytes(folder / "config.lock.yaml", yaml.safe_dump(lock, sort_keys=False).encode())


def asked_gate(experiment: Experiment) -> str:
    """The name, in the record, of the gate that decides the exit code."""
    published = experiment.gates.get(experiment.gate.name)
    return name_in_record(asdict(experiment.gate), asdict(published) if published else None)


def judged(experiment: Experiment, metrics: dict[str, Any], console: Console) -> int:
    """The exit code that the asked gate decides: 0 passed or none asked, 1 failed, 3 a figure is missing."""
    name = asked_gate(experiment)
    if name == "none":
        return int(Exit.DONE)
    result = metrics["gates"][name]
    if result["pass"]:
        console.say(f"gate {name}: passed")
        return int(Exit.DONE)
    why = "; ".join(f"{c['name']}: {c['reason']}" for c in result["checks"] if not c["pass"])
    console.say(f"gate {name}: {'failed' if result['pass'] is False else 'undecided'} ({why})")
    return int(Exit.GATE_FAILED if result["pass"] is False else Exit.MISSING_RESOURCE)
