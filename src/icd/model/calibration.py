"""Activations of calibration tokens at every site, collected in one pass over the dense model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from icd.calls import input_of
from icd.contracts import Activations

if TYPE_CHECKING:
    import torch

    from icd.contracts import Site, TensorAxis, Workload

    Take: TypeAlias = Callable[[Site, torch.Tensor, torch.Tensor], None]

MAX_TOKENS = 2048


def collect(workload: Workload) -> Activations | None:
    """`Activations` of ``workload`` over its calibration batches; None where it has none.

    Values are kept for the first 2,048 tokens, norms are summed over all. Expects an unpermuted module.
    """
    import torch

    if not workload.calibration:
        return None
    values: dict[str, list[np.ndarray]] = {site.name: [] for site in workload.sites}
    squares: dict[str, np.ndarray] = {site.name: np.zeros(site.size * site.repeat) for site in workload.sites}
    kept = 0

    def take(site: Site, per_channel: torch.Tensor, summed: torch.Tensor) -> None:
        """``per_channel`` (tokens, D) and the summed squares of each element, (D * repeat,)."""
        squares[site.name] += summed.cpu().numpy()
        if kept < MAX_TOKENS:
            values[site.name].append(per_channel[: MAX_TOKENS - kept].cpu().numpy())

    hooks = [
        hook
        for site in workload.sites
        for hook in (watch_factors if site.factors else watch_input)(workload.module, site, take)
    ]
    tokens = 0
    try:
        with torch.inference_mode():
            for batch in workload.calibration:
                out = workload.forward(workload.module, batch)
                tokens += out.shape[0] * out.shape[1]
                kept = tokens
    finally:
        for hook in hooks:
            hook.remove()
    return Activations(
        values={name: np.concatenate(parts) for name, parts in values.items()},
        norms={name: np.sqrt(total) for name, total in squares.items()},
        tokens=tokens,
    )


def watch_input(module: torch.nn.Module, site: Site, take: Take) -> list[Any]:
    """Hooks that hand on what enters the site's consumer."""
    import torch

    span = slice(site.activation_offset, site.activation_offset + site.size * site.repeat)

    def hook(reader: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = input_of(reader, args, kwargs).detach()
        a = x.reshape(-1, x.shape[-1])[:, span].float()  # (tokens, D * repeat)
        grouped = a.reshape(len(a), site.size, site.repeat)
        per_channel = grouped.norm(dim=-1) if site.repeat > 1 else grouped[..., 0].abs()
        take(site, per_channel, a.square().sum(0, dtype=torch.float64))

    return [module.get_submodule(site.activation).register_forward_pre_hook(hook, with_kwargs=True)]


def watch_factors(module: torch.nn.Module, site: Site, take: Take) -> list[Any]:
    """Hooks that hand on products of the outputs of the site's factors.

    Per token |q_c| |k_c|. Squares are summed over all pairs of tokens s, t of a sequence, for the site is
    summed over in every pair: ``sum_s q_c(s)^2 * sum_t k_c(t)^2``, what the channel adds to the square of
    the attention scores.
    """
    parts: dict[int, torch.Tensor] = {}

    def keep(number: int, axis: TensorAxis) -> Any:
        def hook(_: torch.nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
            rows = out.detach()[..., axis.offset : axis.offset + site.size].float()
            parts[number] = rows.reshape(-1, *rows.shape[-2:])  # (sequences, tokens, D)
            if len(parts) < len(site.factors):
                return
            product = math.prod(part.abs() for part in parts.values())
            pairs = math.prod(part.double().square().sum(1) for part in parts.values())
            parts.clear()
            take(site, product.reshape(-1, site.size), pairs.sum(0))

        return hook

    return [
        module.get_submodule(axis.parameter.removesuffix(".weight")).register_forward_hook(keep(k, axis))
        for k, axis in enumerate(site.factors)
    ]
