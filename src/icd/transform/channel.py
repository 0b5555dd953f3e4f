"""Channel sparsity: whole channels of internal sites are zeroed in place.

Scores: ``magnitude``, the root of the summed squares of every parameter tied to a channel; ``wanda``, weight
times activation norm at the consumer (Sun et al. 2023, arXiv 2306.11695, summed over a channel), and where
activations enter no consumer (Q and K dimensions) their own norm over all pairs of tokens;
``random``, seeded. The same share of every site goes, so that layers keep comparable widths, and
one channel of each stays at least. What reads the channels that are left may be refitted afterwards
(`icd.transform.recover`).
"""

from __future__ import annotations

import copy
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icd.consumers import entries, squares
from icd.contracts import Activations, BoolArray, FloatArray, IntArray, Site, Workload
from icd.errors import ConfigError
from icd.tensors import tensor
from icd.transform.groups import sites_of
from icd.transform.order import Order
from icd.transform.permute import permute, restore

if TYPE_CHECKING:
    import torch

TOLERANCE = 0.05  # of a site's channels, that rounding to whole ones may cost without a word


@dataclass(frozen=True)
class Channel:
    """Zero ``sparsity`` of the channels of every site whose group is in ``groups``.

    ``attention`` is read by the model, which declares whole heads or the dimensions inside them; ``order``
    by the pipeline, which hands over weights that are rounded already (`icd.transform.order`).
    """

    sparsity: float
    score: Literal["magnitude", "wanda", "random"]
    groups: list[str]
    seed: int
    recover: Literal["auto", "none", "lstsq"] = "none"
    attention: Literal["heads", "dims"] = "heads"
    order: Order = "sparsity_first"

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity <= 0.95:
            raise ConfigError(f"sparsity={self.sparsity}: expected a number from 0 to 0.95")

    def needs_activations(self) -> bool:
        """Whether scores are computed from activations."""
        return self.score == "wanda"

    def apply(self, workload: Workload, activations: Activations | None) -> Workload:
        """A copy of ``workload`` with the weakest channels zeroed; ``live`` says which are left.

        Values are made in dense order, so that they are the same bit for bit in any layout.
        """
        from icd.transform.recover import finish

        if self.score == "wanda" and activations is None:
            raise ConfigError(
                f"transform.score=wanda needs calibration inputs and model={workload.card.name} has none; "
                "use transform.score=magnitude"
            )
        dense = restore(workload)
        module = copy.deepcopy(dense.module)
        live, masks = dict(workload.live), {}
        for site in sites_of(workload, self.groups):
            if site.output:
                raise ConfigError(
                    f"transform.groups: {site.group} is the order of the model's output and can only be "
                    "permuted; take it out of the list"
                )
            mask = self.choose(dense, site, activations)
            masks[site] = mask
            live[site.name] = mask & workload.live_mask(site)
            zero_dead(module, site, live[site.name])
        notes = attention_note(self.attention, workload) | share_note(
            self.sparsity, ((site.group, site.size, int((~mask).sum())) for site, mask in masks.items())
        )
        pruned = dense.with_module(module, live=live, notes=notes)
        return permute(finish(self.recover, pruned, dense), workload.order)

    def choose(self, workload: Workload, site: Site, activations: Activations | None) -> BoolArray:
        """Live mask (D,) in dense order; ties go to the lower channel number. One channel stays at least.

        ConfigError where scores are not finite or all equal: they choose nothing.
        """
        dead = min(round(self.sparsity * site.size), site.size - 1)
        mask = np.ones(site.size, bool)
        if dead:
            scores = self._scores(workload, site, activations)
            check_scores(f"site {site.name}", self.score, scores)
            mask[np.argsort(scores, kind="stable")[:dead]] = False
        return mask

    def _scores(self, workload: Workload, site: Site, activations: Activations | None) -> FloatArray:
        """(D,) in dense order, higher is worth more."""
        if self.score == "random":
            return np.random.default_rng([self.seed, zlib.crc32(site.name.encode())]).random(site.size)
        if self.score == "wanda" and site.factors:
            assert activations is not None
            return np.asarray(activations.norms[site.name], np.float64) ** 2
        layout = workload.layout(site)
        out = np.empty(site.size)
        if self.score == "wanda":
            assert activations is not None
            out[layout] = wanda(workload.module, site, layout, activations.norms[site.name])
        else:
            out[layout] = magnitude(workload.module, site)
        return out


def magnitude(module: torch.nn.Module, site: Site) -> FloatArray:
    """Summed squares of every parameter tied to each channel, (D,) in the module's order.

    Buffers are left out: statistics and masks are no weights.
    """
    import torch

    total = np.zeros(site.size)
    for axis in site.axes:
        tied = tensor(module, axis.parameter)
        if not isinstance(tied, torch.nn.Parameter) or not tied.is_floating_point():  # an index is no weight
            continue
        rows = tied.detach().double().movedim(axis.dim, 0).reshape(tied.shape[axis.dim], -1)
        each = rows.square().sum(1).cpu().numpy()[axis.offset : axis.offset + site.size * axis.repeat]
        total += each.reshape(site.size, axis.repeat).sum(1)
    return total


def wanda(module: torch.nn.Module, site: Site, layout: IntArray, norms: FloatArray) -> FloatArray:
    """Summed squares of weights times ``norms`` of what they multiply, (D,) in the module's order.

    ``norms`` in dense order, the site's spans in its consumer's input one after the other.
    """
    total, start = np.zeros(site.size), 0
    for entry in entries(module, site):
        own = norms[start : start + site.size * entry.repeat].reshape(site.size, entry.repeat)
        start += own.size
        each = squares(module, site, entry).cpu().numpy().reshape(site.size, entry.repeat)
        total += (each * own[layout] ** 2).sum(1)
    return total


def check_scores(where: str, score: str, scores: FloatArray) -> None:
    """ConfigError where ``scores`` are not finite, or all equal: any choice by them would be arbitrary."""
    if not np.isfinite(scores).all():
        found, what = f"{int((~np.isfinite(scores)).sum())} of {scores.size} scores that are not finite", ""
    elif scores.size > 1 and scores.min() == scores.max():
        found, what = f"all {scores.size} scores equal ({scores.flat[0]:.3g})", ", so nothing is weakest"
    else:
        return
    raise ConfigError(
        f"{where}: transform.score={score} gives {found}{what}; look at the weights and the calibration "
        "inputs, or use another transform.score"
    )


def attention_note(asked: str, workload: Workload) -> dict[str, Any]:
    """What is pruned inside attentions, for the record: asked for and found in the model."""
    groups = {site.group for site in workload.sites}
    found = "dims" if groups & {"vo_dims", "qk_dims"} else "heads" if "heads" in groups else "none"
    return {"attention": {"asked": asked, "sites": found}}


def share_note(asked: float, removed: Iterable[tuple[str, int, int]]) -> dict[str, Any]:
    """For the record: sites too small for the share ``asked``, where what went differs by over 5 points.

    ``removed``: group, channels and dead channels of every site.
    """
    rows = Counter(
        (group, size, dead) for group, size, dead in removed if abs(dead / size - asked) > TOLERANCE
    )
    if not rows:
        return {}
    parts = [
        f"{count} {'site' if count == 1 else 'sites'} of {size} {group}: "
        f"{dead / size:.0%} instead of {asked:.0%}"
        for (group, size, dead), count in rows.items()
    ]
    return {
        "share": {
            "asked": asked,
            "sites": [
                {"group": group, "channels": size, "sites": count, "removed": dead / size}
                for (group, size, dead), count in rows.items()
            ],
            "reason": f"sites of few channels cannot lose the share asked for: {'; '.join(parts)}",
        }
    }


def zero_dead(module: torch.nn.Module, site: Site, live: BoolArray) -> None:
    """Zero everything tied to the dead channels; ``live`` (D,) in the module's own order."""
    import torch

    dead = np.flatnonzero(~live)
    for axis in site.axes:
        tied = tensor(module, axis.parameter)
        inner = axis.offset + (dead[:, None] * axis.repeat + np.arange(axis.repeat)).ravel()
        with torch.no_grad():
            tied.data.index_fill_(axis.dim, torch.from_numpy(inner).to(tied.device), 0)
