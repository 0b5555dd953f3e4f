"""``auto``: for every kind of site the faster of executing all of it and executing its live tiles alone.

A choice is made for each distinct (layer shape, group, kept width), by `icd.runtime.planner`, and holds
for all sites of it in all arms and processes; its times are kept apart from the run's samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icd.contracts import PrecisionSpec, Step, Workload
from icd.copies import sharing
from icd.runtime.accelerate import Switch
from icd.runtime.cut import cut_sites, uncut
from icd.runtime.planner import BLOCKS, Choice, choose, kind_of
from icd.runtime.step import make_step
from icd.runtime.tiles import check_tile, kept_everywhere


@dataclass(frozen=True)
class Auto:
    """Plans before it prepares; ``executed["plan"]`` is the table of what was measured and chosen."""

    tile_rows: int
    tile_cols: int
    compile: Switch = "auto"
    cuda_graph: Switch = "auto"
    cache: bool = True

    def __post_init__(self) -> None:
        check_tile(self.tile_rows, self.tile_cols)

    def prepare(self, workload: Workload, precision: PrecisionSpec, device: str) -> Step:
        """A step over the tiles that it pays to execute; ``executed["sites"]`` as for ``compact``."""
        keep, padded = kept_everywhere(workload, self.tile_cols)
        choices = choose(
            workload,
            keep,
            precision,
            device,
            compile=self.compile,
            cuda_graph=self.cuda_graph,
            remember=self.cache,
        )
        chosen = {c.kind: c for c in choices}
        for site in workload.sites:
            found = chosen.get(kind_of(workload.module, site, keep))
            if found is not None and found.chosen == "masked":
                keep[site.name] = np.arange(site.size)
                padded.pop(site.name, None)
        module = sharing(workload.module)
        cut_sites(module, workload.sites, keep)
        executed: dict[str, Any] = {
            "engine": "auto",
            "sites": {site.name: [len(keep[site.name]), site.size] for site in workload.sites},
            "plan": [row(choice) for choice in choices],
        }
        if padded:
            executed["padded"] = {"sites": len(padded), "channels": sum(padded.values())}
        if whole := uncut(workload):
            executed["whole"] = whole
        return make_step(
            module,
            workload,
            precision,
            device,
            compile=self.compile,
            cuda_graph=self.cuda_graph,
            executed=executed,
        )


def row(choice: Choice) -> dict[str, Any]:
    """A choice as it stands in the record."""
    group, size, kept, _ = choice.kind
    return {
        "group": group,
        "size": size,
        "kept": kept,
        "sites": choice.sites,
        "timed": "whole model" if choice.whole else "one layer",
        "masked_ms": choice.masked_ms,
        "compact_ms": choice.compact_ms,
        "slower_rounds": choice.slower,
        "rounds": BLOCKS,
        "chosen": choice.chosen,
        "cached": choice.cached,
    }
