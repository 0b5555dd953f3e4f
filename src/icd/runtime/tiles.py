"""Which channels an engine keeps, given a layout: whole tiles, alive if one of their channels is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from icd.contracts import BoolArray, Site, Workload
from icd.errors import ConfigError


def check_tile(rows: int, cols: int) -> None:
    """ConfigError unless both are powers of two from 8 to 512."""
    for key, value in (("tile_rows", rows), ("tile_cols", cols)):
        if value not in (8, 16, 32, 64, 128, 256, 512):
            raise ConfigError(f"runtime.{key}={value}: expected a power of two from 8 to 512")


def channels_per_tile(site: Site, tile_cols: int) -> int:
    """Channels of ``site`` that lie in one tile's columns; a channel wider than a tile is its own."""
    return max(1, tile_cols // site.repeat)


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
    return kept_positions(live, channels_per_tile(site, tile_cols))
