"""Layouts as pictures: the co-access graph and the live channels of a site in three orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icd.contracts import BoolArray, FloatArray, IntArray, inverse
from icd.report.figures.canvas import Palette, figure, style
from icd.report.folder import Run

MOST_SITES = 4
BINS = 48
LIVE, DEAD = "#e0651b", "#8a8a8a"


def choose(run: Run) -> list[Mapping[str, Any]]:
    """Up to four sites that have layouts: the largest ones, and the largest of every other group."""
    sites = [s for s in run.metrics.get("sites") or () if s.get("site") in run.before]
    by_size = sorted(sites, key=lambda s: -int(s["channels"]))
    first = list({s["group"]: s for s in reversed(by_size)}.values())[::-1]  # the largest of each group
    chosen = first[:MOST_SITES]
    chosen += [s for s in by_size if s not in chosen][: MOST_SITES - len(chosen)]
    return sorted(chosen, key=lambda s: by_size.index(s))


def draw(run: Run, site: Mapping[str, Any], palette: Palette) -> Any | None:
    """Three columns (dense order, before, after the transform); None where the record has no layout."""
    name, size, block = str(site["site"]), int(site["channels"]), max(int(site.get("block") or 1), 1)
    before = run.before.get(name)
    if before is None or len(before) != size:
        return None
    after = run.after.get(name, before)
    last = "π1 = π0, after" if np.array_equal(before, after) else "π1, after"
    orders = {"dense order": np.arange(size, dtype=np.int32), "π0, before": before, last: after}
    live = np.zeros(size, bool)
    live[run.live.get(name, np.arange(size))] = True
    edges = run.edges(name)
    with style(palette):
        rows = 2 if edges is not None else 1
        drawn = figure(8.8, 1.7 + (2.6 if rows == 2 else 0))
        axes = np.atleast_2d(drawn.subplots(rows, 3, height_ratios=[1.5, 1][:rows] if rows == 2 else None))
        if edges is not None:
            _heat_maps(axes[0], edges, orders, palette)
        for column, (title, pi) in enumerate(orders.items()):
            _strip(axes[-1, column], live[pi], block, palette)
            if edges is None:
                axes[-1, column].set_title(title)
        axes[-1, 0].set_ylabel("position in tile")
    return drawn


def _heat_maps(axes: Sequence[Any], edges: Any, orders: Mapping[str, IntArray], palette: Palette) -> None:
    pictures = {title: aggregate(edges, pi) for title, pi in orders.items()}
    top = max(float(np.quantile(p, 0.995)) for p in pictures.values()) or 1.0
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(np.sqrt(picture / top), vmin=0, vmax=1, cmap="magma", interpolation="nearest")
        axis.set_title(title)
        _bare(axis, palette)
    axes[0].set_ylabel("co-access W")


def _strip(axis: Any, live: BoolArray, block: int, palette: Palette) -> None:
    from matplotlib.colors import ListedColormap

    picture = tiles(live, block)
    filled = int((picture == 1).any(axis=0).sum())
    colours = ListedColormap([DEAD, LIVE])
    shown = np.ma.masked_less(picture, 0)
    axis.imshow(shown, aspect="auto", cmap=colours, vmin=0, vmax=1, interpolation="nearest", alpha=0.9)
    for edge in range(1, picture.shape[1]) if picture.shape[1] <= 64 else ():
        axis.axvline(edge - 0.5, color=palette.line, lw=0.6)
    axis.set_xlabel(f"tile: {filled} of {picture.shape[1]} hold a live channel")
    _bare(axis, palette)


def _bare(axis: Any, palette: Palette) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set(visible=True, color=palette.line)


def aggregate(edges: tuple[IntArray, IntArray, FloatArray], pi: IntArray, bins: int = BINS) -> FloatArray:
    """W in the order ``pi``, as (b, b) means over equal stretches of channels, b at most ``bins``."""
    rows, columns, weights = edges
    pos, size = inverse(pi), len(pi)
    b = min(bins, size)
    cell = (pos.astype(np.int64) * b) // size  # stretch of each channel
    total = np.bincount(cell[rows] * b + cell[columns], weights, b * b).reshape(b, b)
    count = np.bincount(cell, minlength=b)
    return np.asarray(total / np.outer(count, count), float)


def tiles(live: BoolArray, block: int) -> IntArray:
    """(block, tiles): 1 live, 0 dead, -1 past the end of the last tile."""
    count = -(-len(live) // block)
    out = np.full(count * block, -1, np.int32)
    out[: len(live)] = live
    return out.reshape(count, block).T
