"""Whether two drawings show the same: SVG by its words and marks, PNG by its pixels."""

from __future__ import annotations

import base64
import binascii
import io
import re
from itertools import zip_longest
from typing import Any

import numpy as np

# points: rounding of processors; fonts and spacing of another matplotlib (3.10 and 3.11 differ by up to 1)
EXACT, APART = 0.01, 1.5
LEVELS = 8  # of 255, by which a pixel may differ
# of another matplotlib: pixels of size, and levels of the mean of a tile of 16 x 16 pixels (up to 26 seen)
SIZE, TILE, MEAN_LEVELS = 3, 16, 48
PICTURE = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]*)")
ID = re.compile(r'(?<=id=")[^"]+|(?<=url\(#)[^)]+|(?<=href="#)[^"]+')
TAG, MARKUP, ADDED = re.compile(r"<([a-zA-Z]+)"), {"image", "defs", "clipPath", "use"}, {"co-access W"}
WORDS = re.compile(r">([^<]*)<")
TOKEN = re.compile(r"(#[0-9a-fA-F]{6}|[-+]?\d+\.?\d*(?:e[-+]?\d+)?)")


def same_drawing(said: str, again: str, *, exact: bool) -> str:
    """Why two SVGs are not the same, empty where they are; ``exact``: one version of matplotlib drew both."""
    if words(said) != words(again):
        lost = next(pair for pair in zip_longest(words(said), words(again)) if pair[0] != pair[1])
        return f"it says {lost[0]!r} where the record gives {lost[1]!r}"
    pictures, others = PICTURE.findall(said), PICTURE.findall(again)
    if len(pictures) != len(others):
        return f"it holds {len(pictures)} pictures where the record gives {len(others)}"
    for mine, other in zip(pictures, others, strict=True):
        if why := same_picture(decoded(mine), decoded(other), exact=exact):
            return why
    return same_marks(named(PICTURE.sub("", said)), named(PICTURE.sub("", again)), EXACT if exact else APART)


def same_marks(said: str, again: str, within: float) -> str:
    """Why the markup differs: anything but numbers must be the same, and numbers agree ``within`` points."""
    mine, other = TOKEN.split(said), TOKEN.split(again)
    if len(mine) != len(other):
        return "it has more or fewer marks"
    for k, (a, b) in enumerate(zip(mine, other, strict=True)):
        if a == b:
            continue
        number = k % 2 and "#" not in a + b
        if not number or abs(float(a) - float(b)) > within:
            return f"a mark has {a[:40]!r} where the record gives {b[:40]!r}"
    return ""


def same_without_pictures(said: str, again: str) -> str:
    """Why ``said`` is not ``again`` with pictures of graphs added, whose content is not judged."""
    strange = set(TAG.findall(said)) - {*TAG.findall(again), *MARKUP}
    if strange or head(said) != head(again):
        return f"it holds {', '.join(sorted(strange)) or head(said)[:80]}"
    lost = sorted(word for word in words(said) if word not in ADDED), sorted(words(again))
    return "" if lost[0] == lost[1] else "its words are not those of the record"


def head(drawing: str) -> str:
    """The opening tag without the size of the drawing."""
    return re.sub(r' viewBox="[\d. ]*"', "", drawing[: drawing.find(">") + 1])


def words(drawing: str) -> list[str]:
    """What a drawing says, in order."""
    return [text for found in WORDS.findall(drawing) if (text := found.strip())]


def named(drawing: str) -> str:
    """``drawing`` with its ids numbered as they come: matplotlib makes them of the shapes themselves."""
    known: dict[str, str] = {}
    return ID.sub(lambda found: known.setdefault(found[0], f"id{len(known)}"), drawing)


def decoded(text: str) -> bytes:
    """The bytes of an embedded picture."""
    try:
        return base64.b64decode(text, validate=False)
    except binascii.Error:
        return b""


def same_picture(said: bytes, again: bytes, *, exact: bool) -> str:
    """Why two PNGs are not the same, empty where they are; not ``exact``: why they do not look alike."""
    if said == again:
        return ""
    mine, other = pixels(said), pixels(again)
    if mine is None or other is None:
        return "it is no picture"
    size = max(abs(a - b) for a, b in zip(mine.shape, other.shape, strict=True))
    if size > (0 if exact else SIZE):
        return f"it has {mine.shape[1]} x {mine.shape[0]} pixels, not {other.shape[1]} x {other.shape[0]}"
    if not exact:
        apart = np.abs(coarse(mine, mine.shape) - coarse(other, mine.shape)) > MEAN_LEVELS
        return f"{int(apart.any(axis=2).sum())} parts of it look different" if apart.any() else ""
    apart = np.abs(mine.astype(np.int16) - other.astype(np.int16)).max(axis=2) > LEVELS
    return f"{int(apart.sum())} pixels differ" if apart.any() else ""


def coarse(picture: Any, shape: tuple[int, ...]) -> Any:
    """Means over tiles of a picture (height, width, 4), first brought to ``shape``."""
    from PIL import Image

    height, width = shape[:2]
    whole = Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)
    tiles = (max(1, width // TILE), max(1, height // TILE))
    return np.asarray(whole.resize(tiles, Image.Resampling.BOX)).astype(np.int16)


def pixels(data: bytes) -> Any:
    """RGBA of a PNG, (height, width, 4); None for anything else."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if getattr(picture, "is_animated", False):
                return None  # what it shows later is another picture
            return np.asarray(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
