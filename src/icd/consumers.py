"""What a site's activation says: the module that reads the site, and where in its input the site lies.

A consumer multiplies each of its inputs with weights. Which dimension of its weight counts inputs, and which
dimension of what enters it holds them, follows from its kind:

    linear                  weight (out, in)             last dimension of the input
    Conv1D (transformers)   weight (in, out)             last
    convolution, n axes     weight (out, in / groups)    the one before n positions: time steps, pixels
    its transposed kind     weight (in, out / groups)    the same
    batch and group norm    weight (channels,)           the second
    layer and RMS norm      weight (..., channels)       the last ones, as many as the weight has
    attention, recurrent    in_proj (.., in), weight_ih  last of the first input

In a convolution of several groups dimension 0 of the weight tells groups apart, so a channel that owns whole
groups (one in a depthwise convolution) owns their inputs; dimension 1 counts inputs inside of every group.
Any other module is a consumer through the first of the site's axes that it holds itself, ``weight`` before
others; the site then lies in the last dimension, or in ``Site.activation_dim``, which a run checks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from icd.contracts import Site, TensorAxis
from icd.errors import ConfigError
from icd.tensors import first_names, tensor

if TYPE_CHECKING:
    import torch


# weights that read a module's first input; those of deeper recurrent layers read what lies inside
FIRST_INPUT = ("in_proj_weight", "q_proj_weight", "weight_ih", "weight_ih_l0", "weight_ih_l0_reverse")


@dataclass(frozen=True)
class Entry:
    """Where a site lies in what enters its consumer, and the ``axis`` of the weight that multiplies it.

    Channel ``c`` owns ``offset + c*repeat ... offset + (c+1)*repeat - 1`` of the input's dimension ``dim``.
    """

    axis: TensorAxis
    dim: int
    offset: int
    repeat: int

    def take(self, x: torch.Tensor, site: Site) -> torch.Tensor:
        """The site's part of an input: (positions, D * repeat); ConfigError where ``x`` is too short."""
        end = self.offset + site.size * self.repeat
        if not -x.ndim <= self.dim < x.ndim or x.shape[self.dim] < end:
            raise ConfigError(
                f"site {site.name}: {site.activation} is called on {tuple(x.shape)}, whose dimension "
                f"{self.dim} should hold {end} or more; name the right one by activation_dim"
            )
        return x.detach().movedim(self.dim, -1).reshape(-1, x.shape[self.dim])[:, self.offset : end]


def entries(module: torch.nn.Module, site: Site) -> tuple[Entry, ...]:
    """Every span of the site in what enters ``site.activation``; none where that module does not read it."""
    consumer = module.get_submodule(site.activation)
    held = list(_held(module, consumer, site))
    known = [pair for pair in held if _rule(consumer, *pair) is not None]
    if known or of_known_kind(consumer):
        found = [entry for last, axis in known for entry in _rule(consumer, last, axis) or ()]
    else:
        own = sorted(held, key=lambda pair: pair[0] != "weight")[:1]
        found = [Entry(axis, -1, axis.offset, axis.repeat) for _, axis in own]
    if site.activation_dim is not None:
        found = [replace(entry, dim=site.activation_dim) for entry in found]
    return tuple(found)


def squares(module: torch.nn.Module, site: Site, entry: Entry) -> torch.Tensor:
    """Summed squares of the weights that multiply each input of the site, float64 (size * repeat,).

    In the module's own order of channels.
    """
    weight = tensor(module, entry.axis.parameter).detach().double()
    consumer = module.get_submodule(site.activation)
    groups = _groups(consumer)
    if groups > 1 and not consumer.transposed:
        inside = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        each = inside.square().sum((1, 3)).reshape(-1)
    else:
        each = weight.movedim(entry.axis.dim, 0).reshape(weight.shape[entry.axis.dim], -1).square().sum(1)
    return each[entry.offset : entry.offset + site.size * entry.repeat]


def would_do(module: torch.nn.Module, site: Site) -> list[str]:
    """Names of the modules that read the site, in the order of its axes."""
    owners = dict.fromkeys(axis.parameter.rpartition(".")[0] for axis in site.axes)
    return [n for n in owners if n and entries(module, replace(site, activation=n, activation_dim=None))]


def surely(module: torch.nn.Module, site: Site) -> bool:
    """Whether the kind of the consumer tells where the site lies in its input."""
    return site.activation_dim is None and of_known_kind(module.get_submodule(site.activation))


def of_known_kind(consumer: torch.nn.Module) -> bool:
    """Whether the table above has a line for ``consumer``, or it is known to read no channels."""
    from torch import nn

    others = nn.Embedding, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase
    torch_s = isinstance(consumer, (nn.Linear, *others, *_norms()))
    return torch_s or is_convolution(consumer) or is_conv1d(consumer)


def _held(module: torch.nn.Module, consumer: torch.nn.Module, site: Site) -> Iterator[tuple[str, TensorAxis]]:
    """Axes of the site on floating parameters that ``consumer`` holds itself, with their name in it."""
    own = {id(value): last for last, value in consumer._parameters.items() if value is not None}
    for axis in site.axes:
        value = tensor(module, axis.parameter)
        if id(value) in own and value.is_floating_point():
            yield own[id(value)], axis


def _rule(consumer: Any, last: str, axis: TensorAxis) -> tuple[Entry, ...] | None:
    """The table's line for ``axis`` of ``consumer``'s parameter ``last``; None where it is no input."""
    from torch import nn

    plain = (axis.offset, axis.repeat)
    if isinstance(consumer, (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)):
        return (Entry(axis, -1, *plain),) if last in FIRST_INPUT and axis.dim == 1 else None
    if last != "weight":
        return None
    if isinstance(consumer, nn.Linear):
        return (Entry(axis, -1, *plain),) if axis.dim == 1 else None
    if is_conv1d(consumer):
        return (Entry(axis, -1, *plain),) if axis.dim == 0 else None
    if is_convolution(consumer):
        return _of_convolution(consumer, axis)
    if isinstance(consumer, (nn.LayerNorm, nn.RMSNorm)):
        return (Entry(axis, axis.dim - len(consumer.normalized_shape), *plain),)
    if isinstance(consumer, _norms()):
        return (Entry(axis, 1, *plain),)
    return None


def _of_convolution(consumer: Any, axis: TensorAxis) -> tuple[Entry, ...] | None:
    dim = -1 - len(consumer.kernel_size)
    groups = consumer.groups
    inside, made = consumer.in_channels // groups, consumer.out_channels // groups
    if groups == 1 or consumer.transposed:
        reads = axis.dim == (0 if consumer.transposed else 1)
        return (Entry(axis, dim, axis.offset, axis.repeat),) if reads else None
    if axis.dim == 1:
        return tuple(Entry(axis, dim, k * inside + axis.offset, axis.repeat) for k in range(groups))
    if axis.dim != 0 or axis.offset % made or axis.repeat % made:
        return None
    return (Entry(axis, dim, axis.offset // made * inside, axis.repeat // made * inside),)


def _groups(consumer: Any) -> int:
    return int(consumer.groups) if is_convolution(consumer) else 1


def is_convolution(consumer: Any) -> bool:
    """Whether ``consumer`` is one of torch's convolutions, transposed or not."""
    from torch.nn.modules.conv import _ConvNd

    return isinstance(consumer, _ConvNd)


def _norms() -> tuple[type, ...]:
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase

    return (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def is_conv1d(consumer: torch.nn.Module) -> bool:
    """transformers' linear layer with a transposed weight; where the library is not loaded, there is none."""
    library = sys.modules.get("transformers.pytorch_utils")
    return library is not None and isinstance(consumer, library.Conv1D)


def name_of(module: torch.nn.Module, name: str) -> str:
    """The first name of the submodule called ``name``."""
    wanted = module.get_submodule(name)
    return next(n for n, child in module.named_modules() if child is wanted)


def named_once(module: torch.nn.Module, sites: tuple[Site, ...]) -> tuple[Site, ...]:
    """``sites`` with every tensor and consumer under its first name; an axis named twice counts once.

    A name that the module lacks stays: `icd.model.declared` refuses it.
    """
    first = first_names(module)
    submodules = dict(module.named_modules(remove_duplicate=False))

    def axis_of(axis: TensorAxis) -> TensorAxis:
        owner, _, last = axis.parameter.rpartition(".")
        held = submodules.get(owner)
        value = None if held is None else held._parameters.get(last)
        value = held._buffers.get(last) if held is not None and value is None else value
        return axis if value is None else replace(axis, parameter=first[id(value)])

    return tuple(
        replace(
            site,
            axes=tuple(dict.fromkeys(map(axis_of, site.axes))),
            activation=name_of(module, site.activation) if site.activation in submodules else site.activation,
        )
        for site in sites
    )
