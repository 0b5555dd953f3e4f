"""``masked``: the module as it is; removed channels are multiplied as zeros."""

from __future__ import annotations

from dataclasses import dataclass

from icd.contracts import PrecisionSpec, Step, Workload
from icd.runtime.accelerate import Switch
from icd.runtime.step import make_step
from icd.runtime.tiles import check_tile


@dataclass(frozen=True)
class Masked:
    """Executes every channel; ``tile_rows`` and ``tile_cols`` only define what is counted as a tile."""

    tile_rows: int
    tile_cols: int
    compile: Switch = "auto"
    cuda_graph: Switch = "auto"

    def __post_init__(self) -> None:
        check_tile(self.tile_rows, self.tile_cols)

    def prepare(self, workload: Workload, precision: PrecisionSpec, device: str) -> Step:
        """A step over all channels."""
        return make_step(
            workload.module,
            workload,
            precision,
            device,
            compile=self.compile,
            cuda_graph=self.cuda_graph,
            executed={
                "engine": "masked",
                "sites": {site.name: [site.size, site.size] for site in workload.sites},
            },
        )
