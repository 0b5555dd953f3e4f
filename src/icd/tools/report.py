"""``icd report [--without-graphs] RUN...``: write report.html and report.csv of finished runs again, and
their checksums.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from icd.errors import ConfigError, Exit, MissingResource, VerificationError
from icd.pipeline.files import SUMS, check_sums, write_sums
from icd.report.csv import NAME, content
from icd.report.folder import load
from icd.report.html import drawn_files, write_files
from icd.tools.damaged import no_links, readable

WITHOUT = "--without-graphs"  # for an archive that leaves out W: the report then lacks its pictures


def main(argv: Sequence[str]) -> int:
    """Write the reports of the run directories named; none is touched when one of them is not finished."""
    may_lack = "W" if WITHOUT in argv else None
    words = [word for word in argv if word != WITHOUT]
    if not words or any(word.startswith("-") for word in words):
        raise ConfigError(f"usage: icd report [{WITHOUT}] RUN...; expected one or more run directories")
    folders = [finished(Path(word)) for word in words]
    for folder in folders:
        unchanged(folder, may_lack)
    files = {folder: drawn(folder) for folder in folders}
    for folder in folders:
        write_files(folder, files[folder])
        write_sums(folder, may_lack)
        print(folder / "report.html")
    return int(Exit.DONE)


def drawn(folder: Path) -> dict[Path, bytes]:
    """What is to be written, by name; VerificationError where the record cannot be read."""
    with readable(folder):
        return {Path(NAME): content(load(folder).metrics), **drawn_files(folder)}


def unchanged(folder: Path, may_lack: str | None = None) -> None:
    """VerificationError where the record differs from its sums: new sums would hide it."""
    no_links(folder)
    other = [p for p in check_sums(folder, may_lack) if not p.startswith(("report.", "plots/"))]
    if other:
        only = all(p.startswith("W/") and p.endswith("missing") for p in other)
        remedy = f" (of an archive without its graphs, {WITHOUT} writes it)" if only else ""
        raise VerificationError(f"{folder}: {other[0]}; its report is not written again{remedy}")


def finished(folder: Path) -> Path:
    """``folder`` if it holds a finished run; MissingResource says what it is instead."""
    if not folder.is_dir():
        raise MissingResource(f"{folder}: there is no such run directory")
    if not (folder / SUMS).is_file() or not (folder / "metrics.json").is_file():
        raise MissingResource(f"{folder}: not a finished run ({SUMS} or metrics.json is missing)")
    return folder
