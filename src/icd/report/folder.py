"""What a run directory holds, read once; the report sees nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from icd import samples as raw
from icd.archives import read_layouts, read_square
from icd.contracts import FloatArray, IntArray, Sample
from icd.errors import ConfigError
from icd.names import check_file_name
from icd.reading import Unreadable
from icd.reading import read_json as read_any


@dataclass(frozen=True)
class Run:
    """One finished run.

    ``before`` and ``after``: layouts of the sites before and after the transform, ``pi[new] = old``;
    ``live``: the channels that the transform left, by site, in dense order. Files that a run may lack
    are empty here; ``metrics`` is always there.
    """

    folder: Path
    metrics: Mapping[str, Any]
    lock: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, Any] = field(default_factory=dict)
    ncu: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    before: Mapping[str, IntArray] = field(default_factory=dict)
    after: Mapping[str, IntArray] = field(default_factory=dict)
    live: Mapping[str, IntArray] = field(default_factory=dict)

    def edges(self, site: str) -> tuple[IntArray, IntArray, FloatArray] | None:
        """Rows, columns and weights of the site's co-access graph in dense order; None if not recorded.

        ConfigError where the graph cannot be read or is not one of the site's channels.
        """
        check_file_name(site)
        path = self.folder / "W" / f"{site}.npz"
        if not path.exists():
            return None
        graph, size = read_square(path), len(self.before.get(site, ()))
        if graph.shape[0] != size:
            raise Unreadable(f"W/{path.name}: {graph.shape[0]} rows, and its layout has {size} channels")
        rows = np.repeat(np.arange(size, dtype=np.int32), np.diff(graph.indptr))
        return rows, graph.indices.astype(np.int32), graph.data


def load(folder: Path) -> Run:
    """The run in ``folder``; ConfigError when it holds no result or a file cannot be read."""
    metrics = read_json(folder / "metrics.json")
    if not metrics:
        raise ConfigError(f"{folder.name}: no metrics.json here; the run did not finish")
    before, was = _layouts(folder / "perm_before.json")
    after, live = _layouts(folder / "perm_after.json")
    for site, pi in after.items():
        if len(pi) != len(before.get(site, pi)):
            raise Unreadable(
                f"{folder.name}: {site} has {len(before[site])} channels before and {len(pi)} after"
            )
    return Run(
        folder,
        metrics,
        lock=read_json(folder / "config.lock.json"),
        env=read_json(folder / "env.json"),
        ncu=read_json(folder / "ncu.json"),
        samples=tuple(read_samples(folder / "samples.csv.gz")),
        before=before,
        after=after,
        live=live or was,
    )


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``, empty when there is no such file; ConfigError when it is not an object."""
    if not path.exists():
        return {}
    name = f"{path.parent.name}/{path.name}"
    value = read_any(path, name)
    if not isinstance(value, dict):
        raise Unreadable(f"{name}: expected an object, got {type(value).__name__}")
    return value


def read_samples(path: Path) -> list[Sample]:
    """The rows of ``samples.csv.gz`` in measured order; empty when there is no such file."""
    if not path.exists():
        return []
    try:
        rows = raw.read_samples(path)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path.parent.name}/{path.name} cannot be read: {error}") from error
    return sorted(rows, key=lambda s: (s.process, s.allocation, s.round, s.order, s.iteration))


def _layouts(path: Path) -> tuple[dict[str, IntArray], dict[str, IntArray]]:
    """Layouts and live channels by site; empty when there is no such file."""
    return read_layouts(path, f"{path.parent.name}/{path.name}") if path.exists() else ({}, {})


def dig(value: Any, *keys: str) -> Any:
    """``value[key][key]...``, None where a step is missing."""
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value
