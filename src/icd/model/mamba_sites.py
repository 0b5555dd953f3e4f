"""The sites of a Mamba-1 stack: its inner channels, layer by layer."""

from __future__ import annotations

from icd.contracts import Site, TensorAxis
from icd.model.mamba_module import MambaStack


def mamba_sites(module: MambaStack) -> tuple[Site, ...]:
    """d_inner of every layer."""
    return tuple(inner_site(module, i) for i in range(len(module.layers)))


def inner_site(module: MambaStack, layer: int) -> Site:
    """Inner channels of one mixer.

    A channel owns a row of each half of the input projection (x in front, the gate z behind), a filter of
    the depthwise convolution, a column of ``x_proj``, a row of ``dt_proj``, its decays, its skip weight and
    a column of the output projection.
    """
    mixer = f"layers.{layer}.mixer"
    parameters = {name for name, _ in module.get_submodule(mixer).named_parameters()}
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
        axes=tuple(
            TensorAxis(f"{mixer}.{name}", dim, offset) for name, dim, offset in axes if name in parameters
        ),
        group="d_inner",
        activation=f"{mixer}.out_proj",
        counts=tuple((f"{mixer}.{name}", 1) for name in counts),
    )
