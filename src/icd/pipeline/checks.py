"""Equivalence of layouts and correctness of the timed steps: checked in every run, before timing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icd.contracts import Inputs, Layouts, Step, Workload
from icd.errors import VerificationError
from icd.transform.permute import permute, restore

if TYPE_CHECKING:
    import torch

LIMIT = 1e-10


def equivalence(workload: Workload, layouts: Mapping[str, Layouts]) -> dict[str, Any]:
    """``{max_rel_err, dtype, ok, round_trip, layouts}`` over every named set of layouts.

    Outputs of the permuted against the unpermuted module in float64 on the timed inputs (at most two
    sequences), ``max|a-b| / max|a|``; and each set followed by its inverse must restore every tensor bit
    for bit. Raises `VerificationError` naming the layout that failed.
    """
    import torch

    inputs = {name: x[:2] for name, x in workload.inputs.items()}
    double = workload.with_module(copy.deepcopy(workload.module).double())
    errors: dict[str, float] = {}
    with torch.inference_mode():
        inputs = {k: x.double() if x.is_floating_point() else x for k, x in inputs.items()}
        reference = double.forward(double.module, inputs)
        for name, chosen in layouts.items():
            permuted = permute(double, chosen)
            errors[name] = relative_error(permuted.forward(permuted.module, inputs), reference)
            if not errors[name] <= LIMIT:
                raise VerificationError(
                    f"layout {name!r} changes the model's function: expected a relative error of at most "
                    f"{LIMIT:g} in float64, got {errors[name]:.3g}; a tied axis is missing or wrong"
                )
            check_round_trip(double, permuted, name)
    return {
        "max_rel_err": max(errors.values(), default=0.0),
        "dtype": "float64",
        "ok": True,
        "round_trip": "bit for bit",
        "layouts": errors,
        "sequences": int(reference.shape[0]),
    }


def check_round_trip(original: Workload, permuted: Workload, name: str) -> None:
    """VerificationError unless undoing ``permuted``, in place, restores every tensor bit for bit."""
    import torch

    back = restore(permuted, in_place=True).module.state_dict()
    for key, tensor in original.module.state_dict().items():
        if not torch.equal(back[key], tensor):
            raise VerificationError(f"layout {name!r} and its inverse do not restore {key} bit for bit")


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    """``max|a-b| / max|b|`` in float64; infinite for NaN."""
    import torch

    a, b = a.double().cpu(), b.double().cpu()
    error = float((a - b).abs().max() / b.abs().max().clamp_min(torch.finfo(torch.float64).tiny))
    return error if error == error else float("inf")


def engine_check(arm: str, step: Step, masked: Workload, inputs: Inputs, tolerance: float) -> dict[str, Any]:
    """The timed step's output on the timed inputs against the masked float32 module.

    Raises `VerificationError` beyond ``tolerance`` (relative to the largest output).
    """
    import torch

    with torch.inference_mode():
        expected = masked.forward(masked.module, inputs)
    error = relative_error(step(), expected)
    if not error <= tolerance:
        raise VerificationError(
            f"arm {arm!r}: the timed step differs from its masked float32 model by {error:.3g} of the "
            f"largest output; the tolerance for {step.executed['format']} is {tolerance:g}"
        )
    return {"max_rel_err": error, "tolerance": tolerance, "ok": True}
