"""``samples.csv.gz``: the raw samples of a run, a header and one row each."""

from __future__ import annotations

import csv
import gzip
import io
import math
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from icd.contracts import Sample
from icd.reading import MIB, Unreadable, lines_of, open_regular, spelled

MOST_ROWS = 4_000_000  # some 250 bytes of memory each
MOST_BYTES = 512 * MIB  # unpacked


def encode(samples: Iterable[Sample]) -> bytes:
    """The file's content; the same samples give the same bytes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Sample._fields)
    for sample in samples:
        writer.writerow(["" if v is None else repr(v) if isinstance(v, float) else v for v in sample])
    return gzip.compress(text.getvalue().encode(), compresslevel=6, mtime=0)


def read_samples(path: Path) -> list[Sample]:
    """The rows in the order they were written; ValueError names a line that cannot be read, or a limit."""
    try:
        with open_regular(path) as packed:
            with gzip.GzipFile(fileobj=packed) as file:
                _check_size(path.name, file)
            packed.seek(0)
            file = gzip.GzipFile(fileobj=packed)
            return list(_rows(path.name, csv.reader(_lines(path.name, file))))
    except (zlib.error, EOFError, gzip.BadGzipFile, csv.Error) as error:
        raise Unreadable(f"{path.name}: {error}") from error


def _check_size(name: str, file: gzip.GzipFile) -> None:
    """Unreadable beyond the limits; unpacking costs little beside reading the rows, and nothing is kept."""
    size = rows = 0
    while part := file.read(MIB):
        size, rows = size + len(part), rows + part.count(b"\n")
        if size > MOST_BYTES:
            raise Unreadable(f"{name}: expected at most {spelled(MOST_BYTES)} unpacked, it holds more")
        if rows > MOST_ROWS + 1:
            raise Unreadable(f"{name}: expected at most {MOST_ROWS:,} samples, it holds more")


def _lines(name: str, file: gzip.GzipFile) -> Iterator[str]:
    """Lines as text."""
    for number, line in lines_of(io.BufferedReader(file), name):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unreadable(f"{name}, line {number}: not UTF-8") from error


def _rows(name: str, lines: Iterator[list[str]]) -> Iterator[Sample]:
    if tuple(next(lines, ())) != Sample._fields:
        raise Unreadable(f"{name}: expected the columns {', '.join(Sample._fields)}")
    kept = sys.intern  # a few words make up all the texts of a file
    for number, row in enumerate(lines, 2):
        try:
            arm, metric, process, allocation, round_, order, iteration, value, unit, source, *around = row
            clock, temperature = (_number(cell) if cell else None for cell in around)
            yield Sample(
                kept(arm), kept(metric), _count(process), _count(allocation), _count(round_), _count(order),
                _count(iteration), _number(value), kept(unit), kept(source), clock, temperature,
            )  # fmt: skip
        except ValueError as error:
            raise Unreadable(f"{name}, line {number}: {error}") from error


def _number(cell: str) -> float:
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(f"{cell} is no figure; a sample that is not there has no row")
    return value


def _count(cell: str) -> int:
    if not cell.isdecimal() or len(cell) > 9:
        raise ValueError(f"{cell[:20]!r}: expected a whole number of at most nine digits")
    return int(cell)
