"""``compact``: tiles that the layout left without a live channel drop out; what stays runs dense.

Every parameter tied to a site is sliced along its tied axis to the kept tiles, so each layer becomes an
ordinary smaller dense layer and runs the same kernels as the dense model at that width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from icd.contracts import PrecisionSpec, Step, Workload
from icd.copies import sharing
from icd.runtime.accelerate import Switch
from icd.runtime.cut import cut_sites, uncut
from icd.runtime.step import make_step
from icd.runtime.tiles import check_tile, kept_everywhere


@dataclass(frozen=True)
class Compact:
    """Executes live tiles only; a tile spans ``tile_cols`` elements of a site."""

    tile_rows: int
    tile_cols: int
    compile: Switch = "auto"
    cuda_graph: Switch = "auto"

    def __post_init__(self) -> None:
        check_tile(self.tile_rows, self.tile_cols)

    def prepare(self, workload: Workload, precision: PrecisionSpec, device: str) -> Step:
        """A step over the kept tiles; ``executed["sites"]`` holds [kept, all] channels a site.

        ``executed["padded"]`` counts dead channels kept so that the heads of an attention are equally wide;
        ``executed["whole"]`` says which sites are not cut, and why.
        """
        module = sharing(workload.module)
        keep, padded = kept_everywhere(workload, self.tile_cols)
        cut_sites(module, workload.sites, keep)
        executed: dict[str, Any] = {
            "engine": "compact",
            "sites": {site.name: [len(keep[site.name]), site.size] for site in workload.sites},
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
