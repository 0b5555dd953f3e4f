"""The sites of a Mamba-1 stack: inner channels, and where asked for time steps' ranks, states, residual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icd.contracts import Site, TensorAxis
from icd.model.mamba_module import MambaStack

if TYPE_CHECKING:
    from collections.abc import Sequence


def mamba_sites(module: MambaStack, kinds: Sequence[str] = ("d_inner",)) -> tuple[Site, ...]:
    """Sites of every layer, of the kinds asked for: d_inner, dt_rank, d_state, residual."""
    own = {"d_inner": inner_site, "dt_rank": rank_site, "d_state": state_site}
    sites = [own[kind](module, i) for i in range(len(module.layers)) for kind in own if kind in kinds]
    if "residual" in kinds:
        sites.append(residual_site(module))
    return tuple(sites)


def present(module: MambaStack, axes: Sequence[TensorAxis]) -> tuple[TensorAxis, ...]:
    """Those of ``axes`` whose parameter is there: projections may have no bias."""
    names = {name for name, _ in module.named_parameters()}
    return tuple(axis for axis in axes if axis.parameter in names)


def inner_site(module: MambaStack, layer: int) -> Site:
    """Inner channels of one mixer.

    A channel owns a row of each half of the input projection (x in front, the gate z behind), a filter of
    the depthwise convolution, a column of ``x_proj``, a row of ``dt_proj``, its decays, its skip weight and
    a column of the output projection.
    """
    mixer = f"layers.{layer}.mixer"
    size = int(module.get_parameter(f"{mixer}.D").shape[0])
    axes = [
        ("in_proj.weight", 0, 0),
        ("in_proj.weight", 0, size),
        ("in_proj.bias", 0, 0),
        ("in_proj.bias", 0, size),
        ("conv1d.weight", 0, 0),
        ("conv1d.bias", 0, 0),
        ("x_proj.weight", 1, 0),
        ("dt_proj.weight", 0, 0),
        ("dt_proj.bias", 0, 0),
        ("A_log", 0, 0),
        ("D", 0, 0),
        ("out_proj.weight", 1, 0),
    ]
    counts = ("intermediate_size", "conv1d.groups", "conv1d.in_channels", "conv1d.out_channels")
    return Site(
        name=f"layers.{layer}.d_inner",
        size=size,
        axes=present(module, [TensorAxis(f"{mixer}.{name}", dim, offset) for name, dim, offset in axes]),
        group="d_inner",
        activation=f"{mixer}.out_proj",
        counts=tuple((f"{mixer}.{name}", 1) for name in counts),
    )


def rank_site(module: MambaStack, layer: int) -> Site:
    """The rank of one mixer's time steps: the first rows of ``x_proj``, the columns of ``dt_proj``."""
    mixer = f"layers.{layer}.mixer"
    return Site(
        name=f"layers.{layer}.dt_rank",
        size=int(module.get_parameter(f"{mixer}.dt_proj.weight").shape[1]),
        axes=(TensorAxis(f"{mixer}.x_proj.weight", 0), TensorAxis(f"{mixer}.dt_proj.weight", 1)),
        group="dt_rank",
        activation=f"{mixer}.dt_proj",
        grain=8,
    )


def state_site(module: MambaStack, layer: int) -> Site:
    """The states of one mixer: the B and C rows of ``x_proj``, columns of the decays.

    Its activations are the products B_n C_n that the output is a sum of.
    """
    mixer = f"layers.{layer}.mixer"
    size = int(module.get_parameter(f"{mixer}.A_log").shape[1])
    rank = int(module.get_parameter(f"{mixer}.dt_proj.weight").shape[1])
    rows = tuple(TensorAxis(f"{mixer}.x_proj.weight", 0, rank + k * size) for k in range(2))
    return Site(
        name=f"layers.{layer}.d_state",
        size=size,
        axes=(*rows, TensorAxis(f"{mixer}.A_log", 1)),
        group="d_state",
        activation=f"{mixer}.out_proj",
        factors=rows,
        grain=8,
    )


def residual_site(module: MambaStack) -> Site:
    """The residual stream: embeddings, every norm, all inputs and outputs of every mixer."""
    axes = [TensorAxis("embeddings.weight", 1), TensorAxis("norm_f.weight", 0)]
    for i in range(len(module.layers)):
        mixer = f"layers.{i}.mixer"
        axes += [
            TensorAxis(f"layers.{i}.norm.weight", 0),
            TensorAxis(f"{mixer}.in_proj.weight", 1),
            TensorAxis(f"{mixer}.out_proj.weight", 0),
            TensorAxis(f"{mixer}.out_proj.bias", 0),
        ]
    return Site(
        name="residual",
        size=int(module.norm_f.weight.shape[0]),
        axes=present(module, axes),
        group="residual",
        activation=f"layers.{len(module.layers) // 2}.mixer.in_proj",
        output=True,
    )
