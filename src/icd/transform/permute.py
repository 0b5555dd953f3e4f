"""Applying layouts: one generic function for every site of every family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from icd.contracts import Inputs, IntArray, Layouts, Site, Workload, check_permutation, inverse
from icd.copies import copied
from icd.tensors import tensor

if TYPE_CHECKING:
    import torch


def relative(current: IntArray, target: IntArray) -> IntArray:
    """The order that takes a module laid out as ``current`` to ``target``, both in dense channels."""
    return inverse(current)[target]


def permute(workload: Workload, layouts: Layouts) -> Workload:
    """A copy of ``workload`` laid out as ``layouts`` says (sites not named stay as they are).

    Layouts are absolute, ``pi[new_position] = dense channel``, whatever has been applied before.
    """
    turned = [site for site, _, step in steps(workload, layouts) if turns(step)]
    moved = {id(tensor(workload.module, axis.parameter)) for site in turned for axis in site.axes}
    # what moves is made anew below; until then another tensor over the same memory stands for it
    module = copied(workload.module, lambda x: x.detach() if id(x) in moved else x.clone())
    return permute_in_place(workload.with_module(module), layouts)


def permute_in_place(workload: Workload, layouts: Layouts) -> Workload:
    """As `permute`, on the very module: for models of which a copy more would not fit."""
    import torch

    module = workload.module
    order = dict(workload.order)
    for site, target, step in steps(workload, layouts):
        order[site.name] = target
        if not turns(step):
            continue
        for axis in site.axes:
            tied = tensor(module, axis.parameter)
            index = torch.from_numpy(axis.expand(step, site.size, tied.shape[axis.dim]))
            with torch.no_grad():
                tied.data = tied.data.index_select(axis.dim, index.to(tied.device)).contiguous()
    return undo_output(workload.with_module(module, order=order))


def steps(workload: Workload, layouts: Layouts) -> Iterator[tuple[Site, IntArray, IntArray]]:
    """Every site that is named, its layout, and the order that takes the module there from where it is."""
    for site in workload.sites:
        if site.name in layouts:
            target = check_permutation(layouts[site.name], site.size, site.name)
            yield site, target, relative(workload.layout(site), target)


def turns(step: IntArray) -> bool:
    """Whether ``step`` moves anything."""
    return not np.array_equal(step, np.arange(len(step)))


@dataclass(frozen=True)
class DenseOutput:
    """``forward`` with its last dimension back in dense order, by the module's buffer ``output_order``."""

    forward: Callable[[torch.nn.Module, Inputs], torch.Tensor]

    def __call__(self, module: torch.nn.Module, inputs: Inputs) -> torch.Tensor:
        """(batch, seq_len, width) in dense order."""
        return self.forward(module, inputs).index_select(-1, module.get_buffer("output_order"))


def undo_output(workload: Workload) -> Workload:
    """``workload`` with a forward that answers in dense order, where a permuted site orders the output."""
    import torch

    site = next((s for s in workload.sites if s.output), None)
    if site is None:
        return workload
    forward = workload.forward.forward if isinstance(workload.forward, DenseOutput) else workload.forward
    back = inverse(workload.layout(site))
    device = next(workload.module.parameters()).device
    workload.module.register_buffer(
        "output_order", torch.from_numpy(back).long().to(device), persistent=False
    )
    if np.array_equal(back, identity(site)):
        return replace(workload, forward=forward)
    return replace(workload, forward=DenseOutput(forward))


def restore(workload: Workload, *, in_place: bool = False) -> Workload:
    """A copy of ``workload`` in dense order; ``in_place``, its own module put back."""
    apply = permute_in_place if in_place else permute
    return apply(workload, {site.name: identity(site) for site in workload.sites})


def identity(site: Site) -> IntArray:
    """The layout that changes nothing."""
    return np.arange(site.size, dtype=np.int32)
