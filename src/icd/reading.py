"""Files that somebody else may have written, read with their kind, size and nesting checked.

Nothing here waits (a FIFO, a device or a folder is refused, not opened) and nothing is parsed that is larger
than its limit. A refusal names the file, what was expected and what came.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from icd.errors import ConfigError

MIB = 1 << 20
JSON_BYTES = 64 * MIB  # layouts of a model of 70 billion parameters take 14 MiB
YAML_BYTES = 1 * MIB  # read in pure Python, some seconds a MiB
LINE_BYTES = 1 * MIB
DEEPEST = 64  # lists and objects inside one another
MOST_NODES = 1_000_000  # of a YAML file, references spelled out: nine lines of them can stand for 10^9
DIGITS = 20  # of a whole number; 2^64 has as many
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Unreadable(ConfigError, ValueError):
    """A file is not what it should be."""


def open_regular(path: Path, name: str | None = None) -> BinaryIO:
    """``path`` opened for reading bytes; Unreadable unless it is a regular file, OSError where it is none."""
    name = name or path.name
    _check_kind(os.stat(path), name)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check_kind(os.fstat(handle), name)  # it may have been exchanged in between
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_kind(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        got = next((word for is_kind, word in KINDS if is_kind(status.st_mode)), "something else")
        raise Unreadable(f"{name}: expected a file, got {got}")


def read_bytes(path: Path, limit: int, name: str | None = None) -> bytes:
    """The content of a regular file of at most ``limit`` bytes."""
    name = name or path.name
    with open_regular(path, name) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > limit else file.read(limit + 1)
    if max(size, len(data)) > limit:
        raise Unreadable(f"{name}: expected at most {spelled(limit)}, got {spelled(max(size, len(data)))}")
    return data


def read_text(path: Path, limit: int = JSON_BYTES, name: str | None = None) -> str:
    """The content of a file of UTF-8; line ends stay as they are."""
    name = name or path.name
    try:
        return read_bytes(path, limit, name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{name}: not UTF-8 (byte {error.start})") from error


def read_json(path: Path, name: str | None = None, *, finite: bool = True) -> Any:
    """The value in a file of JSON; `parse_json` says what is refused."""
    return parse_json(read_text(path, JSON_BYTES, name), name or path.name, finite=finite)


def read_json_lines(path: Path) -> list[Any]:
    """The values of a file with one on each line; empty lines are skipped."""
    lines = read_text(path).split("\n")
    return [parse_json(line, f"{path.name}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]


def parse_json(text: str | bytes, name: str, *, finite: bool = True) -> Any:
    """The value of ``text``; Unreadable for no JSON, nesting beyond `DEEPEST`, whole numbers of more than
    `DIGITS` digits, keys that are there twice and text that no file can hold (a lone surrogate); with
    ``finite`` also for figures that are not.
    """
    figures: dict[str, Any] = {"parse_constant": _no_figure, "parse_float": _finite} if finite else {}
    try:
        value = json.loads(text, parse_int=_whole, object_pairs_hook=_once, **figures)
    except RecursionError as error:
        raise Unreadable(f"{name}: nested too deeply; expected at most {DEEPEST} levels") from error
    except ValueError as error:
        raise Unreadable(f"{name} is not JSON: {error}") from error
    check_nesting(value, name)
    return value


def read_yaml(path: Path) -> Any:
    """The value in a file of YAML, built from plain types alone; bounded as JSON is.

    A key that stands twice in a mapping is refused: YAML's reader would take the last and say nothing.
    """
    import yaml

    try:
        text = read_text(path, YAML_BYTES)
        check_keys(yaml.compose(text, yaml.SafeLoader), path.name)
        value = yaml.safe_load(text)
    except Unreadable:
        raise
    except yaml.YAMLError as error:
        raise Unreadable(f"{path.name}: not YAML ({str(error).splitlines()[0]})") from error
    except RecursionError as error:
        raise Unreadable(f"{path.name}: nested too deeply; expected at most {DEEPEST} levels") from error
    except (ValueError, OverflowError) as error:  # a date of month 13, a number of 5,000 digits
        raise Unreadable(f"{path.name}: a value cannot be read ({error})") from error
    check_nesting(value, path.name, MOST_NODES)
    return value


def check_keys(root: Any, name: str) -> None:
    """`Unreadable` where a mapping below the YAML node ``root`` has a key twice."""
    import yaml

    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an anchor's node, or an empty file's None, again
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                waiting += [key, value]
                if not isinstance(key, yaml.ScalarNode):
                    continue
                if (key.tag, key.value) in keys:
                    line = key.start_mark.line + 1
                    raise Unreadable(f"{name}: line {line}: the key {key.value!r} stands twice in a mapping")
                keys.add((key.tag, key.value))


def check_nesting(value: Any, name: str, most: float = math.inf) -> None:
    """Unreadable where containers lie deeper than `DEEPEST` or hold more than ``most`` values spelled out."""
    level, count = [value], 0
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for node in level:
            for part in _parts(node):
                count += len(part)
                if count > most:
                    raise Unreadable(f"{name}: expected at most {most:,} values, references spelled out")
                inner += [child for child in part if isinstance(child, (dict, list, tuple, set))]
                if any(isinstance(child, str) and not _encodes(child) for child in part):
                    raise Unreadable(f"{name}: a text holds half of a character (a lone surrogate)")
        if not inner:
            return
        level = inner
    raise Unreadable(f"{name}: nested too deeply; expected at most {DEEPEST} levels")


def _parts(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return (node.keys(), node.values())
    return (node,) if isinstance(node, (list, tuple, set)) else ((node,),)


def _encodes(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def lines_of(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line; Unreadable for one of more than `LINE_BYTES`."""
    number = 0
    while line := file.readline(LINE_BYTES + 1):
        number += 1
        if len(line) > LINE_BYTES:
            raise Unreadable(f"{name}, line {number}: expected at most {spelled(LINE_BYTES)} on a line")
        yield number, line


def sha256(path: Path) -> str:
    """Hex digest of a regular file, of any size."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while part := file.read(MIB):
            digest.update(part)
    return digest.hexdigest()


def spelled(size: int) -> str:
    """A size in bytes as people read it."""
    return f"{size / MIB:,.0f} MiB" if size >= MIB else f"{size:,} bytes"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once: readers differ in which of two they take."""
    out = dict(pairs)
    if len(out) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:40]!r} is there twice in one object")
    return out


def _no_figure(word: str) -> None:
    raise ValueError(f"{word} is no figure; a missing value is null with a reason")


def _whole(text: str) -> int:
    if len(text) > DIGITS + text.startswith("-"):
        raise ValueError(f"a whole number of {len(text)} digits; expected at most {DIGITS}")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is beyond every float64")
    return value
