"""``samples.csv.gz``: the raw samples of a run, a header and one row each."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from icd.contracts import Sample


def encode(samples: Iterable[Sample]) -> bytes:
    """The file's content; the same samples give the same bytes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Sample._fields)
    for sample in samples:
        writer.writerow(["" if v is None else repr(v) if isinstance(v, float) else v for v in sample])
    return gzip.compress(text.getvalue().encode(), compresslevel=6, mtime=0)


def read_samples(path: Path) -> list[Sample]:
    """The rows in the order they were written; ValueError names a line that cannot be read."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            return list(_rows(path.name, csv.reader(lines)))
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name}: {error}") from error


def _rows(name: str, lines: Iterator[list[str]]) -> Iterator[Sample]:
    if tuple(next(lines, ())) != Sample._fields:
        raise ValueError(f"{name}: expected the columns {', '.join(Sample._fields)}")
    for number, row in enumerate(lines, 2):
        try:
            arm, metric, process, allocation, round_, order, iteration, value, unit, source, *around = row
            clock, temperature = (float(cell) if cell else None for cell in around)
            yield Sample(
                arm, metric, int(process), int(allocation), int(round_), int(order), int(iteration),
                float(value), unit, source, clock, temperature,
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from error
