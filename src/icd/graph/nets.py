"""Nets of a site: one for each (weight, tile row), touching the channels that are live in that row.

The number of non-empty tiles under a layout is the sum over nets of the blocks a net touches, so T is
the connectivity metric of hypergraph partitioning with equal blocks (Catalyurek and Aykanat 1999).
"""

from __future__ import annotations

import numpy as np

from icd.contracts import Nets, Workload
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
