"""The other files that tell of the run: the lock in its two forms, and ``run.log``."""

from __future__ import annotations

from typing import Any

from icd.pipeline.rollback import FOLDER
from icd.reading import Unreadable, read_json_lines, read_yaml
from icd.tools.recheck.recorded import Recorded, differ, read_json


def logged(run: Recorded) -> list[str]:
    """``config.lock.yaml`` says what ``config.lock.json`` says; ``run.log`` tells of every measuring process,
    and of what was profiled, of each measurement in turn.
    """
    try:
        lock = read_yaml(run.folder / "config.lock.yaml")
    except Unreadable as error:
        return [f"config.lock.yaml cannot be read: {error}"]
    out = differ(lock, run.lock, "config.lock.yaml")
    lines = read_json_lines(run.folder / "run.log")
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
