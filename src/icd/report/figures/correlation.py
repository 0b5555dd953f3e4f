"""Layout figures against measured figures over the arms; n is small and is always stated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icd.contracts import FloatArray
from icd.report.figures.canvas import Palette, figure, scatter, style
from icd.report.folder import dig
from icd.report.numbers import is_number

MIN_N = 4
LAYOUT = {"C": "cache-distance cost C", "Q": "modularity Q", "T": "T, MB of non-empty tiles"}
MEASURED = {
    "latency": ("latency p50, ms", ("latency_ms", "p50"), 1.0),
    "L2": ("L2 served, %", ("l2", "served_pct"), 1.0),
    "EpT": ("energy per token, mJ", ("energy", "ept_j"), 1e3),
}


@dataclass(frozen=True)
class Panel:
    """One scatter: a point an arm (name, x, y), n and rho without the A/A copy; rho None when n < 4."""

    x: str
    y: str
    points: tuple[tuple[str, float, float], ...]
    n: int
    rho: float | None


def panel(metrics: Mapping[str, Any], x: str, y: str) -> Panel:
    """The arms (and the iterations that carry the measured figure) that have both figures.

    ``aa`` is drawn and not counted: it is linear once more.
    """
    _, path, scale = MEASURED[y]
    points = []
    for arm, block in (metrics.get("arms") or {}).items():
        value, figure_x = dig(block, *path), layout_figure(metrics, arm, x)
        if is_number(value) and figure_x is not None:
            points.append((arm, figure_x, scale * value))
    for i, step in enumerate(metrics.get("iterations") or ()):
        value, figure_x = dig(step, *path), step.get(x)
        if is_number(value) and is_number(figure_x):
            points.append((f"iteration {i}", figure_x / (1e6 if x == "T" else 1.0), scale * value))
    counted = np.array([(a, b) for arm, a, b in points if arm != "aa"], float).reshape(-1, 2)
    n = len(counted)
    rho = spearman(counted[:, 0], counted[:, 1]) if n >= MIN_N else None
    return Panel(x, y, tuple(points), n, rho)


def layout_figure(metrics: Mapping[str, Any], arm: str, x: str) -> float | None:
    """C or Q of an arm, or T in MB summed over its sites."""
    if x != "T":
        value = dig(metrics, "arms", arm, "cost", x)
        return float(value) if is_number(value) else None
    costs = [dig(site, "cost", arm, "T") for site in metrics.get("sites") or ()]
    return sum(costs) / 1e6 if costs and all(is_number(c) for c in costs) else None


def spearman(x: FloatArray, y: FloatArray) -> float | None:
    """Rank correlation, ties at their mean rank; None when one side does not vary."""
    a, b = _ranks(x), _ranks(y)
    if a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[where], float)


def draw(shown: Panel, arms: Sequence[str], palette: Palette) -> Any:
    """The panel as a small figure."""
    with style(palette):
        drawn = figure(2.95, 2.3)
        axes = drawn.subplots()
        for arm, x, y in shown.points:
            scatter(axes, [x], [y], arm, list(arms), size=34)
        axes.set_xlabel(LAYOUT[shown.x])
        axes.set_ylabel(MEASURED[shown.y][0])
        axes.grid()
        axes.margins(0.15)
        axes.locator_params(axis="x", nbins=4)
        axes.locator_params(axis="y", nbins=5)
        axes.ticklabel_format(useOffset=False)
    return drawn
