"""Applying layouts: one generic function for every site of every family."""

from __future__ import annotations

import copy

import numpy as np

from icd.contracts import IntArray, Layouts, Site, Workload, check_permutation, inverse


def relative(current: IntArray, target: IntArray) -> IntArray:
    """The order that takes a module laid out as ``current`` to ``target``, both in dense channels."""
    return inverse(current)[target]


def permute(workload: Workload, layouts: Layouts) -> Workload:
    """A copy of ``workload`` laid out as ``layouts`` says (sites not named stay as they are).

    Layouts are absolute, ``pi[new_position] = dense channel``, whatever has been applied before.
    """
    import torch

    module = copy.deepcopy(workload.module)
    order = dict(workload.order)
    for site in workload.sites:
        if site.name not in layouts:
            continue
        target = check_permutation(layouts[site.name], site.size, site.name)
        step = relative(workload.layout(site), target)
        order[site.name] = target
        if np.array_equal(step, np.arange(site.size)):
            continue
        for axis in site.axes:
            parameter = module.get_parameter(axis.parameter)
            index = torch.from_numpy(axis.expand(step, site.size, parameter.shape[axis.dim]))
            with torch.no_grad():
                parameter.data = parameter.data.index_select(
                    axis.dim, index.to(parameter.device)
                ).contiguous()
    return workload.with_module(module, order=order)


def restore(workload: Workload) -> Workload:
    """A copy of ``workload`` in dense order."""
    return permute(workload, {site.name: identity(site) for site in workload.sites})


def identity(site: Site) -> IntArray:
    """The layout that changes nothing."""
    return np.arange(site.size, dtype=np.int32)
