"""Whether what enters a site's consumer moves with the site, where its kind does not tell.

For a layer of torch's the dimension of its input follows from its weight (`icd.consumers`). For a module of
the user's own, or where the sites file says ``activation_dim``, it is tried: with the site permuted, the same
calibration batch must enter the consumer in the permuted order.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from icd.consumers import entries, surely
from icd.errors import ConfigError
from icd.transform.permute import permute
from icd.watching import watch_consumer

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs, Site, Workload

TOLERANCE = 1e-3  # of the largest value: float32 behind other orders of summation


def check_carried(workload: Workload) -> None:
    """ConfigError where a tried site's channels do not enter its consumer where they should."""
    tried = [s for s in workload.sites if not s.factors and s.size > 1 and not surely(workload.module, s)]
    if not tried:
        return
    inputs = next(iter(workload.calibration), workload.inputs)
    layouts = {s.name: np.random.default_rng(0).permutation(s.size).astype(np.int32) for s in tried}
    moved = permute(workload, layouts)
    before, after = (entering(w, tried, inputs) for w in (workload, moved))
    for site in (s for s in tried if s.name in before):  # one that is never called is refused elsewhere
        pi = layouts[site.name].astype(np.int64)
        spans = entries(workload.module, site)
        for entry, a, b in zip(spans, before[site.name], after[site.name], strict=True):
            expected = a.reshape(len(a), site.size, entry.repeat)[:, pi].reshape(a.shape)
            if not (expected - b).abs().max() <= TOLERANCE * a.abs().max():
                raise ConfigError(
                    f"site {site.name}: what enters {site.activation} does not follow the site's channels in "
                    f"dimension {entry.dim}; name the right one by activation_dim, or the right module"
                )


def entering(workload: Workload, sites: list[Site], inputs: Inputs) -> dict[str, list[torch.Tensor]]:
    """The part of each site in what first enters its consumer, (tokens, D * repeat) for each of its spans."""
    import torch

    found: dict[str, list[torch.Tensor]] = {}

    def see(site: Site, x: torch.Tensor) -> None:
        found.setdefault(site.name, [e.take(x, site).float() for e in entries(workload.module, site)])

    hooks = [h for s in sites for h in watch_consumer(workload.module, s.activation, partial(see, s))]
    try:
        with torch.inference_mode():
            workload.forward(workload.module, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found
