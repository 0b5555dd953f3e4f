"""Reduced precision: what an arm's module computes in, executed where the device can, else simulated.

Eight bits are executed in the linear layers alone: fp8 and int8 on CUDA with the rest in bf16, int8 on the
CPU with the rest in float32 (`icd.transform.executed`).

Simulated means: weights and inputs of every linear layer are rounded to the format's values and the
arithmetic runs in float32. Quality is then real; latency, L2 and energy are not, and say so.

The record says what ran, not what was asked for: ``dtype`` is the type of most bytes of the weights that a
forward multiplies by. A format in which no layer of a model can run is refused or simulated like one that
the device cannot execute; where there is nothing to simulate either, the model runs as it is, and a tag and
the gates tell (`icd.pipeline.tags`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from icd.copies import converted
from icd.errors import ConfigError, MissingResource

if TYPE_CHECKING:
    import torch

Format = Literal["auto", "fp32", "bf16", "fp16", "fp8", "int8"]
DTYPE: dict[str, str] = {
    "fp32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp8": "float8_e4m3fn",
    "int8": "int8",
}
BYTES: dict[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}
SPELT = {"row": "one a token, dynamic", "tensor": "one a call, dynamic", "static": "one a layer, static"}
# largest error of a timed step against its float32 masked model, as a share of the largest output:
# a bound on rounding, loose enough for a dozen layers, far below what a wrong tile does
TOLERANCE: dict[str, float] = {"fp32": 1e-4, "bf16": 6e-2, "fp16": 1e-2, "fp8": 3e-1, "int8": 2e-1}


@dataclass(frozen=True)
class Precision:
    """``format`` for all arms; ``on_missing`` says what happens where it cannot be executed.

    The rest concerns fp8 and int8. ``scales``: an input has one scale a token (``row``) or one a call
    (``tensor``); with ``calibration=static`` one a layer, from the calibration text. ``weight_scales``: a
    weight has one an output row (``channel``) or one a row and ``group_size`` input columns (``group``), in
    the order of the arm's layout.
    """

    format: Format
    on_missing: Literal["fail", "simulate"]
    scales: Literal["row", "tensor"] = "row"
    weight_scales: Literal["channel", "group"] = "channel"
    group_size: int = 128
    calibration: Literal["dynamic", "static"] = "dynamic"

    def __post_init__(self) -> None:
        if self.group_size < 16 or self.group_size % 16:
            raise ConfigError(
                f"precision.group_size={self.group_size}: expected 16 or more, a multiple of 16, "
                "as the kernels ask for"
            )

    @property
    def group(self) -> int | None:
        """Columns that share a weight scale; None: a whole row."""
        return self.group_size if self.weight_scales == "group" else None

    @property
    def static(self) -> bool:
        """Whether input scales come from calibration."""
        return self.calibration == "static"

    def needs_calibration(self, device: str) -> bool:
        """Whether the largest inputs have to be collected before a cast."""
        return self.static and self.resolve(device) in ("fp8", "int8")

    def round_weights(self, module: torch.nn.Module, device: str) -> torch.nn.Module | None:
        """A copy of ``module`` whose linear layers hold the format's values; None from 16 bits on."""
        name = self.resolve(device)
        if name not in ("fp8", "int8"):
            return None
        from icd.transform.rounding import round_weights

        module = copy.deepcopy(module)
        round_weights(module, name, self.group)
        return module

    def resolve(self, device: str) -> str:
        """The format that ``auto`` stands for: bf16 on CUDA, fp32 elsewhere."""
        if self.format != "auto":
            return self.format
        return "bf16" if device.startswith("cuda") else "fp32"

    def executes(self, device: str) -> bool:
        """Whether the format's own arithmetic runs on ``device`` with this package."""
        return not self._obstacle(device)

    def check(self, device: str) -> None:
        """MissingResource where the format cannot be executed on ``device`` and must not be simulated."""
        self._refuse(self._obstacle(device), device)

    def _refuse(self, reason: str, device: str) -> None:
        """MissingResource where there is a ``reason`` and nothing must be simulated."""
        if reason and self.on_missing == "fail":
            raise MissingResource(
                f"precision={self.resolve(device)} cannot be executed on {device} ({reason}) and "
                "on_missing=fail; use on_missing=simulate or another precision"
            )

    def _obstacle(self, device: str) -> str:
        """Why the format cannot be executed on ``device``; empty where it can."""
        name = self.resolve(device)
        if name in ("fp32", "bf16", "fp16"):
            return ""
        from icd.transform.executed import obstacle

        return obstacle(name, device)

    def element_bytes(self, device: str) -> int:
        """Bytes of one weight."""
        return BYTES[self.resolve(device)]

    def tolerance(self, device: str) -> float:
        """Largest accepted relative error of a timed step."""
        return TOLERANCE[self.resolve(device)]

    def cast(self, module: torch.nn.Module, device: str) -> tuple[torch.nn.Module, dict[str, Any]]:
        """A copy of ``module`` on ``device`` in this precision, and the record of what it executes."""
        import torch

        from icd.transform.executed import unfit

        name = self.resolve(device)
        asked = {"asked": self.format, "format": name}
        if name in ("fp32", "bf16", "fp16"):
            return self._whole(converted(module, device, getattr(torch, DTYPE[name])), name, device, asked)
        copied = converted(module, device, torch.float32)
        reason = self._obstacle(device) or unfit(copied, self._takes_any_width(device))
        self._refuse(reason, device)
        if reason:
            return self._simulated(copied, name, reason, device, asked)
        return self._eight_bits(copied, name, device, asked)

    def _takes_any_width(self, device: str) -> bool:
        """Whether torch's own dynamic int8 runs, which has neither groups nor static scales."""
        return not (device.startswith("cuda") or self.group or self.static)

    def _whole(
        self, module: torch.nn.Module, name: str, device: str, asked: dict[str, Any]
    ) -> tuple[torch.nn.Module, dict[str, Any]]:
        """``module``, converted as a whole, and what its weights are in."""
        record = {**asked, **stored(module), "source": "measured"}
        if name == "fp32":
            del record["weight_bytes"]  # nothing else was asked for
        elif DTYPE[name] not in record["weight_bytes"]:
            reason = f"no parameter of the model became {DTYPE[name]}"
            self._refuse(reason, device)
            record["reason"] = f"nothing ran in {name}: {reason}"
        return module, record

    def _simulated(
        self, module: torch.nn.Module, name: str, reason: str, device: str, asked: dict[str, Any]
    ) -> tuple[torch.nn.Module, dict[str, Any]]:
        """The float32 copy ``module`` with rounded linear layers; a model without runs in float32 alone."""
        from icd.transform.rounding import round_linears

        rounded, layers = round_linears(module, name, self.scales, self.group, self.static)
        values = any(kind.startswith("rounded") for kind in layers)
        said = f"{name} values, float32 arithmetic: no executed" if values else "float32: no"
        return rounded, {
            **asked,
            **stored(rounded),
            "source": "simulated" if values else "measured",
            **self._spell(self.scales),
            "layers": layers,
            "reason": f"{said} {name} on {device} ({reason})",
        }

    def _eight_bits(
        self, module: torch.nn.Module, name: str, device: str, asked: dict[str, Any]
    ) -> tuple[torch.nn.Module, dict[str, Any]]:
        """The float32 copy ``module`` with executed linear layers; ``layers`` counts their kernels."""
        import torch

        from icd.transform.executed import MULTIPLE, on_cpu, on_cuda

        cuda, torch_s_own = device.startswith("cuda"), self._takes_any_width(device)
        if cuda:
            module, layers = on_cuda(module, name, self.scales, torch.bfloat16, self.group, self.static)
        else:
            module, layers = on_cpu(module, self.scales, self.group, self.static)
        other = "bfloat16" if cuda else "float32"
        record = {
            **asked,
            **stored(module),
            "other_dtype": other,
            "source": "measured",
            **self._spell("tensor" if torch_s_own else self.scales),
            "layers": layers,
        }
        if other in layers:
            widths = "" if torch_s_own else f"widths that are no multiple of {MULTIPLE}, or "
            record["layers_reason"] = f"{other}: {widths}a class made of torch's linear layer"
        if torch_s_own and self.scales == "row":
            record["scales_reason"] = "torch's dynamic int8 on a CPU has one input scale a call"
        return module, record

    def _spell(self, scales: str) -> dict[str, Any]:
        """What scales a cast has, for the record; ``scales``: those of inputs, if dynamic."""
        columns = f" and group of {self.group} columns, in the arm's layout" if self.group else ""
        return {
            "scales": f"weights one a row{columns}; inputs {SPELT['static' if self.static else scales]}",
            "weight_scales": self.weight_scales,
            "group_size": self.group,
            "calibration": self.calibration,
        }


def stored(module: torch.nn.Module) -> dict[str, Any]:
    """For the record: ``weight_bytes`` by type, and the ``dtype`` of most; float32 where a model has none."""
    from icd.transform.ran import weight_bytes

    found = weight_bytes(module)
    return {"dtype": next(iter(found), "float32"), "weight_bytes": found}
