"""The other files that tell of the run: the lock in its two forms, ``run.log`` and the times in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from icd.pipeline.rollback import FOLDER
from icd.reading import Unreadable, read_json_lines, read_text, read_yaml
from icd.tools.recheck.recorded import Recorded, differ, read_json

CLOCK_S = 2.0  # by which a clock may be set while a run goes on
BEGIN_S = 300.0  # from the start of a run to the first line of its log, on a busy machine


def logged(run: Recorded) -> list[str]:
    """``config.lock.yaml`` says what ``config.lock.json`` says; ``run.log`` tells of every measuring process,
    and of what was profiled, of each measurement in turn.
    """
    import yaml

    try:
        path = run.folder / "config.lock.yaml"
        text, lock = read_text(path), read_yaml(path)
    except Unreadable as error:
        return [f"config.lock.yaml cannot be read: {error}"]
    out = differ(lock, run.lock, "config.lock.yaml")
    if not out and text != yaml.safe_dump(dict(run.lock), sort_keys=False):
        out.append("config.lock.yaml: not the text of config.lock.json: it holds a comment, or a key twice")
    lines = read_log(run)
    out += [*times(run, lines), *budgets(run, lines), *steps(run, lines), *framed(run, lines)]
    told = [[line["stage"], line["meta"]] for line in lines if line["stage"] in ("measure", "profile")]
    ncus = [run.ncu]
    if run.metrics["rollback"]["first"] is not None:
        ncus.insert(0, read_json(run.folder / FOLDER / "ncu.json"))
    asked = 1 if run.simulated else run.lock["measure"]["processes"]
    expected: list[list[Any]] = []
    for ncu in ncus:
        expected += [["measure", {"process": k, "of": asked}] for k in range(asked)]
        expected.append(["profile", {"runs": len(ncu["runs"]), "reason": ncu["reason"]}])
    return out + differ(told, expected, "run.log: measure and profile")


def read_log(run: Recorded) -> list[dict[str, Any]]:
    """The lines of ``run.log``; ValueError for one that is none."""
    lines = read_json_lines(run.folder / "run.log")
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict) or set(line) != {"ts", "stage", "ok", "meta"}:
            raise ValueError(f"run.log: line {number}: expected ts, stage, ok and meta")
        if not isinstance(line["ok"], bool) or not isinstance(line["meta"], dict):
            raise ValueError(f"run.log: line {number}: expected true or false for ok, and an object for meta")
    return lines


def times(run: Recorded, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """``created`` is when the log begins, its time stamps do not go back, and no more time went by in the
    run than between its ends. Where a machine slept, more goes by on the calendar than was counted.
    """
    stamps, created = [stamp(line["ts"]) for line in lines], stamp(run.metrics["created"])
    out = [
        f"run.log: line {k + 2}: its ts lies before that of the line above"
        for k, (a, b) in enumerate(pairwise(stamps))
        if (b - a).total_seconds() < -CLOCK_S
    ]
    late = (stamps[0] - created).total_seconds()
    if not -CLOCK_S <= late <= BEGIN_S:
        out.append(f"created: {run.metrics['created']}, and run.log begins {late:g} s after it")
    seconds, spent = lines[-1]["meta"].get("seconds", 0.0), run.metrics["elapsed_s"]
    whole = (stamps[-1] - created).total_seconds()
    if not 0 < spent <= seconds + CLOCK_S:
        out.append(f"elapsed_s: {spent:g}, and run.log ends after {seconds:g} s")
    if seconds > whole + CLOCK_S:
        out.append(f"run.log: done after {seconds:g} s, and its time stamps span {whole:g}")
    recorded = next(
        (at for at, line in zip(stamps, lines, strict=True) if line["stage"] == "record"), stamps[-1]
    )
    if spent > (recorded - created).total_seconds() + CLOCK_S:
        out.append(f"elapsed_s: {spent:g}, and run.log tells of the record before that")
    return out


def budgets(run: Recorded, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """An adaptive stop for lack of time comes after half of an allocation's share of the budget at the least:
    a cycle that would end behind it is not begun, and none takes longer than all before it.
    """
    measure = run.lock["measure"]
    least = measure["time_budget_s"] / (2 * measure["allocations"]) - CLOCK_S
    took = {  # of the last measurement, where there are two
        line["meta"].get("process"): (stamp(line["ts"]) - stamp(before["ts"])).total_seconds()
        for before, line in pairwise(lines)
        if line["stage"] == "measure"
    }
    late = [p["process"] for p in run.metrics["protocol"]["stopped"] if ended_by_time(p)]
    return [
        f"protocol.stopped: process {number} ended by time_budget, and run.log gives it {took[number]:g} of "
        f"the {measure['time_budget_s']:g} s of measure.time_budget_s"
        for number in late
        if number in took and took[number] < least
    ]


def ended_by_time(process: Mapping[str, Any]) -> bool:
    """Whether time ended an allocation of a process."""
    return any(allocation["criterion"] == "time_budget" for allocation in process["allocations"])


def stamp(text: str) -> datetime:
    """A time stamp with its zone; ValueError for any other."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r}: a time without a zone")
    return found


def steps(run: Recorded, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The log tells of every re-permutation, kept or not, as ``iterations`` does."""
    told = [[line["ok"], line["meta"].get("message")] for line in lines if line["stage"] == "re-permute"]
    found = list(run.metrics["iterations"])[1:]
    if run.metrics["rollback"]["first"] is not None:
        found = found[:-1]
    again = [[step["accepted"], step["reason"]] for step in found]
    return differ(told, again, "run.log: re-permute")


def framed(run: Recorded, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The log begins with the model and the pipeline and ends when all was done, and tells of no failure."""
    lock = run.lock
    again = {"model": run.metrics["model"]["name"], "pipeline": lock["pipeline"]["name"]}
    first = {key: lines[0]["meta"].get(key) for key in again}
    out = differ([lines[0]["stage"], first], ["start", again], "run.log: its first line")
    out += differ([lines[-1]["stage"], lines[-1]["ok"]], ["done", True], "run.log: its last line")
    for stage in ("start", "record", "done", "equivalence"):
        if sum(line["stage"] == stage for line in lines) != 1:
            out.append(f"run.log: expected one line of the stage {stage}")
    if any(line["stage"] == "failed" for line in lines):
        out.append("run.log: it tells of a failure, and the record of none")
    return out
