"""The things that a run compares, each as a recipe: which values, which layouts, which precision.

``values`` names a set of weights in dense order (``dense`` or ``transformed``); a measured process
loads them and lays them out as ``layouts`` says, so every arm with one set of values holds the same
numbers up to permutation.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from icd.contracts import BoolArray, IntArray, Layouts, Model, Site, Workload


@dataclass(frozen=True)
class Arm:
    """A recipe for one arm; ``shuffled`` draws new layouts for every allocation."""

    name: str
    values: str
    layouts: Layouts
    precision: str | None = None
    shuffled: bool = False
    note: str = ""


@dataclass(frozen=True)
class Prepared:
    """What the preparing process hands to the measuring ones, and to the record.

    ``amax``: for each set of values the largest input of every linear layer, where scales are static.
    """

    model: Model
    arms: tuple[Arm, ...]
    live: Mapping[str, Mapping[str, BoolArray]]
    files: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    amax: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def sliced_layout(live: BoolArray) -> IntArray:
    """Live channels in their original order, dead ones behind: what slicing without a solver does."""
    return np.concatenate([np.flatnonzero(live), np.flatnonzero(~live)]).astype(np.int32)


def shuffle_layouts(sites: tuple[Site, ...], seed: int, process: int, allocation: int) -> dict[str, IntArray]:
    """A uniform permutation of every site, another for each allocation; the same for the same seed."""
    out = {}
    for site in sites:
        rng = np.random.default_rng([seed, process, allocation, zlib.crc32(site.name.encode())])
        out[site.name] = rng.permutation(site.size).astype(np.int32)
    return out


def shuffled_sites(workload: Workload, live: Mapping[str, BoolArray]) -> tuple[Site, ...]:
    """The sites that the transform selected; all of them where it selected none."""
    chosen = tuple(site for site in workload.sites if site.name in live)
    return chosen or workload.sites
