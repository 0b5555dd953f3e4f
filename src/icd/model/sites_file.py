"""A YAML list of sites in the terms of `icd.contracts.Site`, read with every value checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from icd.contracts import Site, TensorAxis
from icd.errors import ConfigError
from icd.reading import read_yaml

SITE_KEYS = {"name", "size", "axes", "group", "activation", "activation_dim", "counts"}
AXIS_KEYS = {"parameter", "dim", "offset", "repeat"}


def read_sites(path: Path) -> tuple[Site, ...]:
    """Sites of a YAML file; ConfigError names the entry that does not fit."""
    entries = read_yaml(path)
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path.name}: expected a list of sites")
    return tuple(_site(path.name, number, entry) for number, entry in enumerate(entries, 1))


def _site(file: str, number: int, entry: Any) -> Site:
    where = f"{file}, site {number}"
    if not isinstance(entry, dict) or not {"name", "size", "axes", "activation"} <= set(entry) <= SITE_KEYS:
        raise ConfigError(
            f"{where}: expected name, size, axes and activation (also group, activation_dim, counts)"
        )
    axes, counts = entry["axes"], entry.get("counts", {})
    if not isinstance(axes, list) or not axes:
        raise ConfigError(f"{where}: axes: expected a list, an entry for each dimension, got {axes!r}")
    if not isinstance(counts, dict):
        raise ConfigError(f"{where}: counts: expected a mapping of attributes to factors, got {counts!r}")
    for path, factor in counts.items():
        _text(f"{where}: counts", path)
        _whole(f"{where}: counts: {path}", factor, 1)
    return Site(
        _text(f"{where}: name", entry["name"]),
        _whole(f"{where}: size", entry["size"], 1),
        tuple(_axis(where, axis) for axis in axes),
        _text(f"{where}: group", entry.get("group", "neurons")),
        _text(f"{where}: activation", entry["activation"]),
        tuple(counts.items()),
        activation_dim=_dim(f"{where}: activation_dim", entry.get("activation_dim")),
    )


def _axis(where: str, axis: Any) -> TensorAxis:
    if not isinstance(axis, dict) or not {"parameter", "dim"} <= set(axis) <= AXIS_KEYS:
        raise ConfigError(f"{where}: an axis has parameter and dim (also offset, repeat), got {axis!r}")
    _text(f"{where}: parameter", axis["parameter"])
    for key, least in (("dim", 0), ("offset", 0), ("repeat", 1)):
        _whole(f"{where}: {axis['parameter']}: {key}", axis.get(key, least), least)
    return TensorAxis(**axis)


def _text(where: str, value: Any) -> str:
    """YAML reads ``0.10`` as a number, ``yes`` as true and ``2024-01-01`` as a date: no name of a module."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: expected a name, got {value!r}, {_kind(value)}; write it in quotes")
    return value


def _kind(value: Any) -> str:
    return {"str": "no character", "NoneType": "nothing", "bool": "a truth value"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )


def _dim(where: str, value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ConfigError(f"{where}: expected a whole number (-1: the last dimension), got {value!r}")
    return value


def _whole(where: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{where}: expected a whole number of {least} or more, got {value!r}")
    return value
