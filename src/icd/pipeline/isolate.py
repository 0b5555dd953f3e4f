"""Fresh child processes: everything that needs torch, or is timed, runs in one; the parent waits.

The parent writes a job, starts ``python -m icd.pipeline.isolate JOB`` and blocks reading the child's
standard output, a line of JSON for each event. The child leaves a pickled result, or an error with its
exit code. The parent never imports a framework and never spins while something is timed.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from icd.errors import BY_CODE, Exit, IcdError, MeasurementError, Unforeseen, without_paths
from icd.lastresort import told, trace
from icd.pipeline.attend import Late, attend, end_group, ending
from icd.pipeline.lifeline import hold_on, lifeline
from icd.pipeline.warned import tell_warnings

Listener = Callable[[dict[str, Any]], None]
QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTHONUNBUFFERED": "1",
}
# How a thread of OpenMP (GNU's, which torch brings on Linux) waits for the others. By default it spins for
# milliseconds: where anything else wants a core, it spins while the one it waits for is not running, and a
# forward takes 3 to 60 times as long. Where things are timed it spins so long that an idle machine is as fast
# as by default; elsewhere it sleeps at once.
PATIENCE = {"prepare": {"OMP_WAIT_POLICY": "PASSIVE"}, "measure": {"GOMP_SPINCOUNT": "10000"}}
PLAIN_NUMBERS = {"LC_ALL": "C"}  # of a profiler, which writes them as the locale says
LAST = 3  # lines of a child without a result that go into the message
BEGIN_S = 600.0  # until its packages are imported; with too little address space OpenBLAS never ends that
GRACE_S = {"profile": 120.0}  # to end in once the result is there; a profiler still writes what it counted
GRACE_OTHERS_S = 5.0  # a process or thread that a user's code started may keep it from ending
BEGUN, LEFT = "begun", "left"  # events of the child about itself


def run_child(
    stage: str,
    arguments: dict[str, Any],
    folder: Path,
    listen: Listener,
    *,
    prefix: Sequence[str] = (),
    timeout_s: float | None = None,
) -> Any:
    """Run ``stage`` (``prepare``, ``measure`` or ``profile``) in a fresh process and return its result.

    ``folder`` is private to the run; ``prefix``: words of a command that starts the child for us (a
    profiler), in the locale C; after ``timeout_s`` it is ended with all that it started. An `IcdError` of the
    child is raised here with its code; a child that dies raises `MeasurementError` with the last lines that
    it wrote.
    """
    job = folder / f"{stage}-{arguments.get('process', 0)}.job"
    job.with_suffix(".result").unlink(missing_ok=True)  # of an attempt that was ended when it was late
    job.write_bytes(pickle.dumps({"stage": stage, **arguments}))
    log = job.with_suffix(".stderr")
    said: deque[str] = deque(maxlen=LAST)
    watch = Watch(stage, timeout_s)
    with log.open("wb") as stderr, lifeline() as (line, holding):
        child = subprocess.Popen(
            [*prefix, sys.executable, "-m", "icd.pipeline.isolate", str(job)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**surroundings(stage, os.environ, profiled=bool(prefix)), **holding},
            pass_fds=(line,),
            start_new_session=True,
        )
        late = False
        try:
            attend(child, lambda heard: _hear(heard, listen, said, watch), watch.limit)
        except Late:
            late = True
        finally:
            if child.returncode is None:  # late, interrupted, or an event could not be handled
                end_group(child)
                child.wait()
    if late and (prefix or not job.with_suffix(".result").is_file()):
        raise MeasurementError(f"the {stage} process was ended after {watch.allowed:g} s{watch.doing}")
    return _result(job, log, stage, child.returncode, said)


class Watch:
    """Until when a child may go on: it has to begin, to end in time, and to end once its result is there."""

    def __init__(self, stage: str, timeout_s: float | None) -> None:
        self.grace_s, self.timeout_s = GRACE_S.get(stage, GRACE_OTHERS_S), timeout_s
        self.since, self.begun = time.monotonic(), False
        self.allowed: float = BEGIN_S if timeout_s is None else timeout_s

    def event(self, name: str) -> None:
        """The child began (any event says so), or left its result."""
        self.begun = True
        if name == LEFT:
            self.since, self.allowed = time.monotonic(), self.grace_s
        elif self.timeout_s is None:
            self.allowed = math.inf

    def limit(self) -> float | None:
        """When its time is up, by `time.monotonic`; None for never."""
        return None if math.isinf(self.allowed) else self.since + self.allowed

    @property
    def doing(self) -> str:
        """What it was at, where it never began."""
        return "" if self.begun or self.timeout_s is not None else " in which it did not import its packages"


def surroundings(stage: str, ours: Mapping[str, str], *, profiled: bool = False) -> dict[str, str]:
    """Environment variables of a child of a process with ``ours``; the user may say how threads wait."""
    asked = any(name in ours for waits in PATIENCE.values() for name in waits)
    waits = {} if asked else PATIENCE.get(stage, {})
    return {**QUIET, **waits, **ours, **(PLAIN_NUMBERS if profiled else {})}


def _hear(line: bytes, listen: Listener, said: deque[str], watch: Watch) -> None:
    """An event goes to ``listen`` or ``watch``; what a library or a profiler printed is kept in ``said``."""
    try:
        event = json.loads(line)
    except ValueError:
        event = line.decode("utf-8", "replace").strip()
    if isinstance(event, dict) and "event" in event:
        watch.event(event["event"])
        if event["event"] not in (BEGUN, LEFT):
            listen(event)
    elif event:
        said.append(str(event))


def _result(job: Path, log: Path, stage: str, code: int, said: Sequence[str] = ()) -> Any:
    result = job.with_suffix(".result")
    if not result.is_file():
        wrote = log.read_text("utf-8", "replace").strip().splitlines()
        tail = " | ".join([*wrote, *said][-LAST:])
        last = f"it last wrote: {tail}" if tail else "it wrote nothing"
        raise MeasurementError(without_paths(f"the {stage} process {ending(code)} and no result; {last}"))
    # written by this package's own child a moment ago, in a folder that only this run uses
    kind, value = pickle.loads(result.read_bytes())
    result.unlink()
    job.unlink()
    if kind == "error":
        if value.get("unforeseen"):
            raise Unforeseen(value["message"], value["traceback"])
        error = BY_CODE.get(value["code"], MeasurementError)(value["message"])
        error.__cause__ = RuntimeError(value["traceback"])
        raise error
    return value


def main(job_path: str) -> int:
    """The child's side: run the job's stage, leave its result beside the job."""
    job = Path(job_path)
    arguments = pickle.loads(job.read_bytes())
    stage = arguments.pop("stage")
    outcome: tuple[str, Any]
    try:
        run = _stage(stage)
        tell(BEGUN)
        outcome = ("ok", run(tell=tell, **arguments))
    except IcdError as error:
        outcome = ("error", _describe(error, int(error.code), str(error)))
    except MemoryError as error:
        outcome = (
            "error",
            _describe(error, Exit.MEASUREMENT_FAILED, f"the {stage} process ran out of memory"),
        )
    except Exception as error:  # noqa: BLE001 - the boundary of a process: the cause travels to the parent
        traceback.print_exc()
        text = f"the {stage} process failed: {told(error)}"
        described = _describe(error, Exit.MEASUREMENT_FAILED, text)
        outcome = ("error", {**described, "unforeseen": True, "traceback": trace(error)})
    temporary = job.with_suffix(".tmp")
    temporary.write_bytes(pickle.dumps(outcome))
    temporary.replace(job.with_suffix(".result"))
    tell(LEFT)
    return 0


def _describe(error: BaseException, code: int, message: str) -> dict[str, Any]:
    return {"code": int(code), "message": message, "traceback": "".join(traceback.format_exception(error))}


def _stage(name: str) -> Callable[..., Any]:
    if name == "prepare":
        from icd.pipeline.prepare import prepare

        return prepare
    if name == "measure":
        from icd.pipeline.measuring import measure

        return measure
    if name == "profile":
        from icd.pipeline.profiled import profile

        return profile
    raise ValueError(f"no stage {name!r}")


def tell(event: str, **fields: Any) -> None:
    """One event to the parent, on a line of its own whatever was printed before."""
    sys.__stdout__.write("\n" + json.dumps({"event": event, **fields}) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


def serve(job: str) -> int:
    """The child's whole life: bound to its parent's, with warnings and output that go to it."""
    hold_on()
    for stream in (sys.stdout, sys.stderr):  # what a user's code prints is nothing that a run could fail of
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    tell_warnings(tell)
    return main(job)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1]))
