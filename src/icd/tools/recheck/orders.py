"""Layouts are permutations of their sites' channels, and live channels are some of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icd.contracts import IntArray


def layouts_of(found: Mapping[str, Any], where: str) -> dict[str, IntArray]:
    """``layouts`` of a file of layouts; ValueError for one that is no permutation."""
    return {
        name: permutation(values, f"{where}: layouts.{name}")
        for name, values in objects(found, "layouts", where)
    }


def live_of(found: Mapping[str, Any], sizes: Mapping[str, int], where: str) -> dict[str, IntArray]:
    """``live`` of a file of layouts; ``sizes``: channels by site. ValueError where they are not channels."""
    out = {}
    for name, values in objects(found, "live", where):
        told = f"{where}: live.{name}"
        channels = integers(values, told)
        if name not in sizes:
            raise ValueError(f"{told}: a site that has no layout")
        if len(channels) and (channels[0] < 0 or channels[-1] >= sizes[name]):
            raise ValueError(f"{told}: channels beyond the {sizes[name]} of the site")
        if np.any(np.diff(channels) <= 0):
            raise ValueError(f"{told}: channels are not in rising order, each once")
        out[name] = channels.astype(np.int32)
    return out


def permutation(values: Any, where: str) -> IntArray:
    """``values`` as a layout; ValueError names the first channel that is there twice or not at all."""
    pi = integers(values, where)
    if len(pi) and (pi.min() < 0 or pi.max() >= len(pi)):
        raise ValueError(f"{where}: a channel beyond the {len(pi)} of the site")
    count = np.bincount(pi, minlength=len(pi))
    if np.any(count != 1):
        twice = int(np.argmax(count))
        raise ValueError(f"{where}: no permutation; channel {twice} is there {int(count[twice])} times")
    return pi.astype(np.int32)


def integers(values: Any, where: str) -> np.ndarray[Any, Any]:
    """A list of whole numbers; ValueError for anything else."""
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise ValueError(f"{where}: expected a list of channels")
    try:
        return np.asarray(values, np.int64)
    except OverflowError as error:
        raise ValueError(f"{where}: a channel beyond all sizes") from error


def objects(found: Mapping[str, Any], key: str, where: str) -> list[tuple[str, Any]]:
    """The entries of ``found[key]``."""
    if set(found) != {"layouts", "live"} or not isinstance(found[key], dict):
        raise ValueError(f"{where}: expected layouts and live, each by site")
    return list(found[key].items())


def same_sites(name: str, layouts: Mapping[str, IntArray], sites: Any) -> list[str]:
    """Where a file holds other sites than the record, or a site of another size."""
    sizes, found = {row["site"]: row["channels"] for row in sites}, {k: len(pi) for k, pi in layouts.items()}
    out = [f"{name}: layouts.{site}: the record has no such site" for site in sorted(set(found) - set(sizes))]
    out += [f"{name}: layouts.{site} is missing" for site in sorted(set(sizes) - set(found))]
    return out + [
        f"{name}: layouts.{site}: {found[site]} channels, and sites.{site}.channels says {size}"
        for site, size in sizes.items()
        if site in found and found[site] != size
    ]


def where(path: Path) -> str:
    """The name of a file of layouts, with its folder where it is not the run's."""
    return f"{path.parent.name}/{path.name}" if path.parent.name == "before_rollback" else path.name
