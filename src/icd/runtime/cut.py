"""Cutting sites down to the positions that an engine keeps, and which sites cannot be cut."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from icd.consumers import is_conv1d, is_convolution
from icd.contracts import Site, TensorAxis, Workload
from icd.errors import ConfigError, first_line
from icd.tensors import exchange, first_names, tensor

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


def cut_sites(module: torch.nn.Module, sites: Iterable[Site], keep: Mapping[str, NDArray[np.int64]]) -> None:
    """Cut every site to its positions ``keep[site.name]``, in place, with the attributes that count it.

    A parameter dimension may hold several spans (the halves of a fused projection, the heads of an
    attention), of one site or of many: they are cut together, so that declared offsets hold.
    """
    import torch

    first = first_names(module)
    spans: dict[tuple[str, int], list[tuple[TensorAxis, Site]]] = defaultdict(list)
    shorter = [site for site in sites if len(keep[site.name]) < site.size]
    for site in shorter:
        for axis in site.axes:
            spans[first[id(tensor(module, axis.parameter))], axis.dim].append((axis, site))
    for (parameter, dim), tied in spans.items():
        old = tensor(module, parameter)
        index = torch.from_numpy(kept_indices(tied, keep, old.shape[dim])).to(old.device)
        exchange(module, parameter, old.detach().index_select(dim, index).contiguous())
    for owner in dict.fromkeys(parameter.rpartition(".")[0] for parameter, _ in spans):
        follow_widths(module.get_submodule(owner))
    for site in shorter:
        for path, factor in site.counts:
            owner, _, name = path.rpartition(".")
            setattr(module.get_submodule(owner), name, factor * len(keep[site.name]))


def follow_widths(child: torch.nn.Module) -> None:
    """Set the attributes by which a layer of torch's or transformers' tells its own width, where it has any.

    A convolution of several groups is cut by whole groups, or inside of each.
    """
    import torch
    from torch.nn.modules.batchnorm import _NormBase

    if isinstance(child, torch.nn.Linear):
        child.out_features, child.in_features = child.weight.shape
    elif isinstance(child, torch.nn.Embedding):
        child.num_embeddings, child.embedding_dim = child.weight.shape
    elif isinstance(child, _NormBase) and child.weight is not None:
        child.num_features = len(child.weight)
    elif is_convolution(child):
        rows, inside = child.weight.shape[:2]
        before = child.in_channels if child.transposed else child.out_channels
        child.groups = child.groups * rows // before if child.groups > 1 else 1
        widths = inside * child.groups, rows
        child.in_channels, child.out_channels = reversed(widths) if child.transposed else widths
    elif isinstance(child, torch.nn.RNNBase):
        rows, child.input_size = child.weight_ih_l0.shape
        child.hidden_size = rows // GATES.get(child.mode, 1)
    elif isinstance(child, torch.nn.RNNCellBase):
        child.hidden_size = child.weight_hh.shape[1]
        child.input_size = child.weight_ih.shape[1]
    elif is_conv1d(child):
        child.nx, child.nf = child.weight.shape


GATES = {"LSTM": 4, "GRU": 3}  # rows of a weight for each hidden channel


@contextmanager
def narrower(format: str = "fp32") -> Iterator[None]:
    """While a forward of fewer channels first runs: ConfigError where it fails, though it ran with all, in
    float32; in another ``format`` that may be the cause as well.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        other = "" if format == "fp32" else f" in precision={format}"
        raise ConfigError(
            f"with removed channels cut away the model's forward fails{other} ({first_line(error)}); declare "
            "in counts what holds their number (num_heads), or use runtime=masked, which cuts nothing"
            f"{other and ', or precision=fp32'}"
        ) from error


def uncut(workload: Workload) -> dict[str, str]:
    """Sites that an engine keeps whole, and why: what they pass computes otherwise with fewer channels."""
    import torch

    norms = (torch.nn.LayerNorm, torch.nn.RMSNorm, torch.nn.GroupNorm)
    out = {}
    for site in workload.sites:
        for axis in site.axes:
            name = axis.parameter.rpartition(".")[0]
            owner = workload.module.get_submodule(name)
            above = workload.module.get_submodule(name.rpartition(".")[0])
            if is_convolution(owner) and owner.groups > 1 and axis.dim == 0 and partial_groups(owner, axis):
                out[site.name] = f"{name} ({type(owner).__name__}) would have groups of unequal width"
            elif isinstance(owner, norms) and not site.output:
                out[site.name] = f"{name} ({type(owner).__name__}) normalises over the site's channels"
            elif any(isinstance(m, torch.nn.MultiheadAttention) for m in (owner, above)):
                out[site.name] = f"torch's MultiheadAttention ({name}) has one width of heads and output"
    return out


def partial_groups(convolution: Any, axis: TensorAxis) -> bool:
    """Whether a channel of a site on dimension 0 of a convolution of several groups is less than a group."""
    transposed = convolution.transposed and axis.parameter.endswith(".weight")
    rows = convolution.in_channels if transposed else convolution.out_channels
    return bool(axis.repeat % (rows // convolution.groups))


def kept_indices(
    tied: Iterable[tuple[TensorAxis, Site]], keep: Mapping[str, NDArray[np.int64]], length: int
) -> NDArray[np.int64]:
    """Indices along one dimension of ``length`` that stay; cut from the last span to the first."""
    index = np.arange(length)
    for axis, site in sorted(tied, key=lambda pair: -pair[0].offset):
        index = index[axis.expand(keep[site.name], site.size, len(index))]
    return index
