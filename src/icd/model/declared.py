"""Whether declared sites fit their module: checked in every run, before anything is computed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from icd.contracts import Site
from icd.errors import ConfigError

if TYPE_CHECKING:
    import torch


def check_sites(module: torch.nn.Module, sites: Iterable[Site]) -> None:
    """ConfigError where a site names what the module lacks, counts wrongly, or lies on another one.

    A missing axis is not seen here: the equivalence proof finds it.
    """
    sites = tuple(sites)
    for name, times in Counter(site.name for site in sites).items():
        if times > 1:
            raise ConfigError(f"site {name}: declared {times} times; names must differ")
    for site in sites:
        _check_parts(module, site)
        _check_counts(module, site)
    _check_overlaps(sites)


def _check_parts(module: torch.nn.Module, site: Site) -> None:
    parameters = dict(module.named_parameters())
    if site.activation not in dict(module.named_modules()):
        raise ConfigError(f"site {site.name}: the module has no submodule {site.activation!r}")
    if not site.axes or site.size < 1:
        raise ConfigError(f"site {site.name}: expected a channel and an axis or more")
    for axis in (*site.axes, *site.factors):
        if min(axis.dim, axis.offset, axis.repeat - 1) < 0:
            raise ConfigError(
                f"site {site.name}: {axis.parameter}: dim and offset count from 0 and repeat from 1; "
                f"got {axis.dim}, {axis.offset} and {axis.repeat}"
            )
        if axis.parameter not in parameters:
            raise ConfigError(f"site {site.name}: the module has no parameter {axis.parameter!r}")
        shape = parameters[axis.parameter].shape
        need = axis.offset + site.size * axis.repeat
        if axis.dim >= len(shape) or shape[axis.dim] < need:
            raise ConfigError(
                f"site {site.name}: {axis.parameter} has shape {tuple(shape)}; "
                f"dimension {axis.dim} needs {need}"
            )


def _check_counts(module: torch.nn.Module, site: Site) -> None:
    """What follows the width of a site must be there, and must hold that width to begin with."""
    modules = dict(module.named_modules())
    for path, factor in site.counts:
        owner, _, name = path.rpartition(".")
        held = vars(modules[owner]).get(name) if owner in modules else None
        if held != factor * site.size:
            raise ConfigError(
                f"site {site.name}: counts say that {path} holds {factor} x {site.size} = "
                f"{factor * site.size}; it is {'not there' if held is None else held}"
            )


def _check_overlaps(sites: Iterable[Site]) -> None:
    """Two sites on the same indices of a parameter would move each other's channels."""
    spans: dict[tuple[str, int], list[tuple[int, int, str]]] = defaultdict(list)
    for site in sites:
        for axis in site.axes:
            end = axis.offset + site.size * axis.repeat
            spans[axis.parameter, axis.dim].append((axis.offset, end, site.name))
    for (parameter, dim), found in spans.items():
        for (_, end, first), (start, _, second) in pairwise(sorted(found)):
            if start < end:
                raise ConfigError(
                    f"sites {first} and {second} lie on index {start} of {parameter}, dimension {dim}; "
                    "declare one of them"
                )
