"""Recorded traces: JSON lines ``{"src": int, "dst": int, "w": number}``, or a sparse matrix as npz.

A line says that row ``src`` was read and then row ``dst``, ``w`` times (1 where it is left out); the order
of the lines is the order of the reads. A matrix has no order and no direction: it is symmetrised, (A +
A^T) / 2, and read row by row, half of each weight each way.
"""

from __future__ import annotations

import json
import math
import os
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from icd.archives import MOST_ENTRIES, read_square
from icd.contracts import Accesses
from icd.errors import ConfigError, MissingResource
from icd.reading import MIB, Unreadable, lines_of, open_regular, spelled

MAX_ROWS = 1 << 17  # layouts of larger tables take more memory and time than a run should
MOST_BYTES = 2048 * MIB  # of JSON lines
LEAST, MOST = 1e-290, 1e290  # of a weight: sums stay finite, and halves exact
EXPECTED = 'expected {"src": int, "dst": int} or {"src": int, "dst": int, "w": number}'


def locate(file: str) -> Path:
    """The trace ``file``, as it is or below ICD_DATA_DIR; MissingResource where it is not."""
    for path in (Path(file), Path(os.environ.get("ICD_DATA_DIR", ".")) / file):
        if path.exists():  # what is no file is refused when it is opened
            return path
    raise MissingResource(
        f"model.path={Path(file).name!r}: no such file, here or below ICD_DATA_DIR; "
        "expected JSON lines or a sparse matrix as .npz"
    )


def read(path: Path, rows: int | None) -> tuple[Accesses, int]:
    """The records of ``path`` and the number of rows of its table (``rows``, if given).

    Raises ConfigError with the file's name, and the line where it has lines.
    """
    given, size = _matrix(path) if path.suffix.lower() == ".npz" else _lines(path, rows)
    if not len(given.weight):
        raise ConfigError(f"{path.name}: the trace is empty; expected one record or more")
    if rows is not None and size > rows:
        raise ConfigError(f"{path.name}: it names row {size - 1} and model.rows={rows} ends at {rows - 1}")
    size = size if rows is None else rows
    if not 2 <= size <= MAX_ROWS:
        raise ConfigError(f"{path.name}: a table of {size} rows; expected 2 to {MAX_ROWS}")
    return given, size


def _lines(path: Path, rows: int | None) -> tuple[Accesses, int]:
    source, target, weight = array("q"), array("q"), array("d")
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST_BYTES:
            raise Unreadable(f"{path.name}: expected at most {spelled(MOST_BYTES)}, got {spelled(size)}")
        for number, data in lines_of(file, path.name):
            where = f"{path.name}, line {number}"
            line = _decoded(where, number, data)
            if line.strip():
                src, dst, w = _record(where, line, rows)
                source.append(src)
                target.append(dst)
                weight.append(w)
            if len(weight) > MOST_ENTRIES:
                raise Unreadable(f"{path.name}: expected at most {MOST_ENTRIES:,} records, it holds more")
    accesses = Accesses(*(np.array(found) for found in (source, target, weight)))
    return accesses, 1 + int(max(x.max(initial=-1) for x in (accesses.source, accesses.target)))


def _decoded(where: str, number: int, line: bytes) -> str:
    """A line as text; some editors begin a file with a mark."""
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not UTF-8 (byte {error.start}); expected JSON lines") from error


def _record(where: str, line: str, rows: int | None) -> tuple[int, int, float]:
    try:
        record = json.loads(line)
    except RecursionError as error:
        raise ConfigError(f"{where}: nested too deeply; {EXPECTED}") from error
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON; {EXPECTED}") from error
    if not isinstance(record, dict) or not {"src", "dst"} <= set(record) <= {"src", "dst", "w"}:
        raise ConfigError(f"{where}: {EXPECTED}, got {line.strip()[:60]}")
    limit = MAX_ROWS if rows is None else rows
    for key in ("src", "dst"):
        value = record[key]
        if isinstance(value, (list, dict)):
            raise ConfigError(f"{where}: {key} is a {type(value).__name__}; expected a row's number")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < limit:
            raise ConfigError(
                f"{where}: {key}={json.dumps(value)[:40]}; expected a row from 0 to {limit - 1}"
                + ("" if rows is None else f" (model.rows={rows})")
            )
    return record["src"], record["dst"], _weight(where, record.get("w", 1))


def _weight(where: str, value: Any) -> float:
    if isinstance(value, (list, dict)):  # may be nested more deeply than can be written again
        raise ConfigError(f"{where}: w is a {type(value).__name__}; expected a finite number above 0")
    try:
        number = float("nan") if isinstance(value, (bool, str)) or value is None else float(value)
    except OverflowError:  # an integer beyond 1.8e308
        number = math.inf
    if not math.isfinite(number) or number <= 0:
        raise ConfigError(f"{where}: w={json.dumps(value)[:40]}; expected a finite number above 0")
    if not LEAST <= number <= MOST:
        raise ConfigError(f"{where}: w={number:g}; expected a number from {LEAST:g} to {MOST:g}")
    return number


def _matrix(path: Path) -> tuple[Accesses, int]:
    from scipy.sparse import csr_matrix

    A = read_square(path)
    A.eliminate_zeros()
    if A.nnz and not LEAST <= A.data.min() <= A.data.max() <= MOST:
        raise ConfigError(
            f"{path.name}: weights from {A.data.min():g} to {A.data.max():g}; "
            f"expected them from {LEAST:g} to {MOST:g}"
        )
    halves = csr_matrix((A + A.T) / 4).tocoo()  # row by row, columns ascending
    accesses = Accesses(halves.row.astype(np.int64), halves.col.astype(np.int64), halves.data)
    return accesses, int(A.shape[0])
