"""Reduced precision: what an arm's module computes in, executed where the device can, else simulated.

Simulated means: weights and inputs of every linear layer are rounded to the format's values and the
arithmetic runs in float32. Quality is then real; latency, L2 and energy are not, and say so.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from icd.errors import MissingResource

if TYPE_CHECKING:
    import torch

Format = Literal["auto", "fp32", "bf16", "fp16", "fp8", "int8"]
BYTES: dict[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}
# largest error of a timed step against its float32 masked model, as a share of the largest output:
# a bound on rounding, loose enough for a dozen layers, far below what a wrong tile does
TOLERANCE: dict[str, float] = {"fp32": 1e-4, "bf16": 6e-2, "fp16": 1e-2, "fp8": 3e-1, "int8": 2e-1}


@dataclass(frozen=True)
class Precision:
    """``format`` for all arms; ``on_missing`` says what happens where it cannot be executed."""

    format: Format
    on_missing: Literal["fail", "simulate"]

    def resolve(self, device: str) -> str:
        """The format that ``auto`` stands for: bf16 on CUDA, fp32 elsewhere."""
        if self.format != "auto":
            return self.format
        return "bf16" if device.startswith("cuda") else "fp32"

    def executes(self, device: str) -> bool:
        """Whether the format's own arithmetic runs on ``device`` with this package."""
        return self.resolve(device) in ("fp32", "bf16", "fp16")

    def element_bytes(self, device: str) -> int:
        """Bytes of one weight."""
        return BYTES[self.resolve(device)]

    def tolerance(self, device: str) -> float:
        """Largest accepted relative error of a timed step."""
        return TOLERANCE[self.resolve(device)]

    def cast(self, module: torch.nn.Module, device: str) -> tuple[torch.nn.Module, dict[str, Any]]:
        """A copy of ``module`` on ``device`` in this precision, and the record of what it executes."""
        import torch

        name = self.resolve(device)
        asked = {"asked": self.format, "format": name}
        if self.executes(device):
            dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
            return copy.deepcopy(module).to(device=device, dtype=dtype), {
                **asked,
                "dtype": str(dtype).removeprefix("torch."),
                "source": "measured",
            }
        if self.on_missing == "fail":
            raise MissingResource(
                f"precision={name} cannot be executed on {device} and on_missing=fail; "
                "use on_missing=simulate or another precision"
            )
        from icd.transform.rounding import round_linears

        rounded = round_linears(copy.deepcopy(module).to(device=device, dtype=torch.float32), name)
        return rounded, {
            **asked,
            "dtype": "float32",
            "source": "simulated",
            "reason": f"{name} values, float32 arithmetic: no executed {name} on {device}",
        }
