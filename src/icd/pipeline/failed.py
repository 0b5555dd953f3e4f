"""A run that failed once it had started: a directory that says so, with what was measured until then."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from icd import recording
from icd.errors import IcdError, MissingResource, Unforeseen
from icd.lastresort import named
from icd.pipeline.directory import Directory
from icd.pipeline.files import write_bytes, write_json
from icd.pipeline.log import RunLog

SAMPLES = "samples.csv.gz"
TRACE = "traceback.txt"


def failed(error: Exception, directory: Directory, log: RunLog) -> IcdError:
    """Record why the run failed and publish what there is; the error to be raised, with its sentence.

    ``error.json`` holds code and sentence, ``traceback.txt`` the traceback of what nothing foresaw; without
    SHA256SUMS nothing there counts as a result.
    """
    told = named(error)
    measured = (directory.folder / SAMPLES).is_file()
    recorded = True
    try:
        _record(told, directory, log, measured)
    except OSError:  # a full disk
        recorded = False
    if not recorded and not measured:
        directory.discard()
        return told
    try:
        published = directory.publish()
    except MissingResource as lost:
        return MissingResource(f"{told}; {lost}")
    if measured or isinstance(told, Unforeseen):
        what = "what was measured until then" if measured else "its traceback"
        told.args = (f"{told}; {what} is in {published}", *told.args[1:])
    return told


def _record(told: IcdError, directory: Directory, log: RunLog, measured: bool) -> None:
    message = recording.told(str(told))
    meta: dict[str, Any] = {"code": int(told.code), "message": message}
    if isinstance(told, Unforeseen):
        meta["traceback"] = TRACE
        with suppress(OSError):
            write_bytes(directory.folder / TRACE, told.trace.encode("utf-8", "backslashreplace"))
    log.write("failed", ok=False, **meta)
    write_json(directory.folder / "error.json", {**meta, **({"measured": True} if measured else {})})
