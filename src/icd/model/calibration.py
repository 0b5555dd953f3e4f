"""Activations of calibration tokens at every site, collected in one pass over the dense model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from icd.contracts import Activations

if TYPE_CHECKING:
    import torch

    from icd.contracts import Site, Workload

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

    def keep(site: Site) -> Any:
        def hook(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            a = args[0].detach().reshape(-1, args[0].shape[-1]).float()  # (tokens, D * repeat)
            squares[site.name] += a.square().sum(0, dtype=torch.float64).cpu().numpy()
            if kept < MAX_TOKENS:
                grouped = a.reshape(len(a), site.size, site.repeat)
                per_channel = grouped.norm(dim=-1) if site.repeat > 1 else grouped[..., 0].abs()
                values[site.name].append(per_channel[: MAX_TOKENS - kept].cpu().numpy())

        return hook

    hooks = [
        workload.module.get_submodule(site.activation).register_forward_pre_hook(keep(site))
        for site in workload.sites
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
