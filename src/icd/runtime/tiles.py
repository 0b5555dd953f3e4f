"""Which channels an engine keeps, given a layout: whole tiles, alive if one of their channels is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from icd.contracts import BoolArray, Site, Workload
from icd.errors import ConfigError
from icd.runtime.cut import uncut


def check_tile(rows: int, cols: int) -> None:
    """ConfigError unless both are powers of two from 8 to 512."""
    for key, value in (("tile_rows", rows), ("tile_cols", cols)):
        if value not in (8, 16, 32, 64, 128, 256, 512):
            raise ConfigError(f"runtime.{key}={value}: expected a power of two from 8 to 512")


def kept_positions(live: BoolArray, block: int) -> NDArray[np.int64]:
    """Positions of the tiles that hold a live channel.

    ``live`` (D,) in the module's order; the last block may be short. At least one block is kept.
    """
    blocks = np.add.reduceat(live.astype(np.int64), np.arange(0, len(live), block)) > 0
    if not blocks.any():
        blocks[0] = True
    return np.flatnonzero(np.repeat(blocks, block)[: len(live)])


def kept_channels(workload: Workload, site: Site, tile_cols: int) -> NDArray[np.int64]:
    """Positions, in the module's order, that a tile-aligned engine executes for ``site``."""
    live = workload.live_mask(site)[workload.layout(site)]
    return kept_positions(live, site.block(tile_cols))


def kept_everywhere(
    workload: Workload, tile_cols: int
) -> tuple[dict[str, NDArray[np.int64]], dict[str, int]]:
    """Kept positions of every site, and how many dead channels beyond its tiles a site keeps.

    Sites that are peers (the heads of one attention) run as one batched operation and are padded to the
    widest of them, with the first of their dead positions. What cannot be cut is kept whole.
    """
    whole = uncut(workload)
    kept = {
        site.name: np.arange(site.size) if site.name in whole else kept_channels(workload, site, tile_cols)
        for site in workload.sites
    }
    padded: dict[str, int] = {}
    for site in workload.sites:
        if not site.peers:
            continue
        widest = max(len(kept[peer.name]) for peer in workload.sites if peer.peers == site.peers)
        short = widest - len(kept[site.name])
        if short:
            more = np.setdiff1d(np.arange(site.size), kept[site.name])[:short]
            kept[site.name] = np.sort(np.concatenate([kept[site.name], more]))
            padded[site.name] = short
    return kept, padded
