"""What a run directory holds, read once; the report sees nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from icd import samples as raw
from icd.contracts import FloatArray, IntArray, Sample
from icd.errors import ConfigError
from icd.names import check_file_name


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
        """Rows, columns and weights of the site's co-access graph in dense order; None if not recorded."""
        check_file_name(site)
        path = self.folder / "W" / f"{site}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as found:
            if not {"indptr", "indices", "data"} <= set(found.files):
                return None
            degrees = np.diff(found["indptr"])
            rows = np.repeat(np.arange(len(degrees), dtype=np.int32), degrees)
            return rows, found["indices"].astype(np.int32), found["data"].astype(float)


def load(folder: Path) -> Run:
    """The run in ``folder``; ConfigError when it holds no result or a file cannot be read."""
    metrics = read_json(folder / "metrics.json")
    if not metrics:
        raise ConfigError(f"{folder.name}: no metrics.json here; the run did not finish")
    before, after = (read_json(folder / f"perm_{when}.json") for when in ("before", "after"))
    return Run(
        folder,
        metrics,
        lock=read_json(folder / "config.lock.json"),
        env=read_json(folder / "env.json"),
        ncu=read_json(folder / "ncu.json"),
        samples=tuple(read_samples(folder / "samples.csv.gz")),
        before=_integers(before.get("layouts")),
        after=_integers(after.get("layouts")),
        live=_integers(after.get("live") or before.get("live")),
    )


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``, empty when there is no such file; ConfigError when it is not an object."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path.parent.name}/{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path.parent.name}/{path.name}: expected an object, got {type(value).__name__}")
    return value


def read_samples(path: Path) -> list[Sample]:
    """The rows of ``samples.csv.gz`` in measured order; empty when there is no such file."""
    if not path.is_file():
        return []
    try:
        rows = raw.read_samples(path)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path.parent.name}/{path.name} cannot be read: {error}") from error
    return sorted(rows, key=lambda s: (s.process, s.allocation, s.round, s.order, s.iteration))


def _integers(layouts: Mapping[str, Any] | None) -> dict[str, IntArray]:
    return {name: np.asarray(values, np.int32) for name, values in (layouts or {}).items()}


def dig(value: Any, *keys: str) -> Any:
    """``value[key][key]...``, None where a step is missing."""
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value
