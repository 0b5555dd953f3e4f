"""Samples in the order they were measured, so that drift and outliers can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from icd.contracts import Sample
from icd.report.figures.canvas import Palette, figure, scatter, style

MOST_POINTS = 2000
LOG_ABOVE = 4.0  # largest over median


def draw(samples: Sequence[Sample], metric: str, unit: str, palette: Palette) -> tuple[Any, int, int] | None:
    """The figure, the points drawn and the points there are; None without samples of ``metric``."""
    rows = [s for s in samples if s.metric == metric]
    if not rows:
        return None
    arms = list(dict.fromkeys(s.arm for s in rows))
    values = np.array([s.value for s in rows])
    kept = thin(values, MOST_POINTS)
    with style(palette):
        drawn = figure(8.8, 3.0)
        axes = drawn.subplots()
        for arm in arms:
            mine = [i for i in kept if rows[i].arm == arm]
            scatter(axes, mine, values[mine], arm, arms, size=12 if len(rows) > 200 else 30)
        _borders(axes, rows, palette)
        if values.min() > 0 and values.max() > LOG_ABOVE * np.median(values):
            _log_scale(axes)
        axes.set_ylabel(f"{metric.removesuffix('_' + unit).replace('_', ' ')}, {unit}")
        axes.set_xlabel("sample, in measured order")
        axes.grid(axis="y")
        axes.set_xlim(-0.01 * len(rows) - 0.5, 1.01 * len(rows) - 0.5)
    return drawn, len(kept), len(rows)


def _log_scale(axes: Any) -> None:
    """Logarithmic, with plain numbers: superscripts would be read as mathematics."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def thin(values: Any, most: int) -> list[int]:
    """At most ``most`` indices, evenly spread, each stretch giving its smallest and its largest value."""
    if len(values) <= most:
        return list(range(len(values)))
    keep: set[int] = set()
    for part in np.array_split(np.arange(len(values)), most // 2):
        keep |= {int(part[np.argmin(values[part])]), int(part[np.argmax(values[part])])}
    return sorted(keep)


def _borders(axes: Any, rows: Sequence[Sample], palette: Palette) -> None:
    """A line where a process begins, named; a dashed one where an allocation begins."""
    few = len({(s.process, s.allocation) for s in rows}) <= 24
    for i, s in enumerate(rows):
        before = rows[i - 1] if i else None
        if before is None or s.process != before.process:
            axes.annotate(
                f"process {s.process}",
                (i - 0.5, 1.01),
                xycoords=("data", "axes fraction"),
                fontsize=8,
                color=palette.muted,
                annotation_clip=False,
            )
            if before:
                axes.axvline(i - 0.5, color=palette.muted, lw=0.9)
        elif few and s.allocation != before.allocation:
            axes.axvline(i - 0.5, color=palette.muted, lw=0.7, ls=(0, (3, 3)))
