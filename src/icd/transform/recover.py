"""Recovery after pruning: each consumer of a pruned site is refitted by ridge regression.

For one consumer ``y = V a + c`` (an FFN's second matrix, an attention's output projection), with

    a   (n, in)    its inputs over n calibration tokens in the pruned model, recovered up to here
    y   (n, out)   what the dense layer gives for the same layer inputs
    V0  (out, in)  the pruned weight; its zeros stay zero
    s              RIDGE times the mean variance of the live inputs, times n

the new weight and bias minimise ``|a V' + c - y|^2 + s |V - V0|^2``: what calibration does not tell
stays as it was pruned. Layers follow one another, so later ones make up for what earlier ones lost. The
layer-wise least squares of model compression (Optimal Brain Compression, Frantar et al. 2022, arXiv
2208.11580), with the mask given.

A fit describes the tokens that it was made of, and on few of them it does harm elsewhere. So a fifth of the
tokens is held out (`icd.transform.moments`), and a refit is kept only where the layer then misses less of
what the dense one gives on those; else the layer stays as it was pruned, and the record says why. When all
are done, the model's outputs are judged in the same way: refits that help their layers may still add up to
harm.

Gram matrices are summed batch by batch in float64, so their memory depends on the width alone; beside them
one hidden state a calibration token is kept (`icd.transform.walk`). Everything happens in dense order: the
result does not depend on a layout.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from icd.calls import input_of
from icd.contracts import Workload
from icd.errors import ConfigError
from icd.transform.evidence import changed_consumers, live_inputs, unsuitable
from icd.transform.moments import PART, Moments, held_of_each, where_sequences_lie
from icd.transform.walk import Run, forward, stop_at, walk

Recover = Literal["auto", "none", "lstsq"]
RIDGE = 1e-2
WORSE = "the model's outputs would miss more on calibration sequences held out"
NOTHING = "nothing that a layer reads was removed"


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

    ConfigError where ``lstsq`` was asked for and a consumer cannot be refitted; ``auto`` leaves it alone.
    """
    refits, reason = decide(asked, pruned)
    note: dict[str, Any] = {"asked": asked, "method": "none", "reason": reason}
    if refits:
        recovered, rows = recover(pruned, dense, strict=asked == "lstsq")
        note |= {"ridge": RIDGE, "held_out": 1 / PART, "consumers": rows}
        if any(row["kept"] for row in rows):
            note["outputs"] = outputs_judged(pruned, recovered, dense)
            if not note["outputs"]["kept"]:
                rows = note["consumers"] = [{**row, "kept": False, **reject(row)} for row in rows]
        if any(row["kept"] for row in rows):
            note["method"], pruned = "lstsq", recovered
        else:
            note["reason"] = f"transform.recover={asked}: {why_none(rows)}"
    return pruned.with_module(pruned.module, notes={**pruned.notes, "recover": note})


def reject(row: dict[str, Any]) -> dict[str, Any]:
    """The reason of a refit that was taken back with all others."""
    return {"reason": WORSE} if row["kept"] else {}


def outputs_judged(pruned: Workload, recovered: Workload, dense: Workload) -> dict[str, Any]:
    """The model's outputs on the tokens held out: ``missed_before`` and ``missed_after``, shares of the dense
    outputs' variance, and whether the refits are ``kept``; no figures where outputs are not finite.
    """
    errors, n, total, squares = np.zeros(2), 0, torch.zeros(()), 0.0
    with torch.no_grad():
        for batch, out in zip(dense.calibration, kept_back(dense, first=True), strict=True):
            rows = [rows_of(forward(w, w.module, batch)) for w in (dense, pruned, recovered)]
            chosen = out(len(rows[0])).to(rows[0].device)
            wanted, *found = (y[chosen].double() for y in rows)
            errors += [float((y - wanted).square().sum()) for y in found]
            n, total, squares = (
                n + len(wanted),
                total.to(wanted.device) + wanted.sum(0),
                squares + float(wanted.square().sum()),
            )
    variance = squares - float(total.square().sum()) / max(n, 1)
    before, after = errors / variance if variance > 0 else errors
    if not np.isfinite([before, after]).all():
        return {"kept": False}
    return {"missed_before": float(before), "missed_after": float(after), "kept": bool(after < before)}


def kept_back(workload: Workload, first: bool = False) -> list[Callable[[int], torch.Tensor]]:
    """Which tokens of each calibration batch are held out, by their count; see `held_of_each`."""
    return held_of_each(workload.calibration, *where_sequences_lie(workload), first=first)


def rows_of(out: torch.Tensor) -> torch.Tensor:
    """``out`` (..., width) as (tokens, width)."""
    return out.reshape(-1, out.shape[-1] if out.dim() else 1)


def why_none(rows: list[dict[str, Any]]) -> str:
    """Why no refit was kept, in the words of the first."""
    if not rows:
        return NOTHING
    others = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    return f"no refit was kept; {rows[0]['reason']}{others}"


def recover(pruned: Workload, dense: Workload, strict: bool = True) -> tuple[Workload, list[dict[str, Any]]]:
    """A copy of ``pruned`` with the consumers of changed sites refitted where that helps, and a row of each.

    Both workloads are in dense order. A row holds ``module`` and whether the refit was ``kept``, else the
    ``reason``; what was fitted has `judged`'s figures as well. A consumer that cannot be refitted is refused
    with ConfigError where ``strict``.
    """
    out = pruned.with_module(copy.deepcopy(pruned.module))
    changed = changed_consumers(pruned, dense)
    rows: list[dict[str, Any]] = []

    def leave(name: str, reason: str) -> None:
        if strict:
            raise ConfigError(f"transform.recover=lstsq: {reason}; use transform.recover=auto or none")
        rows.append({"module": name, "kept": False, "reason": reason})

    with torch.no_grad():
        for prefix, run in walk(out) if changed else ():
            for name in called(out.module, sorted(c for c in changed if c.startswith(prefix)), run):
                consumer: Any = out.module.get_submodule(name)
                reason = unsuitable(out.module, name)
                if reason:
                    leave(name, reason)
                else:
                    rows.append({"module": name, **refit(name, consumer, *gather(name, out, dense, run))})
    for name in sorted(changed - {row["module"] for row in rows}):
        leave(name, f"the forward never calls {name}")
    return out, rows


def gather(name: str, recovered: Workload, dense: Workload, run: Run) -> tuple[Moments, Moments]:
    """Moments of the consumer ``name``, to fit and held out: inputs in one model, outputs in the other."""
    consumer: Any = recovered.module.get_submodule(name)
    reference = dense.module.get_submodule(name)
    fitted, held = Moments.empty(consumer), Moments.empty(consumer)
    for k, out in enumerate(kept_back(recovered)):
        call = stop_at(consumer, partial(run, recovered.module, k), "call")
        y = stop_at(reference, partial(run, dense.module, k), "output")
        a = input_of(consumer, *call)
        a, y = a.reshape(-1, a.shape[-1]), y.reshape(-1, y.shape[-1])
        chosen = out(len(a)).to(a.device)
        fitted.add(a[~chosen], y[~chosen])
        held.add(a[chosen], y[chosen])
    return fitted, held


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


def refit(name: str, linear: nn.Linear, fitted: Moments, held: Moments) -> dict[str, Any]:
    """Refit ``linear`` in place where that helps on ``held``; what was found, for the record.

    ``tokens`` to fit on, ``held_out`` tokens, ``live_inputs``, the share of the dense output's variance that
    is missed on the tokens held out, ``missed_before`` and ``missed_after`` (none of an impossible fit), and
    whether the refit was ``kept``, else the ``reason``.
    """
    live = live_inputs(linear.weight)
    row: dict[str, Any] = {"tokens": fitted.n, "held_out": held.n, "live_inputs": live}
    lacks = shortfall(name, fitted, held, live)
    if lacks:
        return {**row, "kept": False, "reason": lacks}
    own = None if linear.bias is None else linear.bias.detach().double()
    before = held.missed(linear.weight.detach().double(), own)
    weight, bias = solve(linear, fitted)
    after = held.missed(weight, bias)
    row |= {"missed_before": before, "missed_after": after, "kept": after < before}
    if not row["kept"]:
        return {**row, "reason": f"{name} would miss more on calibration tokens held out"}
    linear.weight.data = weight.to(linear.weight.dtype)
    if bias is not None:
        linear.bias.data = bias.to(linear.bias.dtype)
    return row


def shortfall(name: str, fitted: Moments, held: Moments, live: int) -> str | None:
    """Why tokens cannot tell the weights of a layer of ``live`` inputs; None where they can.

    With fewer tokens than live inputs infinitely many weights fit alike, and the ridge alone chooses.
    """
    if fitted.n < live:
        return f"{fitted.n} calibration tokens to fit on are fewer than the {live} live inputs of {name}"
    if not held.n:
        return f"{fitted.n} calibration tokens are too few to hold one of {PART} out for {name}"
    if not (fitted.finite() and held.finite()):
        return f"inputs or outputs of {name} are not finite on the calibration inputs"
    return None


def solve(linear: nn.Linear, moments: Moments) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The refitted weight (out, in) and bias (out,) of ``linear``, float64; weights of zero stay so.

    Rows with the same zeros are solved together. A layer without bias gets none.
    """
    biased = linear.bias is not None
    aa, ay = moments.centred(biased)
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
        found = torch.cholesky_solve(right, torch.linalg.cholesky(gram))  # (live, rows)
        weight[rows[:, None], cols] = found.T
    return weight, (moments.y - weight @ moments.a) / moments.n if biased else None
