"""``compact``: tiles that the layout left without a live channel drop out; what stays runs dense.

Every parameter tied to a site is sliced along its tied axis to the kept tiles, so each layer becomes an
ordinary smaller dense layer and runs the same kernels as the dense model at that width.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icd.contracts import PrecisionSpec, Site, Step, Workload
from icd.runtime.accelerate import Switch
from icd.runtime.step import make_step
from icd.runtime.tiles import check_tile, kept_channels

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


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
        """A step over the kept tiles; ``executed["sites"]`` holds [kept, all] channels a site."""
        module = copy.deepcopy(workload.module)
        widths: dict[str, list[int]] = {}
        for site in workload.sites:
            keep = kept_channels(workload, site, self.tile_cols)
            widths[site.name] = [len(keep), site.size]
            if len(keep) < site.size:
                slice_site(module, site, keep)
        return make_step(
            module,
            workload,
            precision,
            device,
            compile=self.compile,
            cuda_graph=self.cuda_graph,
            executed={"engine": "compact", "sites": widths},
        )


def slice_site(module: torch.nn.Module, site: Site, keep: NDArray[np.int64]) -> None:
    """Cut ``site`` down to the positions ``keep``, in place, with the attributes that count it.

    The parts of a fused axis are cut from the last to the first, so that offsets still hold.
    """
    import torch

    for axis in sorted(site.axes, key=lambda axis: -axis.offset):
        owner_name, _, name = axis.parameter.rpartition(".")
        owner = module.get_submodule(owner_name)
        old = module.get_parameter(axis.parameter)
        index = torch.from_numpy(axis.expand(keep, site.size, old.shape[axis.dim])).to(old.device)
        sliced = old.detach().index_select(axis.dim, index).contiguous()
        setattr(owner, name, torch.nn.Parameter(sliced, requires_grad=False))
        if isinstance(owner, torch.nn.Linear) and name == "weight":
            owner.out_features, owner.in_features = sliced.shape
    for path, factor in site.counts:
        owner_name, _, name = path.rpartition(".")
        setattr(module.get_submodule(owner_name), name, factor * len(keep))
