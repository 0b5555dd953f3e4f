"""Lines of text: what ends with a line feed, or a carriage return and one, and with nothing else.

``str.splitlines`` also splits at a paragraph or line separator, a form feed, a vertical tab and NEL. Those
are characters of a text like any other, and so are the blanks at either end of a line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from icd.errors import ConfigError

MIB = 1 << 20
LONGEST = MIB  # bytes of one text; a tokenizer takes about a second for it
NO_TEXT = ("Cc", "Cf")  # control characters (NUL), and those that only format


def lines_of(text: str) -> list[str]:
    """The lines of ``text`` without their ends."""
    return re.split(r"\r?\n", text)


def blank(text: str) -> bool:
    """Whether ``text`` is nothing but white space."""
    return not text or text.isspace()


def check_text(text: str, where: str) -> None:
    """ConfigError where ``text`` has nothing to read, is too long or cannot be encoded."""
    if len(text) > LONGEST or len(text.encode(errors="replace")) > LONGEST:
        raise ConfigError(f"{where} is longer than {LONGEST // MIB} MiB; cut it")
    if blank(text):
        raise ConfigError(f"{where} is empty: nothing but white space")
    if all(char.isspace() or unicodedata.category(char) in NO_TEXT for char in text):
        raise ConfigError(f"{where} is nothing but white space and control characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{where} holds half of a surrogate pair (character {error.start + 1})") from error


def read_lines(path: Path, key: str, largest: int) -> tuple[str, ...]:
    """The lines of a UTF-8 file that are not blank.

    ConfigError for more than ``largest`` bytes (not read then), for what is no UTF-8, for no line and for
    one that `check_text` refuses.
    """
    where = f"model.{key}={path.name!r}"
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise ConfigError(f"{where}: the file is larger than {largest // MIB} MiB; cut it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: not UTF-8 (byte {error.start})") from error
    numbered = [(number, line) for number, line in enumerate(lines_of(text), 1) if not blank(line)]
    if not numbered:
        raise ConfigError(f"{where}: the file is empty: nothing but white space")
    for number, line in numbered:
        check_text(line, f"{where}: line {number}")
    return tuple(line for _, line in numbered)


def check_size(texts: Sequence[str], where: str, largest: int) -> None:
    """ConfigError where ``texts`` have more than ``largest`` bytes together."""
    if sum(map(len, texts)) > largest:
        raise ConfigError(f"{where}: the texts are longer than {largest // MIB} MiB together; use fewer")
