"""Static scales: the largest input magnitude of every linear layer over the calibration inputs.

Collected once for each set of weights, kept with the arms that hold them, and put on the layers as the
buffer ``input_amax``. One number a layer: it depends neither on a layout nor on what an engine cuts away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from icd.calls import input_of
from icd.contracts import Workload
from icd.errors import ConfigError

BUFFER = "input_amax"


def replaceable(module: nn.Module) -> bool:
    """Whether a layer of eight bits can stand in for ``module``: a linear layer itself, no class made of it,
    which computes otherwise or is read by its owner (as torch's own attention reads its projection).
    """
    return type(module) is nn.Linear


def linear_layers(module: nn.Module) -> dict[str, nn.Linear]:
    """Every linear layer by name; one that has two names under both."""
    named = module.named_modules(remove_duplicate=False)
    return {name: child for name, child in named if isinstance(child, nn.Linear)}


def replace_layers(
    module: nn.Module, make: Callable[[nn.Linear], nn.Module | None], kept: str, kernel: str
) -> tuple[nn.Module, dict[str, int]]:
    """``module`` with what ``make`` gives for each replaceable layer (None: it stays) put in its place, and
    how many layers run ``kernel`` and how many stay ``kept``.
    """
    layers = linear_layers(module)
    made = {id(layer): make(layer) if replaceable(layer) else None for layer in layers.values()}
    for name, layer in layers.items():
        new = made[id(layer)]
        if new is not None:
            owner, _, last = name.rpartition(".")
            setattr(module.get_submodule(owner), last, new)
    return module, dict(Counter(kept if new is None else kernel for new in made.values()))


def check_calibration(workload: Workload) -> None:
    """ConfigError where there is nothing to calibrate on."""
    if not workload.calibration:
        raise ConfigError(
            f"precision.calibration=static needs calibration inputs and model={workload.card.name} "
            f"({workload.card.weights} weights) has none; use precision.calibration=dynamic"
        )


def collect_amax(workload: Workload) -> dict[str, float]:
    """``max |x|`` of the input of every linear layer, by name.

    ConfigError where there are no calibration inputs, or a layer is never called on them.
    """
    check_calibration(workload)
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            largest = input_of(layer, args, kwargs).detach().abs().amax().float()
            found[name] = torch.maximum(found[name], largest) if name in found else largest

        return hook

    linears = {name: m for name, m in linear_layers(workload.module).items() if replaceable(m)}
    hooks = [
        linear.register_forward_pre_hook(keep(name), with_kwargs=True) for name, linear in linears.items()
    ]
    try:
        with torch.inference_mode():
            for batch in workload.calibration:
                workload.forward(workload.module, batch)
    finally:
        for hook in hooks:
            hook.remove()
    unseen = sorted(set(linears) - set(found))
    if unseen:
        raise ConfigError(
            f"precision.calibration=static: the calibration inputs never reach {unseen[0]}; "
            "use precision.calibration=dynamic"
        )
    return {name: float(value) for name, value in found.items()}


def attach_amax(module: nn.Module, amax: Mapping[str, float]) -> None:
    """Put collected magnitudes on the layers of ``module``, in place."""
    for name, value in amax.items():
        module.get_submodule(name).register_buffer(BUFFER, torch.tensor(value), persistent=False)


def amax_of(linear: nn.Linear) -> torch.Tensor:
    """The layer's largest input magnitude, float32 (); ConfigError where none was collected."""
    buffers = dict(linear.named_buffers(recurse=False))
    if BUFFER not in buffers:
        raise ConfigError(
            "precision.calibration=static: a linear layer has no input scale from calibration; "
            "use precision.calibration=dynamic"
        )
    return buffers[BUFFER].to(linear.weight.device)
