"""The ratio plot: every comparison's change with its interval, its units, and the noise floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icd.report.figures.canvas import Palette, arm_colour, figure, style
from icd.report.folder import dig
from icd.report.numbers import interval, is_number, signed
from icd.report.phrases import equivalence_pct, l2_name

FARTHEST_PCT = 150.0  # intervals are drawn up to here, or up to the largest estimate
# block of a comparison -> (title, unit, better side); L2 is a difference of points
BLOCKS = {
    "latency": ("latency", "%", "left"),
    "ept": ("energy per token", "%", "left"),
    "dram": ("DRAM bytes per token", "%", "left"),
    "l2_pp": ("L2 served", "pp", "right"),
}
FIRST = (
    "iterative_vs_linear",
    "iterative_vs_sliced",
    "iterative_vs_dense",
    "linear_vs_dense",
    "shuffle_vs_linear",
)


def order(compared: Mapping[str, Any]) -> list[str]:
    """Comparisons as shown: the headline first, A/A last, at the same size."""
    names = [n for n in FIRST if n in compared]
    return [*names, *(n for n in compared if n not in (*names, "aa")), *(n for n in compared if n == "aa")]


def arms_of(comparison: str) -> tuple[str, str]:
    """The two arms of a comparison."""
    arm, _, base = comparison.partition("_vs_")
    return (arm, base) if base else ("aa", "linear")


def title_of(block: str, metrics: Mapping[str, Any]) -> str:
    """What the block compares, in words."""
    return l2_name(metrics) if block == "l2_pp" else BLOCKS[block][0]


def draw(metrics: Mapping[str, Any], block: str, palette: Palette) -> Any | None:
    """The figure of one block, None when no comparison has a value."""
    compared = metrics.get("compare") or {}
    names = [n for n in order(compared) if change(dig(compared, n, block)) is not None]
    if not names:
        return None
    _, unit, better = BLOCKS[block]
    title = title_of(block, metrics)
    arms = list(metrics.get("arms") or {})

    def real(name: str) -> bool:
        return compared[name][block].get("source") != "simulated"

    with style(palette):
        drawn = figure(8.8, 1.15 + 0.42 * len(names))
        axes = drawn.subplots()
        floor = max(
            (dig(compared, n, block, "floor_pct") or 0.0 for n in names if n != "aa" and real(n)), default=0.0
        )
        if floor:
            axes.axvspan(-floor, floor, color=palette.band, lw=0, zorder=0)
        if block == "latency":
            for edge in (-1, 1):
                axes.axvline(
                    edge * equivalence_pct(metrics), color=palette.muted, lw=0.8, ls=(0, (4, 3)), zorder=1
                )
        axes.axvline(0, color=palette.ink, lw=0.8, zorder=1)
        for row, name in enumerate(names):
            found = compared[name][block]
            colour = arm_colour(arms_of(name)[0], arms)
            _row(axes, row, found, unit, colour, palette)
        axes.set_yticks(range(len(names)), [label(n) for n in names])
        axes.set_ylim(len(names) - 0.45, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.margins(x=0.06)
        farthest = max(FARTHEST_PCT, *(1.2 * (change(compared[n][block]) or 0.0) for n in names))
        if axes.get_xlim()[1] > farthest:
            axes.set_xlim(-105.0, farthest)
            _arrows(axes, [compared[n][block].get("ci95") for n in names], farthest, palette)
        axes.set_xlabel(f"change of {title}, {unit} ({better} is better)")
    return drawn


def _row(
    axes: Any,
    row: int,
    found: Mapping[str, Any],
    unit: str,
    colour: str,
    palette: Palette,
) -> None:
    """One comparison: interval, estimate, units below it, and the same in words beside it."""
    value, ends, units = change(found), found.get("ci95"), found.get("units") or ()
    real = found.get("source") != "simulated"
    if ends is not None:
        axes.plot(ends, [row, row], color=colour, lw=2.4, solid_capstyle="butt", zorder=3)
    if real and len(units) > 1:
        axes.scatter(units, [row + 0.24] * len(units), s=11, color=colour, alpha=0.75, lw=0, zorder=3)
    face = colour if ends is not None else "none"
    axes.scatter([value], [row], s=42, marker="D", facecolor=face, edgecolor=colour, lw=1.4, zorder=4)
    said = f"{signed(value)} {unit}"
    if ends is not None:
        said += f"  [{interval(ends)}]"
    axes.annotate(
        f"{said}\n{_verdict(found)}",
        (1.01, row),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8,
        color=palette.ink,
        annotation_clip=False,
    )


def _arrows(axes: Any, intervals: Sequence[Any], edge: float, palette: Palette) -> None:
    """An arrow where an interval goes on beyond the plot."""
    for row, ends in enumerate(intervals):
        if ends is not None and ends[1] > edge:
            axes.plot(
                [0.995], [row], ">", color=palette.ink, ms=6, transform=axes.get_yaxis_transform(), zorder=5
            )


def _verdict(found: Mapping[str, Any]) -> str:
    """The verdict, or why there is none; a difference of points never gets one."""
    if found.get("source") == "simulated":
        return "simulated"
    return str(found.get("verdict") or ("no verdict" if "verdict" in found else ""))


def change(found: Mapping[str, Any] | None) -> float | None:
    """A block's change in percent, or its difference in points."""
    value = (found or {}).get("delta_pct", (found or {}).get("delta"))
    return float(value) if value is not None and is_number(value) else None


def label(name: str) -> str:
    """``iterative vs linear``; A/A says what it is."""
    return "A/A (aa vs linear)" if name == "aa" else name.replace("_", " ")
