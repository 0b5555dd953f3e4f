"""From a matplotlib figure to inline SVG that follows the page's light or dark colours, or to PNG.

Colours that depend on the page are drawn as placeholders and replaced by CSS variables afterwards.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

ARM_COLOURS = {
    "dense": "#8a8a8a",
    "linear": "#3b8ed0",
    "iterative": "#e0651b",
    "sliced": "#12a07a",
    "shuffle": "#c874ae",
    "aa": "#7cc0ea",
}
ARM_MARKERS = {"dense": "s", "sliced": "^", "iterative": "D", "shuffle": "v", "aa": "ring"}
GLYPHS = {"s": "\u25a0", "^": "\u25b2", "D": "\u25c6", "v": "\u25bc", "ring": "\u25cb", "o": "\u25cf"}
OTHER_COLOURS = ("#b8a200", "#8d6bd1", "#a3623a", "#5f9e3f")


@dataclass(frozen=True)
class Palette:
    """Colours of text, lines, the shaded band and secondary text."""

    ink: str
    line: str
    band: str
    muted: str


PAGE = Palette("#010203", "#010204", "#010205", "#010206")
PAPER = Palette("#1c1f23", "#d5d8dc", "#e6e9ee", "#5d646d")
VARIABLES = {PAGE.ink: "--ink", PAGE.line: "--line", PAGE.band: "--band", PAGE.muted: "--muted"}


def arm_colour(arm: str, arms: list[str]) -> str:
    """The arm's own colour; arms without one take the others in turn."""
    if arm in ARM_COLOURS:
        return ARM_COLOURS[arm]
    strange = [a for a in arms if a not in ARM_COLOURS]
    return OTHER_COLOURS[strange.index(arm) % len(OTHER_COLOURS) if arm in strange else 0]


def arm_marker(arm: str) -> str:
    """The arm's own shape, so that arms differ without colour; a ring for the A/A copy."""
    return ARM_MARKERS.get(arm, "o")


@contextmanager
def style(palette: Palette) -> Iterator[None]:
    """matplotlib's settings for one figure, whatever the user's own are; text stays text, and no name is
    read as mathematics.
    """
    import matplotlib

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "icd",
        "text.parse_math": False,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "figure.facecolor": "none" if palette is PAGE else "white",
        "savefig.facecolor": "none" if palette is PAGE else "white",
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "axes.linewidth": 0.8,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
    }
    colours = {"text.color": palette.ink, "axes.labelcolor": palette.ink, "axes.edgecolor": palette.muted}
    ticks = {"xtick.color": palette.muted, "ytick.color": palette.muted, "grid.color": palette.line}
    labels = {"xtick.labelcolor": palette.ink, "ytick.labelcolor": palette.ink}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**settings, **colours, **ticks, **labels})
        yield


def figure(width: float, height: float) -> Any:
    """An empty figure of ``width`` x ``height`` inches that no window system knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def scatter(axes: Any, x: Any, y: Any, arm: str, arms: list[str], *, size: float) -> None:
    """Points of one arm in its colour and shape."""
    colour, marker = arm_colour(arm, arms), arm_marker(arm)
    if marker == "ring":
        axes.scatter(x, y, s=1.6 * size, marker="o", facecolor="none", edgecolor=colour, lw=1.1)
    else:
        axes.scatter(x, y, s=size, marker=marker, color=colour, lw=0, alpha=0.85)


def svg(drawn: Any, name: str, title: str) -> str:
    """The figure as an ``<svg>`` element: no ids that clash, no address of any kind, page colours."""
    out = io.StringIO()
    with style(PAGE):
        drawn.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    width = float(drawn.get_figwidth()) * 96
    box = re.search(r'viewBox="[^"]+"', text)
    label = escape(title, quote=True)
    opening = f'<svg {box[0] if box else ""} role="img" aria-label="{label}" style="width:{width:.0f}px">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1).strip()


def png(drawn: Any, dpi: int = 160) -> bytes:
    """The figure as PNG bytes."""
    out = io.BytesIO()
    with style(PAPER):
        drawn.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()
