"""A model of one repeated layer, with the sites of that layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from icd.contracts import Site, Workload


def one_layer(workload: Workload, site: Site) -> Workload:
    """``workload`` with the one repeated layer that holds all of ``site``; itself where none does."""
    import torch

    lists = {n: m for n, m in workload.module.named_modules() if isinstance(m, torch.nn.ModuleList)}
    parameter = site.axes[0].parameter
    name = next((n for n in lists if parameter.startswith(f"{n}.")), None)
    if name is None:
        return workload
    index = parameter.removeprefix(f"{name}.").partition(".")[0]
    prefix = f"{name}.{index}."
    if not belongs(site, prefix):
        return workload
    layers: Sequence[torch.nn.Module] = list(lists[name])
    own = layers[int(index)]
    others = {id(layer): torch.nn.Identity() for layer in layers if layer is not own}
    module = copy.deepcopy(workload.module, memo=dict(others))
    owner, _, last = name.rpartition(".")
    kept = module.get_submodule(f"{name}.{index}")
    setattr(module.get_submodule(owner), last, torch.nn.ModuleList([kept]))
    sites = tuple(renamed(s, prefix, f"{name}.0.") for s in workload.sites if belongs(s, prefix))
    names = {renamed(s, prefix, f"{name}.0.").name: s.name for s in workload.sites if belongs(s, prefix)}
    return replace(
        workload,
        module=module,
        sites=sites,
        order={new: workload.order[old] for new, old in names.items() if old in workload.order},
        live={new: workload.live[old] for new, old in names.items() if old in workload.live},
    )


def runs(workload: Workload) -> bool:
    """Whether the forward runs: a family's own code may ask for more layers, or for others, than are left."""
    import torch

    try:
        with torch.inference_mode():
            workload.forward(workload.module, workload.inputs)
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ):
        return False
    return True


def belongs(site: Site, prefix: str) -> bool:
    """Whether all of a site lies below ``prefix``."""
    return all(axis.parameter.startswith(prefix) for axis in site.axes)


def renamed(site: Site, old: str, new: str) -> Site:
    """``site`` with every name below ``old`` moved to below ``new``."""

    def move(name: str) -> str:
        return new + name.removeprefix(old) if name.startswith(old) else name

    return replace(
        site,
        axes=tuple(replace(axis, parameter=move(axis.parameter)) for axis in site.axes),
        activation=move(site.activation),
        counts=tuple((move(path), factor) for path, factor in site.counts),
    )
