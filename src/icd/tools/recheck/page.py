"""``report.html`` and its plot, which people open: rendered again from the record and compared.

Every word and number must be the same. Drawings are compared mark by mark within a hundredth of a point,
since processors round apart; where another version of matplotlib drew them, within 1.5 points, and pictures
by what they look like.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from icd.report.figures import ratios
from icd.report.figures.canvas import PAPER, png
from icd.report.folder import Run, load
from icd.report.html import RATIO_PLOT, drawn_with, render
from icd.tools.recheck.drawings import APART, same_drawing, same_picture, same_without_pictures
from icd.tools.recheck.recorded import Recorded

DRAWING = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
DRAWN_WITH = re.compile(r'<meta name="drawn-with" content="matplotlib ([\w.+]{1,40})">')
CALLED = re.compile(r"<pre>icd rerun ([^\n<>/]{1,255})\n")
AGAIN = "; `icd report` renders it again, also where an earlier version of icd rendered it"
OF_GRAPHS = re.compile(r'aria-label="Layouts of ')  # drawings that need W


def page(run: Recorded, notes: list[str]) -> list[str]:
    """Where ``report.html`` or ``plots/ratios.png`` is not what the record gives; what was not compared in
    full goes into ``notes``, a clause each.
    """
    said, out, unseen = (run.folder / "report.html").read_text("utf-8"), [], 0
    report = load(run.folder)
    again = render(report, called(said))
    before, after = (DRAWING.sub("<svg/>", drawn_as(text)) for text in (said, again))
    if before != after:
        out.append(f"report.html: {first_difference(before, after)}{AGAIN}")
    here = version_of(said) == drawn_with()
    for mine, other in zip(DRAWING.findall(said), DRAWING.findall(again), strict=False):
        why = same_drawing(mine, other, exact=here)
        if why and not run.graphs and OF_GRAPHS.search(other[:400]):
            why = same_without_pictures(mine, other)
            unseen += 1
        if why:
            out.append(f"report.html: the drawing {label(other)!r} is not that of the record: {why}{AGAIN}")
    if not here:
        notes.append(
            f"drawings of report.html and {RATIO_PLOT.as_posix()} were made with matplotlib "
            f"{version_of(said)} and here is {drawn_with()}: they were compared within {APART:g} points, not "
            "exactly (`icd report` draws them again)"
        )
    if unseen:
        notes.append(f"{unseen} pictures of layouts in report.html, which need W, were not compared")
    return out + plot(report, run.folder / RATIO_PLOT, exact=here)


def plot(report: Run, path: Path, *, exact: bool) -> list[str]:
    """``plots/ratios.png`` is the ratio plot of the record, and there where there is one."""
    name, drawn = RATIO_PLOT.as_posix(), ratios.draw(report.metrics, "latency", PAPER)
    if (drawn is not None) != path.is_file():
        return [f"{name}: {'missing' if drawn is not None else 'there, and nothing was compared'}{AGAIN}"]
    why = "" if drawn is None else same_picture(path.read_bytes(), png(drawn), exact=exact)
    return [f"{name}: it is not the ratio plot of the record: {why}{AGAIN}"] if why else []


def called(said: str) -> str | None:
    """The name that the run directory had when the page was rendered."""
    found = CALLED.search(said)
    return html.unescape(found[1]) if found else None


def version_of(said: str) -> str | None:
    """The version of matplotlib that a page says it was drawn with."""
    found = DRAWN_WITH.search(said[:4000])
    return found[1] if found else None


def drawn_as(said: str) -> str:
    """A page without the version that drew it."""
    return DRAWN_WITH.sub("<meta>", said, count=1)


def label(drawing: str) -> str:
    """What a drawing says it shows."""
    found = re.search(r'aria-label="([^"]*)"', drawing[:2000])
    return found[1] if found else "without a title"


def first_difference(said: str, again: str) -> str:
    """The first line in which a page is another one, with the heading that it stands below."""
    heading = "the head of the page"
    for number, (mine, other) in enumerate(lines_of(said, again), 1):
        if mine != other:
            a, b = around_difference(mine, other)
            return f"line {number}, below {heading!r}: {a!r} where the record gives {b!r}"
        if found := re.match(r"<h[23][^>]*>(.*?)</h", other):
            heading = found[1]
    return "it is not what the record gives"


def lines_of(said: str, again: str) -> Iterator[tuple[str, str]]:
    """Lines in pairs, the shorter text padded."""
    mine, other = said.splitlines(), again.splitlines()
    for k in range(max(len(mine), len(other))):
        yield (mine[k] if k < len(mine) else ""), (other[k] if k < len(other) else "")


def around_difference(mine: str, other: str, width: int = 60) -> tuple[str, str]:
    """Both lines around the first character in which they differ."""
    shorter = min(len(mine), len(other))
    at = next((k for k in range(shorter) if mine[k] != other[k]), shorter)
    return mine[max(0, at - 20) : at + width], other[max(0, at - 20) : at + width]
