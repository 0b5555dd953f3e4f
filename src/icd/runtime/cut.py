"""Cutting sites down to the positions that an engine keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from icd.contracts import Site, TensorAxis

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


def cut_sites(module: torch.nn.Module, sites: Iterable[Site], keep: Mapping[str, NDArray[np.int64]]) -> None:
    """Cut every site to its positions ``keep[site.name]``, in place, with the attributes that count it.

    A parameter dimension may hold several spans (the halves of a fused projection, the heads of an
    attention), of one site or of many: they are cut together, so that declared offsets hold.
    """
    import torch

    spans: dict[tuple[str, int], list[tuple[TensorAxis, Site]]] = defaultdict(list)
    for site in sites:
        if len(keep[site.name]) == site.size:
            continue
        for axis in site.axes:
            spans[axis.parameter, axis.dim].append((axis, site))
        for path, factor in site.counts:
            owner_name, _, name = path.rpartition(".")
            setattr(module.get_submodule(owner_name), name, factor * len(keep[site.name]))
    for (parameter, dim), tied in spans.items():
        owner_name, _, name = parameter.rpartition(".")
        owner = module.get_submodule(owner_name)
        old = module.get_parameter(parameter)
        index = torch.from_numpy(kept_indices(tied, keep, old.shape[dim])).to(old.device)
        cut = old.detach().index_select(dim, index).contiguous()
        setattr(owner, name, torch.nn.Parameter(cut, requires_grad=False))
        if isinstance(owner, torch.nn.Linear) and name == "weight":
            owner.out_features, owner.in_features = cut.shape


def kept_indices(
    tied: Iterable[tuple[TensorAxis, Site]], keep: Mapping[str, NDArray[np.int64]], length: int
) -> NDArray[np.int64]:
    """Indices along one dimension of ``length`` that stay; cut from the last span to the first."""
    index = np.arange(length)
    for axis, site in sorted(tied, key=lambda pair: -pair[0].offset):
        index = index[axis.expand(keep[site.name], site.size, len(index))]
    return index
