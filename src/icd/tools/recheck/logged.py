"""The other files that tell of the run: the lock in its two forms, and ``run.log``."""

from __future__ import annotations

import json
from typing import Any

from icd.pipeline.rollback import FOLDER
from icd.tools.recheck.recorded import Recorded, differ, read_json


def logged(run: Recorded) -> list[str]:
    """``config.lock.yaml`` says what ``config.lock.json`` says; ``run.log`` tells of every measuring process,
    and of what was profiled, of each measurement in turn.
    """
    import yaml

    try:
        text = (run.folder / "config.lock.yaml").read_text("utf-8")
        lock = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"config.lock.yaml cannot be read: {str(error).splitlines()[0]}"]
    out = differ(lock, run.lock, "config.lock.yaml")
    lines = [json.loads(line) for line in (run.folder / "run.log").read_text("utf-8").splitlines()]
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
