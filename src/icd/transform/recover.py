"""Recovery after pruning: each consumer of a pruned site is refitted by ridge regression.

For one consumer ``y = V a + c`` (an FFN's second matrix, an attention's output projection), with

    a   (n, in)    its inputs over n calibration tokens in the pruned model, recovered up to here
    y   (n, out)   what the dense layer gives for the same layer inputs
    V0  (out, in)  the pruned weight; its zeros stay zero
    s              RIDGE times the mean variance of the live inputs, times n

the new weight and bias minimise ``|a V' + c - y|^2 + s |V - V0|^2``: what calibration does not tell
stays as it was pruned. Layers follow one another, so later ones make up for what earlier ones lost. The
layer-wise least squares of model compression (Optimal Brain Compression, Frantar et al. 2022, arXiv
2208.11580), with the mask given. Gram matrices are summed batch by batch in float64, so their memory depends
on the width alone; beside them one hidden state a calibration token is kept (`icd.transform.walk`).
Everything happens in dense order: the result does not depend on a layout.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from icd.contracts import Workload
from icd.errors import ConfigError
from icd.transform.evidence import changed_consumers, shortfall, unfit
from icd.transform.walk import Run, stop_at, walk
from icd.watching import first_tensor

Recover = Literal["auto", "none", "lstsq"]
RIDGE = 1e-2


def decide(asked: Recover, workload: Workload) -> tuple[bool, str]:
    """Whether to refit, and why; ConfigError where ``lstsq`` has nothing to be fitted on."""
    name, weights, some = workload.card.name, workload.card.weights, bool(workload.calibration)
    if asked == "none":
        return False, "transform.recover=none"
    if asked == "lstsq":
        if not some:
            raise ConfigError(
                f"transform.recover=lstsq needs calibration inputs and model={name} has none; "
                "use transform.recover=none"
            )
        return True, "transform.recover=lstsq"
    if weights not in ("pretrained", "unknown"):
        return False, f"transform.recover=auto: weights are {weights}, not trained"
    if not some:
        return False, f"transform.recover=auto: model={name} has no calibration inputs"
    kind = "trained weights" if weights == "pretrained" else "weights of unknown origin"
    return True, f"transform.recover=auto: {kind} and calibration inputs"


def finish(asked: Recover, pruned: Workload, dense: Workload) -> Workload:
    """``pruned``, recovered where that is to be; both in dense order. ``notes["recover"]`` says it.

    With fewer calibration tokens than live inputs (`icd.transform.evidence`) ``auto`` refits nothing, and
    what ``lstsq`` gives is called underdetermined.
    """
    refits, reason = decide(asked, pruned)
    bar = unfit(pruned, dense) if refits else None
    if bar and asked == "lstsq":
        raise ConfigError(f"transform.recover=lstsq: {bar}; use transform.recover=none")
    if bar:
        refits, reason = False, f"transform.recover=auto: {bar}"
    lacks = shortfall(pruned, dense) if refits else None
    if lacks:
        refits, reason = asked == "lstsq", f"transform.recover={asked}: {lacks}"
    note: dict[str, Any] = {"asked": asked, "method": "none", "reason": reason}
    if refits:
        pruned, done = recover(pruned, dense)
        note |= done | ({"underdetermined": True} if lacks else {})
    return pruned.with_module(pruned.module, notes={**pruned.notes, "recover": note})


def recover(pruned: Workload, dense: Workload) -> tuple[Workload, dict[str, Any]]:
    """A copy of ``pruned`` with the consumers of changed sites refitted, and the record of it.

    Both workloads are in dense order. The record holds ``consumers``, a row each: ``module``, ``tokens``
    and the share of the dense output's variance that is missed, ``missed_before`` and ``missed_after``.
    """
    out = pruned.with_module(copy.deepcopy(pruned.module))
    changed = changed_consumers(pruned, dense)
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        for prefix, run in walk(out):
            for name in called(out.module, sorted(c for c in changed if c.startswith(prefix)), run):
                consumer = out.module.get_submodule(name)
                if not isinstance(consumer, nn.Linear):
                    raise ConfigError(
                        f"transform.recover=lstsq refits linear layers and {name} is a "
                        f"{type(consumer).__name__}; use transform.recover=none"
                    )
                moments = gather(name, out, dense, run)
                rows.append({"module": name, "tokens": moments.n, **refit(consumer, moments)})
    return out, {"method": "lstsq", "ridge": RIDGE, "consumers": rows}


def gather(name: str, recovered: Workload, dense: Workload, run: Run) -> Moments:
    """Moments of the consumer ``name``: its inputs in one model, its outputs in the other."""
    consumer: Any = recovered.module.get_submodule(name)
    reference = dense.module.get_submodule(name)
    moments = Moments.empty(consumer)
    for k in range(len(recovered.calibration)):
        args, kwargs = stop_at(consumer, partial(run, recovered.module, k), "call")
        moments.add(first_tensor(args, kwargs), stop_at(reference, partial(run, dense.module, k), "output"))
    return moments


def called(module: nn.Module, names: list[str], run: Run) -> list[str]:
    """``names`` of submodules in the order in which a stage first calls them."""
    order: list[str] = []

    def keep(name: str) -> Any:
        return lambda *_: order.append(name)

    hooks = [module.get_submodule(name).register_forward_pre_hook(keep(name)) for name in names]
    try:
        if names:
            run(module, 0)
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(order))


@dataclass
class Moments:
    """Sums over ``n`` tokens, float64: inputs (in,), outputs (out,), their products, outputs squared."""

    n: int
    a: torch.Tensor  # (in,)
    y: torch.Tensor  # (out,)
    aa: torch.Tensor  # (in, in)
    ay: torch.Tensor  # (in, out)
    yy: torch.Tensor  # (out,)

    @classmethod
    def empty(cls, linear: nn.Linear) -> Moments:
        """Nothing summed yet."""

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=linear.weight.device)

        o, i = linear.weight.shape
        return cls(0, zeros(i), zeros(o), zeros(i, i), zeros(i, o), zeros(o))

    def add(self, a: torch.Tensor, y: torch.Tensor) -> None:
        """Add tokens: ``a`` (..., in) and ``y`` (..., out)."""
        a, y = a.reshape(-1, a.shape[-1]).double(), y.reshape(-1, y.shape[-1]).double()
        self.n += len(a)
        self.a += a.sum(0)
        self.y += y.sum(0)
        self.aa.addmm_(a.T, a)
        self.ay.addmm_(a.T, y)
        self.yy += y.square().sum(0)

    def centred(self, bias: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``aa``, ``ay`` and ``yy`` about the means; as they are where there is no bias to move."""
        if not bias:
            return self.aa, self.ay, self.yy
        return (
            self.aa - torch.outer(self.a, self.a) / self.n,
            self.ay - torch.outer(self.a, self.y) / self.n,
            self.yy - self.y.square() / self.n,
        )


def refit(linear: nn.Linear, moments: Moments) -> dict[str, float]:
    """Refit ``linear`` in place where its weight is not zero; the share of variance missed, both times.

    Rows with the same zeros are solved together. A layer without bias keeps none.
    """
    biased = linear.bias is not None
    aa, ay, yy = moments.centred(biased)
    pruned = linear.weight.detach().double()  # (out, in)
    weight = pruned.clone()
    support, group = np.unique((pruned != 0).cpu().numpy(), axis=0, return_inverse=True)
    group = torch.from_numpy(group.reshape(-1)).to(pruned.device)
    for g, live in enumerate(support):
        cols = torch.from_numpy(np.flatnonzero(live)).to(pruned.device)
        rows = torch.nonzero(group == g)[:, 0]
        if not len(cols):
            continue
        gram = aa[cols][:, cols]
        s = (RIDGE * gram.diagonal().mean()).clamp_min(torch.finfo(torch.float64).tiny)
        gram = gram + s * torch.eye(len(cols), dtype=gram.dtype, device=gram.device)
        right = ay[cols][:, rows] + s * pruned[rows][:, cols].T
        fitted = torch.cholesky_solve(right, torch.linalg.cholesky(gram))  # (live, rows)
        weight[rows[:, None], cols] = fitted.T
    missed = {"missed_before": share(pruned, aa, ay, yy), "missed_after": share(weight, aa, ay, yy)}
    linear.weight.data = weight.to(linear.weight.dtype)
    if biased:
        mean = (moments.y - weight @ moments.a) / moments.n
        linear.bias.data = mean.to(linear.bias.dtype)
    return missed


def share(weight: torch.Tensor, aa: torch.Tensor, ay: torch.Tensor, yy: torch.Tensor) -> float:
    """Squared error of ``weight`` with the best bias, as a share of the variance of the outputs."""
    error = yy.sum() - 2 * (weight.T * ay).sum() + ((weight @ aa) * weight).sum()
    return float(error / yy.sum().clamp_min(torch.finfo(torch.float64).tiny))
