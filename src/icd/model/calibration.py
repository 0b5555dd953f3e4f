"""Activations of calibration tokens at every site, collected in one pass over the dense model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from icd.consumers import Entry, entries
from icd.contracts import Activations
from icd.errors import ConfigError
from icd.watching import watch_consumer

if TYPE_CHECKING:
    import torch

    from icd.contracts import Site, TensorAxis, Workload

    Take: TypeAlias = Callable[[Site, torch.Tensor, torch.Tensor], None]

MAX_TOKENS = 2048


def collect(workload: Workload) -> Activations | None:
    """`Activations` of ``workload`` over its calibration batches; None where it has none.

    Values are kept for a site's first 2,048 tokens, norms are summed over all. Expects an unpermuted module.
    ConfigError where a site's consumer is never called.
    """
    import torch

    if not workload.calibration:
        return None
    values: dict[str, list[np.ndarray]] = {site.name: [] for site in workload.sites}
    squares: dict[str, Any] = dict.fromkeys(values, 0.0)
    kept: Counter[str] = Counter()
    positions: dict[str, int] = {}  # of each site, in a batch's first call: a block may be called again

    def take(site: Site, per_channel: torch.Tensor, summed: torch.Tensor) -> None:
        """``per_channel`` (tokens, D) and the summed squares of each element, (D * repeat,)."""
        squares[site.name] = squares[site.name] + summed.cpu().numpy()
        values[site.name].append(per_channel[: max(0, MAX_TOKENS - kept[site.name])].cpu().numpy())
        kept[site.name] += len(per_channel)
        positions.setdefault(site.name, len(per_channel))

    hooks = [hook for site in workload.sites for hook in watch(workload.module, site, take)]
    tokens = 0
    try:
        with torch.inference_mode():
            for batch in workload.calibration:
                positions.clear()
                workload.forward(workload.module, batch)
                tokens += max(positions.values(), default=0)
    finally:
        for hook in hooks:
            hook.remove()
    for site in workload.sites:
        if not kept[site.name]:
            raise ConfigError(
                f"site {site.name}: the forward never calls {site.activation} on the calibration inputs, so "
                "that nothing is recorded of it; use graph=weights transform.score=magnitude"
            )
    return Activations(
        values={name: np.concatenate(parts) for name, parts in values.items()},
        norms={name: np.sqrt(total) for name, total in squares.items()},
        tokens=tokens,
    )


def watch(module: torch.nn.Module, site: Site, take: Take) -> list[Any]:
    """Hooks that hand on the site's activations."""
    if site.factors:
        return watch_factors(module, site, take)
    return watch_consumer(module, site.activation, partial(take_input, site, entries(module, site), take))


def take_input(site: Site, spans: Sequence[Entry], take: Take, x: torch.Tensor) -> None:
    """Hand on the site's part of what enters its consumer, ``x``."""
    import torch

    parts = [span.take(x, site).float() for span in spans]  # (tokens, D * repeat) each
    grouped = torch.cat([a.reshape(len(a), site.size, -1) for a in parts], dim=2)
    per_channel = grouped.norm(dim=-1) if grouped.shape[-1] > 1 else grouped[..., 0].abs()
    take(site, per_channel, torch.cat([a.square().sum(0, dtype=torch.float64) for a in parts]))


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
