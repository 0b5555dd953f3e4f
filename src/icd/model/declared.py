"""Whether declared sites fit their module: checked in every run, before anything is computed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from icd.consumers import entries, is_convolution, of_known_kind, would_do
from icd.contracts import Site, TensorAxis
from icd.errors import ConfigError
from icd.tensors import first_names, tensor

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
        if not site.axes or site.size < 1:
            raise ConfigError(f"site {site.name}: expected a channel and an axis or more")
        for axis in (*site.axes, *site.factors):
            _check_axis(module, site, axis)
        _check_activation(module, site)
        _check_counts(module, site)
    _check_overlaps(module, sites)


def _check_axis(module: torch.nn.Module, site: Site, axis: TensorAxis) -> None:
    where = f"site {site.name}: {axis.parameter}"
    if min(axis.dim, axis.offset, axis.repeat - 1) < 0:
        raise ConfigError(
            f"{where}: dim and offset count from 0 and repeat from 1; "
            f"got {axis.dim}, {axis.offset} and {axis.repeat}"
        )
    owner_name, _, last = axis.parameter.rpartition(".")
    owner = dict(module.named_modules(remove_duplicate=False)).get(owner_name)
    _check_computed(site, axis, owner_name, owner, last)
    if owner is None or (owner._parameters.get(last) is None and owner._buffers.get(last) is None):
        raise ConfigError(f"site {site.name}: the module has no parameter {axis.parameter!r}")
    shape = tensor(module, axis.parameter).shape
    need = axis.offset + site.size * axis.repeat
    inside = axis.dim < len(shape) and shape[axis.dim] >= need
    obstacle = _across_groups(owner, last, axis, site.size, inside)
    if obstacle:
        raise ConfigError(f"{where}: {owner_name} {obstacle}")
    if not inside:
        raise ConfigError(f"{where} has shape {tuple(shape)}; dimension {axis.dim} needs {need}")


def _check_computed(site: Site, axis: TensorAxis, name: str, owner: Any, last: str) -> None:
    """A weight that every forward computes from other tensors (weight norm, pruning masks) has no axis."""
    from torch import Tensor
    from torch.nn.utils import parametrize

    above, marker, rest = axis.parameter.partition(".parametrizations.")
    computed = ""
    if marker:
        computed = f"{above}.{rest.partition('.')[0]}"
    elif owner is not None and parametrize.is_parametrized(owner, last):
        computed = axis.parameter
    elif owner is not None:
        held = [key for key, value in vars(owner).items() if isinstance(value, Tensor)]
        own = next((key for key in held if last == key or last.startswith(f"{key}_")), None)
        computed = f"{name}.{own}" if own else ""
    if computed:
        raise ConfigError(
            f"site {site.name}: {computed} is no parameter: every forward computes it from others (weight "
            "norm, a pruning mask or the like); make it one in your loader (remove_parametrizations, "
            f"remove_weight_norm, prune.remove) and declare {computed}"
        )


def _across_groups(owner: Any, last: str, axis: TensorAxis, size: int, inside: bool) -> str:
    """Why a layout of the site would cross groups of a grouped convolution or group norm; empty if not."""
    from torch.nn import GroupNorm

    if is_convolution(owner) and owner.groups > 1:
        groups, what = owner.groups, type(owner).__name__
        first = owner.in_channels if owner.transposed and last == "weight" else owner.out_channels
        if last == "weight" and axis.dim == 1:
            each = tensor(owner, last).shape[1]
            return "" if inside else f"({what}) has {groups} groups of {each}: {_ONLY_GROUPS}"
    elif isinstance(owner, GroupNorm) and owner.num_groups > 1:
        groups, what, first = owner.num_groups, "GroupNorm", owner.num_channels
    else:
        return ""
    each = first // groups
    end = axis.offset + size * axis.repeat - 1
    whole = axis.offset % each == axis.repeat % each == 0
    if axis.dim or whole or axis.offset // each == end // each:
        return ""
    return f"({what}) has {groups} groups of {each}: {_ONLY_GROUPS}"


_ONLY_GROUPS = (
    "no channel can move from one to another; declare whole groups as channels (repeat) or leave the site out"
)


def _check_activation(module: torch.nn.Module, site: Site) -> None:
    """The activation must read the site: one of its axes is that module's input dimension."""
    held = dict(module.named_modules(remove_duplicate=False)).get(site.activation)
    if held is not None and (site.factors or entries(module, site)):
        return
    others = [name for name in would_do(module, site) if name != site.activation]
    instead = f"; {' or '.join(others)} would do" if others else ""
    if held is None:
        raise ConfigError(f"site {site.name}: the module has no submodule {site.activation!r}{instead}")
    if unread := _unread(module, site, held):
        raise ConfigError(
            f"site {site.name}: activation {site.activation!r} ({type(held).__name__}) holds {unread}, and "
            "channels are judged by floating-point parameters; make it one in your loader"
        )
    raise ConfigError(
        f"site {site.name}: activation {site.activation!r} ({type(held).__name__}) does not read the site: "
        f"none of its axes is that module's input dimension{instead}"
    )


def _unread(module: torch.nn.Module, site: Site, consumer: Any) -> str:
    """Which axis of the site a consumer of a class of one's own holds as no weight; empty if none.

    Codes of a quantised weight, and what is kept as a buffer, have no score.
    """
    for axis in site.axes:
        owner, _, last = axis.parameter.rpartition(".")
        value = tensor(module, axis.parameter)
        weight = last in consumer._parameters and value.is_floating_point()
        if owner == site.activation and not weight and not of_known_kind(consumer):
            held = "parameter" if last in consumer._parameters else "buffer"
            return f"{axis.parameter} as a {held} of {str(value.dtype).removeprefix('torch.')}"
    return ""


def _check_counts(module: torch.nn.Module, site: Site) -> None:
    """What follows the width of a site must be there, and must hold that width to begin with."""
    modules = dict(module.named_modules(remove_duplicate=False))
    for path, factor in site.counts:
        owner, _, name = path.rpartition(".")
        held = vars(modules[owner]).get(name) if owner in modules else None
        if held != factor * site.size:
            raise ConfigError(
                f"site {site.name}: counts say that {path} holds {factor} x {site.size} = "
                f"{factor * site.size}; it is {'not there' if held is None else held}"
            )


def _check_overlaps(module: torch.nn.Module, sites: Iterable[Site]) -> None:
    """Two sites on the same indices of a tensor, under any of its names, would move each other's channels."""
    first = first_names(module)
    spans: dict[tuple[str, int], list[tuple[int, int, str, str]]] = defaultdict(list)
    for site in sites:
        for axis in site.axes:
            end = axis.offset + site.size * axis.repeat
            name = first[id(tensor(module, axis.parameter))]
            spans[name, axis.dim].append((axis.offset, end, site.name, axis.parameter))
    for (parameter, dim), found in spans.items():
        for (_, end, one, _), (start, _, two, alias) in pairwise(sorted(found)):
            if start < end:
                other = next((a for *_, a in found if a != parameter), alias)
                if one == two:
                    raise ConfigError(
                        f"site {one}: two of its axes lie on index {start} of {parameter}, dimension {dim}; "
                        "look at their offset and repeat"
                    )
                known = "" if other == parameter else f" ({other} is {parameter} under another name)"
                raise ConfigError(
                    f"sites {one} and {two} lie on index {start} of {parameter}, dimension {dim}{known}; "
                    "declare one of them"
                )
