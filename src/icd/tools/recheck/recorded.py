"""The files of a finished run, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icd.archives import read_square
from icd.contracts import IntArray, Sample
from icd.reading import Unreadable
from icd.reading import read_json as read_any
from icd.samples import read_samples
from icd.stats.derive import equal
from icd.stats.summary import OF_TIMES, Summary
from icd.tools.recheck.orders import layouts_of, live_of, where

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Saved:
    """A file of layouts: ``pi`` and the live channels by site, in dense order."""

    layouts: Mapping[str, IntArray]
    live: Mapping[str, IntArray]


@dataclass(frozen=True, eq=False)
class Recorded:
    """One run; a file is read when a check first asks for it, and its errors are that check's.

    ``graphs``: whether the co-access graphs in ``W`` are part of it; without them C, Q, R and J of the site
    table are taken as recorded.
    """

    folder: Path
    metrics: Mapping[str, Any]
    lock: Mapping[str, Any]
    env: Mapping[str, Any]
    graphs: bool = True

    @property
    def objective(self) -> dict[str, float]:
        """The weights of J as locked; what the lock does not spell are defaults of one's own solver."""
        told = self.metrics["derivation"]["objective"]
        return {key: self.lock["solver"].get(key, value) for key, value in told.items()}

    @property
    def of_times(self) -> Summary:
        """How rounds of latency became units; a record that does not name it took their mean."""
        return OF_TIMES if "summary" in self.metrics["derivation"] else "mean"

    @cached_property
    def samples(self) -> Sequence[Sample]:
        """``samples.csv.gz``."""
        return read_samples(self.folder / "samples.csv.gz")

    @cached_property
    def ncu(self) -> Mapping[str, Any]:
        """``ncu.json``."""
        return read_json(self.folder / "ncu.json")

    @cached_property
    def before(self) -> Saved:
        """``perm_before.json``."""
        return saved(self.folder / "perm_before.json")

    @cached_property
    def after(self) -> Saved:
        """``perm_after.json``."""
        return saved(self.folder / "perm_after.json")

    @property
    def simulated(self) -> bool:
        """Whether the device is a simulated one, on which one process is enough."""
        return all("arithmetic" in arm["executed"] for arm in self.metrics["arms"].values())

    def graph(self, site: str) -> csr_matrix:
        """The co-access graph W of a site, dense order; ValueError unless it fits the site's layouts."""
        path = (self.folder / "W" / f"{site}.npz").resolve()
        if path.parent != (self.folder / "W").resolve():
            raise ValueError(f"{site!r} names no file of W")
        graph = read_square(path)
        for when, kept in (("before", self.before), ("after", self.after)):
            if len(kept.layouts[site]) != graph.shape[0]:
                raise Unreadable(
                    f"W/{path.name}: {graph.shape[0]} rows, and perm_{when}.json has "
                    f"{len(kept.layouts[site])} channels of {site}"
                )
        return graph


def load(folder: Path, *, graphs: bool = True) -> Recorded:
    """The run in ``folder``, with its graphs or not; OSError or ValueError where its JSON cannot be read."""
    metrics, lock, env = (read_json(folder / n) for n in ("metrics.json", "config.lock.json", "env.json"))
    return Recorded(folder, metrics, lock, env, graphs)


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``; ValueError for anything else, NaN and infinity among it."""
    value = read_any(path)
    if not isinstance(value, dict):
        raise Unreadable(f"{path.name}: expected an object, got {type(value).__name__}")
    return value


def saved(path: Path) -> Saved:
    """A file of layouts; ValueError where one is no permutation: compiled code will read it."""
    found, name = read_json(path), where(path)
    layouts = layouts_of(found, name)
    return Saved(layouts, live_of(found, {site: len(pi) for site, pi in layouts.items()}, name))


def differ(recorded: Any, again: Any, path: str) -> list[str]:
    """Where the record and what was computed again differ; ``again`` as JSON would hold it."""
    return equal(recorded, json.loads(json.dumps(again, default=_builtin)), path=path)


def _builtin(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in a record")
