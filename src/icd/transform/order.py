"""Which comes first, sparsity or reduced precision.

``sparsity_first``: weights are scored, removed and recovered in float32, then rounded by the final cast.
``precision_first``: weights are rounded to the precision's values first, so scores, masks and recovery see
what is left of them; the final cast rounds again, since removed columns and recovery move scales and values.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from icd.contracts import PrecisionSpec, Workload

Order: TypeAlias = Literal["sparsity_first", "precision_first"]


def ordered(
    order: str, precision: PrecisionSpec, workload: Workload, device: str
) -> tuple[Workload, dict[str, Any]]:
    """The workload that a transform is applied to, and the record of the order."""
    if order == "sparsity_first":
        return workload, {"asked": order, "effect": "scored, removed and recovered in float32, then rounded"}
    rounded = precision.round_weights(workload.module, device)
    if rounded is None:
        name = precision.resolve(device)
        return workload, {
            "asked": order,
            "effect": f"no effect: {name} has 16 bits or more, weights are not rounded first",
        }
    effect = (
        f"weights rounded to {precision.resolve(device)} values, then scored, removed and recovered (towards "
        "the rounded model), then rounded again; activations behind scores are the float32 model's"
    )
    return workload.with_module(rounded), {"asked": order, "effect": effect}
