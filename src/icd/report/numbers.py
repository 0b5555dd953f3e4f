"""Numbers as a reader sees them: few digits, a true minus sign, and a dash for what is not there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

DASH = "–"


def number(value: Any, digits: int = 4) -> str:
    """``digits`` significant digits, thousands grouped: 12.35, 16,262, 8.60e-05."""
    if not is_number(value):
        return DASH
    if isinstance(value, int):
        return minus(f"{value:,}")
    size = abs(value)
    if not size:
        return "0"
    if size < 1e-3 or size >= 1e9:
        return minus(f"{value:.{max(digits - 2, 1)}e}")
    whole = len(str(int(size))) if size >= 1 else 0
    if not whole:
        whole = 1 + math.floor(math.log10(size))
    return minus(f"{value:,.{max(digits - whole, 0)}f}")


def signed(value: Any, digits: int = 1) -> str:
    """With its sign: +1.2, −1.2; 0.0 for what rounds to nothing."""
    if not is_number(value):
        return DASH
    text = f"{value:+,.{digits}f}"
    return minus(text) if float(text.replace(",", "")) else text[1:]


def interval(ends: Sequence[float] | None, digits: int = 1) -> str:
    """``−13.0 to −11.5``."""
    return DASH if ends is None else f"{signed(ends[0], digits)} to {signed(ends[1], digits)}"


def bound(value: float) -> str:
    """A limit after a ±: three digits, and no exponent however large: 2, 53.6, 50,801."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def plain_interval(ends: Sequence[float] | None, digits: int = 4) -> str:
    """An interval of values rather than of changes: ``59.83 to 66.11``."""
    return DASH if ends is None else f"{number(ends[0], digits)} to {number(ends[1], digits)}"


def minus(text: str) -> str:
    """The hyphen of a number as a minus sign."""
    return text.replace("-", "−")


def is_number(value: Any) -> TypeGuard[float]:
    """A finite number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
