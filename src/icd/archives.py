"""Sparse square matrices in the archives that ``scipy.sparse.save_npz`` writes, and lists of layouts.

Compiled code trusts indices: one out of range reads or writes memory of others. So an archive is taken apart
by numpy alone, and only what was checked is handed on. Every array's declared size is compared with what the
archive holds before anything is decompressed.
"""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icd.contracts import IntArray
from icd.reading import Unreadable, open_regular, read_json, spelled

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_ENTRIES = 1 << 24  # 128 neighbours of each of 131,072 rows
MOST_ROWS = 1 << 20
MEMBER_BYTES = MOST_ENTRIES * 16  # the widest numbers there are
SMALL_BYTES = 1 << 16  # of a member that holds a shape or a name
MOST_MEMBERS = 64
MOST_BYTES = 3 * MEMBER_BYTES
EXPECTED = "expected what scipy.sparse.save_npz writes"
# what a file that is no archive, or a damaged one, makes the readers of zip and npy raise
DAMAGED = (
    ValueError, LookupError, TypeError, EOFError, NotImplementedError, RuntimeError, OverflowError,
    SyntaxError, MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
)  # fmt: skip

Triplets = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def read_square(path: Path) -> csr_matrix:
    """The matrix in ``path`` as sorted float64 CSR (D, D), duplicates summed in float64.

    Unreadable, naming the file, unless weights are real, finite and not negative, every index lies inside the
    shape, and sizes are below `MOST_ROWS` and `MOST_ENTRIES`.
    """
    from scipy.sparse import coo_matrix

    with _refusing(path.name), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        members = _Members(path.name, archive)
        shape = members.shape()
        row, column, weight = LAYOUTS[members.format()](members, shape)
    matrix = coo_matrix((weight, (row, column)), shape=shape).tocsr()
    if not np.isfinite(matrix.data).all():
        raise Unreadable(f"{path.name}: weights of one place sum to more than a float64 holds")
    matrix.sort_indices()
    return matrix


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """What cannot be an archive becomes a sentence."""
    try:
        yield
    except Unreadable:
        raise
    except DAMAGED as error:
        raise Unreadable(f"{name}: not a sparse matrix ({type(error).__name__}); {EXPECTED}") from error


class _Members:
    """The arrays of an archive, each read after its size and type were checked."""

    def __init__(self, name: str, archive: zipfile.ZipFile) -> None:
        self.name, self.archive = name, archive
        infos = archive.infolist()
        if len(infos) > MOST_MEMBERS:
            raise Unreadable(f"{name}: an archive of {len(infos):,} members; {EXPECTED}")
        total = sum(info.file_size for info in infos)
        if total > MOST_BYTES:
            raise Unreadable(
                f"{name}: expected at most {spelled(MOST_BYTES)} in the archive, it declares {spelled(total)}"
            )
        self.infos = {info.filename: info for info in infos}

    def has(self, key: str) -> bool:
        """Whether there is an array ``key``."""
        return f"{key}.npy" in self.infos

    def array(self, key: str, limit: int = MEMBER_BYTES) -> NDArray[Any]:
        """The array ``key``, of at most ``limit`` bytes, of any type but objects."""
        if not self.has(key):
            raise Unreadable(f"{self.name}: not a sparse matrix (it holds no {key}); {EXPECTED}")
        info = self.infos[f"{key}.npy"]
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unreadable(f"{self.name}: {key} is encrypted or packed in an unknown way; {EXPECTED}")
        if info.file_size > limit:
            raise Unreadable(
                f"{self.name}: {key}: expected at most {spelled(limit)}, declared {spelled(info.file_size)}"
            )
        with self.archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read:
                raise Unreadable(f"{self.name}: {key} is of an unknown version {version}; {EXPECTED}")
            shape, fortran, dtype = read[version](member)
            if dtype.hasobject:
                raise Unreadable(f"{self.name}: {key} holds Python objects; expected numbers")
            size, held = _size(shape, dtype.itemsize), info.file_size - member.tell()
            if size != held:
                raise Unreadable(
                    f"{self.name}: {key} declares {size:,} bytes (shape {shape}, {dtype}) and holds {held:,}"
                )
            data = member.read()
        flat = np.frombuffer(data, dtype) if size else np.empty(0, dtype)
        return flat.reshape(shape, order="F" if fortran else "C")

    def format(self) -> str:
        """The name of the layout, one of `LAYOUTS`."""
        found = self.array("format", SMALL_BYTES)
        word = found.item() if found.size == 1 and found.dtype.kind in "SU" else ""
        word = word.decode("ascii", "replace") if isinstance(word, bytes) else word
        if word not in LAYOUTS:
            raise Unreadable(
                f"{self.name}: format {word[:20]!r}; expected a matrix as one of {', '.join(LAYOUTS)}"
            )
        return word

    def shape(self) -> tuple[int, int]:
        """Rows twice; Unreadable unless the matrix is square and of a size that fits in memory."""
        found = self.array("shape", SMALL_BYTES)
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise Unreadable(f"{self.name}: shape: expected two whole numbers, got an array of {found.dtype}")
        shape = tuple(int(n) for n in found)
        if len(shape) != 2 or shape[0] != shape[1]:
            said = str(shape) if len(shape) < 8 else f"of {len(shape)} dimensions"
            raise Unreadable(f"{self.name}: expected a square matrix of rows x rows, got shape {said}")
        if not 0 <= shape[0] <= MOST_ROWS:
            raise Unreadable(f"{self.name}: expected at most {MOST_ROWS:,} rows, got {shape[0]:,}")
        return shape[0], shape[1]

    def weights(self, dimensions: int = 1) -> NDArray[np.float64]:
        """``data`` in float64: real, finite, not negative."""
        found = self.array("data")
        if found.dtype.kind == "c":
            raise Unreadable(f"{self.name}: complex weights ({found.dtype}); expected real ones")
        if found.dtype.kind not in "biuf":
            raise Unreadable(f"{self.name}: weights of type {found.dtype}; expected real numbers")
        if found.ndim != dimensions or found.size > MOST_ENTRIES:
            raise Unreadable(
                f"{self.name}: weights of shape {found.shape}; expected {dimensions} dimension(s) and "
                f"at most {MOST_ENTRIES:,} entries"
            )
        with np.errstate(over="ignore"):
            weights = found.astype(np.float64)
        if not np.isfinite(weights).all():
            raise Unreadable(f"{self.name}: expected finite weights, got NaN or infinity")
        if weights.min(initial=0.0) < 0:
            raise Unreadable(f"{self.name}: expected weights of 0 or more, got {weights.min():g}")
        return weights

    def indices(self, key: str, count: int | None, below: int) -> NDArray[np.int64]:
        """Whole numbers from 0 to ``below`` - 1, ``count`` of them (None: any number)."""
        return self.check(key, self.array(key), count, below)

    def check(self, key: str, found: NDArray[Any], count: int | None, below: int) -> NDArray[np.int64]:
        """``found`` in int64 after the checks that `indices` names."""
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise Unreadable(
                f"{self.name}: {key}: expected whole numbers, got {found.dtype} of shape {found.shape}"
            )
        if len(found) > MOST_ENTRIES or (count is not None and len(found) != count):
            wanted = f"at most {MOST_ENTRIES:,}" if count is None else f"{count:,}"
            raise Unreadable(f"{self.name}: {key}: expected {wanted} entries, got {len(found):,}")
        if len(found) and not (0 <= int(found.min()) and int(found.max()) < below):
            wrong = int(found.min()) if int(found.min()) < 0 else int(found.max())
            raise Unreadable(f"{self.name}: {key}: expected numbers from 0 to {below - 1}, got {wrong}")
        return found.astype(np.int64)


def _size(shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes of an array, as a Python number that cannot overflow."""
    size = itemsize
    for length in shape:
        size *= length
    return size


def _coordinates(members: _Members, shape: tuple[int, int]) -> Triplets:
    weights = members.weights()
    if not members.has("coords"):
        row, column = (members.indices(key, len(weights), shape[0]) for key in ("row", "col"))
        return row, column, weights
    found = members.array("coords")
    if found.ndim != 2 or len(found) != 2:
        raise Unreadable(f"{members.name}: coords: expected 2 x entries, got shape {found.shape}")
    row, column = (members.check("coords", found[k], len(weights), shape[0]) for k in (0, 1))
    return row, column, weights


def _pointers(members: _Members, rows: int, entries: int) -> NDArray[np.int64]:
    """``indptr``: from 0, never falling, up to at most ``entries``."""
    starts = members.indices("indptr", rows + 1, entries + 1)
    if starts[0] != 0 or (np.diff(starts) < 0).any():
        raise Unreadable(f"{members.name}: indptr: expected to begin at 0 and never to fall")
    return starts


def _rows(members: _Members, shape: tuple[int, int]) -> Triplets:
    weights = members.weights()
    column = members.indices("indices", len(weights), shape[0])
    starts = _pointers(members, shape[0], len(weights))
    row = np.repeat(np.arange(shape[0]), np.diff(starts))
    return row, column[: len(row)], weights[: len(row)]  # as scipy, which takes no entry behind the last row


def _columns(members: _Members, shape: tuple[int, int]) -> Triplets:
    column, row, weights = _rows(members, shape)
    return row, column, weights


def _blocks(members: _Members, shape: tuple[int, int]) -> Triplets:
    weights = members.weights(3)
    count, high, wide = weights.shape
    if not high or not wide or shape[0] % high or shape[0] % wide:
        raise Unreadable(f"{members.name}: blocks of {high} x {wide} do not fill {shape[0]} rows")
    place = members.indices("indices", count, shape[0] // wide)
    starts = _pointers(members, shape[0] // high, count)
    row = np.repeat(np.arange(shape[0] // high), np.diff(starts))
    rows = (row * high)[:, None, None] + np.arange(high)[:, None] + np.zeros(wide, np.int64)
    columns = (place[: len(row)] * wide)[:, None, None] + np.zeros((high, 1), np.int64) + np.arange(wide)
    return rows.ravel(), columns.ravel(), weights[: len(row)].ravel()


def _diagonals(members: _Members, shape: tuple[int, int]) -> Triplets:
    weights = members.weights(2)
    offsets = members.array("offsets")
    if offsets.dtype.kind != "i" or offsets.shape != (len(weights),):
        raise Unreadable(f"{members.name}: offsets: expected {len(weights)} whole numbers")
    if len(np.unique(offsets)) != len(offsets) or np.abs(offsets.astype(float)).max(initial=0) > shape[0]:
        raise Unreadable(f"{members.name}: offsets: expected different ones, each inside {shape[0]} rows")
    column = np.broadcast_to(np.arange(weights.shape[1]), weights.shape)
    row = column - offsets.astype(np.int64)[:, None]
    inside = (row >= 0) & (row < shape[0]) & (column < shape[0])
    return row[inside], column[inside], weights[inside]


LAYOUTS = {"csr": _rows, "csc": _columns, "coo": _coordinates, "bsr": _blocks, "dia": _diagonals}


def read_layouts(path: Path, name: str | None = None) -> tuple[dict[str, IntArray], dict[str, IntArray]]:
    """``layouts`` and ``live`` of a file of layouts, by site.

    Each layout is a permutation of its own length; live channels ascend and lie inside it. Unreadable names
    the site that holds something else.
    """
    name = name or path.name
    found = read_json(path, name)
    if not isinstance(found, dict) or any(not isinstance(found.get(k), dict) for k in ("layouts", "live")):
        raise Unreadable(f"{name}: expected an object of layouts and live channels")
    layouts = {site: check_layout(pi, f"{name}: {site}") for site, pi in found["layouts"].items()}
    live = {site: check_live(kept, layouts, site, name) for site, kept in found["live"].items()}
    return layouts, live


def check_layout(values: Any, where: str) -> IntArray:
    """``values`` as int32 after checking that they are a permutation of 0 to their number - 1."""
    pi = _whole_numbers(values, where)
    if not np.array_equal(np.sort(pi), np.arange(len(pi))):
        raise Unreadable(f"{where}: expected each of {len(pi)} channels once, got others or some twice")
    return pi.astype(np.int32)


def check_live(values: Any, layouts: Mapping[str, IntArray], site: str, name: str) -> IntArray:
    """Live channels of ``site`` as int32: ascending, inside its layout."""
    kept = _whole_numbers(values, f"{name}: live channels of {site}")
    size = len(layouts.get(site, ()))
    inside = not len(kept) or (0 <= kept[0] and kept[-1] < size)
    if site not in layouts or not inside or (np.diff(kept) <= 0).any():
        raise Unreadable(f"{name}: live channels of {site}: expected ascending ones from 0 to {size - 1}")
    return kept.astype(np.int32)


def _whole_numbers(values: Any, where: str) -> NDArray[np.int64]:
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise Unreadable(f"{where}: expected a list of whole numbers")
    if len(values) > MOST_ROWS or (values and not -1 < min(values) <= max(values) < MOST_ROWS):
        raise Unreadable(f"{where}: expected whole numbers from 0 to {MOST_ROWS - 1:,}")
    return np.array(values, np.int64)
