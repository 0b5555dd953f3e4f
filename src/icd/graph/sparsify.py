"""Keeping W sparse: strongest neighbours a channel, a cap on stored entries, one normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icd.errors import ConfigError
from icd.scaling import exponent

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

Normalize = Literal["sym", "row", "none"]
# what every graph of this package does last, as its configuration spells it
NORMALIZE_HELP = "sym: W_ij / sqrt(k_i k_j); row: rows sum to 1, symmetrised; none: as counted"


def sparsify(dense: NDArray[Any], *, per_row: int, nnz_cap: int, normalize: Normalize) -> csr_matrix:
    """Symmetric CSR of a dense co-access matrix (D, D).

    The diagonal is dropped; a positive entry stays when it is among the ``per_row`` largest of its row or of
    its column; then the smallest go until at most ``nnz_cap`` are left.
    """
    from scipy.sparse import csr_matrix

    A = np.array(dense, np.float64)
    D = len(A)
    np.fill_diagonal(A, 0.0)
    A = _normalised(A, normalize)
    stays = A > 0
    if per_row < D:
        cut = np.partition(A, D - per_row, axis=1)[:, D - per_row]  # (D,) smallest kept value of each row
        stays &= (A >= cut[:, None]) | (A >= cut[None, :])
    rows, columns = np.nonzero(stays)
    values = A[rows, columns]
    if len(values) > nnz_cap:
        large = values > np.partition(values, len(values) - nnz_cap)[len(values) - nnz_cap]
        rows, columns, values = rows[large], columns[large], values[large]
    starts = np.zeros(D + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=D), out=starts[1:])
    return csr_matrix((values, columns.astype(np.int32), starts), shape=(D, D))


def finish(graph: csr_matrix, *, nnz_cap: int, normalize: Normalize) -> csr_matrix:
    """What `sparsify` does, for a symmetric graph (D, D) that is sparse already; every neighbour stays."""
    from scipy.sparse import csr_matrix, diags

    W = csr_matrix(graph, dtype=np.float64, copy=True)
    W.setdiag(0.0)
    W.eliminate_zeros()
    degree = np.asarray(W.sum(axis=1), np.float64).ravel()  # (D,)
    safe = np.where(degree > 0, degree, 1.0)
    if normalize == "sym":
        root = diags(1.0 / np.sqrt(safe))
        W = csr_matrix(root @ W @ root * safe.mean())
        W = csr_matrix((W + W.T) / 2)  # the two products round apart
    elif normalize == "row":
        rows = diags(1.0 / safe) @ W
        W = csr_matrix((rows + rows.T) / 2)
    if W.nnz > nnz_cap:
        W.data[W.data <= np.partition(W.data, W.nnz - nnz_cap - 1)[W.nnz - nnz_cap - 1]] = 0.0
        W.eliminate_zeros()
    W.sort_indices()
    return W


def check_caps(**caps: int) -> None:
    """ConfigError unless every cap is 1 or more."""
    for key, value in caps.items():
        if value < 1:
            raise ConfigError(f"graph.{key}={value}: expected 1 or more")


def _normalised(A: NDArray[np.float64], how: Normalize) -> NDArray[np.float64]:
    """``A`` (D, D) normalised; its own memory is used."""
    degree = A.sum(axis=1)
    safe = np.where(degree > 0, degree, 1.0)
    if how == "sym" and exponent(degree):  # the product of two degrees would overflow or vanish
        root = np.sqrt(safe)
        return np.multiply(A / np.outer(root, root), safe.mean())
    if how == "sym":
        scale = np.outer(safe, safe)
        np.divide(A, np.sqrt(scale, out=scale), out=A)
        return np.multiply(A, safe.mean(), out=A)
    if how == "row":
        rows = A / safe[:, None]
        return (rows + rows.T) / 2
    return A
