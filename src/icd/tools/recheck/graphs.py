"""Co-access graphs are what a graph can be: of the site's size, symmetric, within the caps of the lock.

Everything is checked before compiled code reads it. What a graph's weights are cannot be computed again but
for a synthetic one, which follows from its seed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icd.own import named_class
from icd.tools.recheck.recorded import Recorded, differ

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ARRAYS = {"indptr", "indices", "data", "shape", "format"}
ALWAYS = {"source", "nnz"}
TOLD = {
    "icd.graph.activation.Activation": {*ALWAYS, "tokens", "active_per_token"},
    "icd.graph.weights.Weights": ALWAYS,
    "icd.graph.trace.Trace": {*ALWAYS, "records", "weight"},
    "icd.graph.synthetic.Synthetic": {*ALWAYS, "seed"},
}  # what a graph says of itself
ENTRY, ROW, OVERHEAD = 16, 8, 4096  # bytes at most in an archive: an entry, a row, all headers
ROUNDED = 1e-9  # relative; between processors


def graphs(run: Recorded) -> list[str]:
    """Every graph in ``W``; nothing where graphs are left out."""
    out = []
    for row in run.metrics["sites"] if run.graphs else ():
        name = f"W/{row['site']}.npz"
        try:
            arrays = read(run.folder / name, row)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            out.append(f"{name}: {error}")
            continue
        why = malformed(arrays, row["channels"]) or unlike(arrays, row["channels"], run.lock["graph"])
        if why:
            out.append(f"{name}: {why}")
            continue
        out += described(run, row, name)
        out += drawn(run, row, arrays, name)
    return out


def read(path: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a graph; ValueError for another archive, or one that unpacks to more than it may hold."""
    if path.parent.resolve() / path.name != path.resolve() or path.parent.name != "W":
        raise ValueError("a site's name that is no file of W")
    entries = row["graph"].get("nnz")
    most = row["channels"] ** 2 if entries is None else int(entries)
    with zipfile.ZipFile(path) as archive:
        holds = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
    if set(holds) != ARRAYS or len(holds) != len(ARRAYS):
        raise ValueError(f"expected the arrays {', '.join(sorted(ARRAYS))}, got {', '.join(sorted(holds))}")
    if sum(holds.values()) > ENTRY * most + ROW * (row["channels"] + 1) + OVERHEAD:
        raise ValueError(f"it unpacks to {sum(holds.values())} bytes, more than {most} entries need")
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in ARRAYS}


def malformed(found: Mapping[str, Any], size: int) -> str:
    """Why the arrays are no CSR matrix of ``size`` x ``size`` in order, empty where they are one."""
    starts, columns, values = found["indptr"], found["indices"], found["data"]
    if found["format"].tobytes().rstrip(b"\0") != b"csr" or list(found["shape"].ravel()) != [size, size]:
        return f"expected CSR of {size} x {size}, got {list(found['shape'].ravel())}"
    if any(a.ndim != 1 or a.dtype.kind not in "iu" for a in (starts, columns)) or values.dtype.kind != "f":
        return "expected whole numbers for rows and columns and floats for weights"
    if len(starts) != size + 1 or starts[0] != 0 or starts[-1] != len(columns) or np.any(np.diff(starts) < 0):
        return "its rows do not begin and end where its entries do"
    if values.shape != columns.shape or np.any((columns < 0) | (columns >= size)):
        return "an entry lies beyond its rows and columns"
    return ""


def unlike(found: Mapping[str, Any], size: int, asked: Mapping[str, Any]) -> str:
    """Why well-formed arrays are no co-access graph as it was ``asked`` for, empty where they are one."""
    W = matrix(found, size)
    rows = np.repeat(np.arange(size), np.diff(W.indptr))
    if np.any(np.diff(rows * size + W.indices.astype(np.int64)) <= 0):
        return "entries are not in order, each once"
    if not np.all(np.isfinite(W.data)) or np.any(W.data <= 0):
        return "a weight is not above 0"
    if np.any(rows == W.indices):
        return "a channel is joined with itself"
    apart = abs(W - W.T)
    if apart.nnz and apart.data.max() > ROUNDED * W.data.max():
        return "it is not symmetric"
    if not str(asked["_target_"]).startswith("icd."):
        return ""
    if W.nnz > (asked.get("nnz_cap") or W.nnz):
        return f"{W.nnz} entries, and graph.nnz_cap is {asked['nnz_cap']}"
    if asked.get("normalize") == "row" and W.data.sum() > size * (1 + ROUNDED):
        return "graph.normalize=row makes rows of 1, and these sum to more"
    return crowded(W, rows, asked["per_row"]) if "per_row" in asked else ""


def crowded(W: csr_matrix, rows: Any, per_row: int) -> str:
    """Why more neighbours stayed than ``graph.per_row`` lets: each is a top one of its row or its column."""
    least = np.zeros(W.shape[0])
    for row, count in enumerate(np.diff(W.indptr)):
        if count > per_row:
            values = W.data[W.indptr[row] : W.indptr[row + 1]]
            least[row] = np.partition(values, count - per_row)[count - per_row]
    extra = (W.data < (1 - ROUNDED) * least[rows]) & (W.data < (1 - ROUNDED) * least[W.indices])
    return f"{int(extra.sum())} entries more than graph.per_row={per_row} leaves" if extra.any() else ""


def described(run: Recorded, row: Mapping[str, Any], name: str) -> list[str]:
    """What the record says the graph was made of."""
    said, asked, size = row["graph"], run.lock["graph"], row["channels"]
    again: dict[str, Any] = {}
    more = sorted(set(said) - TOLD.get(asked["_target_"], set(said)))
    if more:
        return [f"sites.{row['site']}.graph.{more[0]}: such a graph says no such thing"]
    if asked["_target_"] == "icd.graph.activation.Activation":
        again["active_per_token"] = max(2, round(asked["top_share"] * size)) if size > 32 else size
        again["tokens"] = run.metrics["inputs"]["calibration_tokens"]
    if asked["_target_"] == "icd.graph.synthetic.Synthetic":
        again |= {"seed": asked["seed"], "source": f"synthetic, {asked['kind']}"}
    return differ({key: said.get(key) for key in again}, again, f"sites.{row['site']}.graph of {name}")


def drawn(run: Recorded, row: Mapping[str, Any], found: Mapping[str, Any], name: str) -> list[str]:
    """A synthetic graph follows from the lock."""
    fields = dict(run.lock["graph"])
    if fields.pop("_target_") != "icd.graph.synthetic.Synthetic":
        return []
    graph = named_class("graph", run.lock["graph"]["_target_"])(**fields)
    W, again = matrix(found, row["channels"]), graph.draw(row["site"], row["channels"]).W
    apart = abs(W - again)
    if apart.nnz and apart.data.max() > ROUNDED * again.data.max():
        return [f"{name}: not the graph that graph.seed={fields['seed']} draws"]
    return []


def matrix(found: Mapping[str, Any], size: int) -> csr_matrix:
    """Checked arrays as a matrix."""
    from scipy.sparse import csr_matrix

    return csr_matrix((found["data"], found["indices"], found["indptr"]), shape=(size, size))
