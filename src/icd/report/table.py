"""A table as plain cells; the template turns it into HTML and escapes every text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from icd.report.numbers import DASH

SIMULATED = "simulated, not measured"
NO_INTERVAL = "a simulated figure has no interval and gets no verdict"


@dataclass(frozen=True)
class Cell:
    """A text; ``note`` numbers the footnote that says why it is a dash; ``kind`` is a CSS class."""

    text: str
    note: int | None = None
    kind: str = ""


@dataclass
class Table:
    """Headings as (name, unit), rows of cells, and the reasons that footnotes give."""

    headings: Sequence[tuple[str, str]]
    rows: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def cell(self, text: str, *reasons: Any, kind: str = "", source: Any = None) -> Cell:
        """A cell; a dash gets a footnote with its first reason, a simulated figure one that says so."""
        if text != DASH and source != "simulated":
            return Cell(text, kind=kind)
        reason = SIMULATED if text != DASH else str(next((r for r in reasons if r), "not recorded"))
        return self.noted(text, NO_INTERVAL if reason == "simulated" else reason, kind=kind)

    def noted(self, text: str, reason: str, *, kind: str = "") -> Cell:
        """A cell with a footnote that gives ``reason``; without one where that is empty."""
        if not reason:
            return Cell(text, kind=kind)
        if reason not in self.notes:
            self.notes.append(reason)
        return Cell(text, self.notes.index(reason) + 1, kind)

    def columns(self, start: int, stop: int | None = None) -> Table:
        """The first column and those from ``start`` to ``stop``, without the footnotes."""
        pick = slice(start, stop)
        return Table([self.headings[0], *self.headings[pick]], [[row[0], *row[pick]] for row in self.rows])

    def left(self, column: int) -> bool:
        """Whether a column holds words, which stand left."""
        return bool(self.rows) and self.rows[0][column].kind in ("name", "text", "text reason")


def text_of(value: Any) -> str:
    """A recorded word, or a dash."""
    return DASH if value in (None, "") else str(value)
