"""Nets of a site: one for each (weight, tile row), touching the channels that are live in that row.

The number of non-empty tiles under a layout is the sum over nets of the blocks a net touches, so T is
the connectivity metric of hypergraph partitioning with equal blocks (Catalyurek and Aykanat 1999).

Where a site's reads were recorded, its nets are those of the trace instead: one for each source, touching
the live channels that a visit of the source reads, itself among them. A block that holds one is read.
"""

from __future__ import annotations

import numpy as np

from icd.contracts import Accesses, BoolArray, Nets, Workload
from icd.graph.tied import tied_weights


def build_nets(
    workload: Workload, *, tile_rows: int, tile_cols: int, element_bytes: float
) -> dict[str, Nets]:
    """Nets of every site in dense order; equal nets are merged and their weights added.

    A net weighs the bytes of one of its tiles: ``tile_rows`` entries of the other axis by one block of
    the site (`Site.block`: ``tile_cols`` elements, or one channel where a channel is wider).
    """
    from scipy.sparse import csr_matrix

    out: dict[str, Nets] = {}
    for site in workload.sites:
        if site.name in workload.accesses:
            block_bytes = site.block(tile_cols) * site.repeat * element_bytes
            out[site.name] = source_nets(workload.accesses[site.name], workload.live_mask(site), block_bytes)
            continue
        packed: dict[bytes, float] = {}
        for axis, weight in tied_weights(workload, site):
            live = (weight != 0).any(axis=1)  # (D, other)
            other = live.shape[1]
            starts = np.arange(0, other, tile_rows)
            rows = np.logical_or.reduceat(live, starts, axis=1).T  # (tile rows, D)
            heights = np.diff(np.append(starts, other))
            block_elements = site.block(tile_cols) * axis.repeat
            for row, height in zip(rows, heights, strict=True):
                if row.any():
                    key = np.packbits(row).tobytes()
                    packed[key] = packed.get(key, 0.0) + float(height) * block_elements * element_bytes
        masks = [
            np.unpackbits(np.frombuffer(key, np.uint8), count=site.size).astype(bool)
            for key in sorted(packed)
        ]
        matrix = csr_matrix(np.array(masks).reshape(-1, site.size))
        out[site.name] = Nets(matrix, np.array([packed[key] for key in sorted(packed)]))
    return out


def source_nets(accesses: Accesses, live: BoolArray, block_bytes: float) -> Nets:
    """A net for each source: its own row and those of its targets, as far as ``live`` (D,), dense order.

    A net weighs the bytes of a block times the source's visits, the mean weight of its records. Equal nets
    are not merged: sources rarely read the same rows.
    """
    from scipy.sparse import csr_matrix

    sources, net = np.unique(accesses.source, return_inverse=True)
    visits = np.bincount(net, accesses.weight) / np.bincount(net)
    rows = np.concatenate([net, np.arange(len(sources))])
    channels = np.concatenate([accesses.target, sources])
    kept = live[channels]
    matrix = csr_matrix(
        (np.ones(kept.sum(), bool), (rows[kept], channels[kept])), shape=(len(sources), len(live))
    )
    matrix.sum_duplicates()
    some = np.diff(matrix.indptr) > 0
    return Nets(csr_matrix(matrix[some]), visits[some] * block_bytes)
