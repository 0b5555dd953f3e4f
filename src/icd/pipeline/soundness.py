"""Whether a model is a function of its inputs: it answers with numbers, and twice with the same ones.

Looked at before anything is made of the model: every later check would blame something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from icd.contracts import Activations, Inputs, Workload
from icd.errors import ConfigError
from icd.model.positions import few_rows
from icd.tensors import stored, tensor

if TYPE_CHECKING:
    import torch

REPEATS = 1e-5  # of the largest output: more than one answer differs from the other by rounding in float32


def check_weights(workload: Workload) -> None:
    """ConfigError that names the first parameter, buffer or input that holds no number.

    A buffer may hold infinities: masks do.
    """
    import torch

    parameters = dict(workload.module.named_parameters())
    for name, parameter in stored(workload.module).items():
        bad = ~torch.isfinite(parameter) if name in parameters else torch.isnan(parameter)
        if bad.any():
            first = torch.nonzero(bad)[0].tolist()
            raise ConfigError(
                f"model={workload.card.name}: {name} holds NaN or infinity ({int(bad.sum())} of "
                f"{bad.numel()} values, the first at {first}); expected finite weights"
            )
    timed = ("inputs", workload.inputs)
    several = [("calibration", b) for b in workload.calibration] + [("probes", b) for b in workload.probes]
    for key, batch in [timed, *several]:
        for name, x in batch.items():
            if x.is_floating_point() and x.isnan().any():
                raise ConfigError(f"model={workload.card.name}: {key}: {name} holds NaN; expected numbers")


def check_answers(workload: Workload, inputs: Inputs, within: float = REPEATS) -> None:
    """ConfigError where the module answers ``inputs`` with what is no number, or twice with other numbers."""
    import torch

    with torch.inference_mode():
        one, two = (workload.forward(workload.module, inputs) for _ in range(2))
    model = f"model={workload.card.name}"
    if not torch.isfinite(one).all():
        where = named(n for n, out in outputs(workload, inputs) if not torch.isfinite(out).all())
        holds = next((n for n, x in workload.module.named_buffers() if x.isnan().any()), None)
        raise ConfigError(
            f"{model}: the output holds NaN or infinity although the weights do not, first {where}"
            + (f", and so does the buffer {holds}" if holds else "")
            + "; expected finite outputs"
        )
    if not one.any():
        raise ConfigError(
            f"{model}: the output on the inputs is zero everywhere, so that no check could tell a wrong "
            "layout; expected other outputs (a last layer that starts at zero makes such)"
        )
    difference = apart(one, two)
    if difference > within:
        pairs = zip(outputs(workload, inputs), outputs(workload, inputs), strict=False)
        where = named(n for (n, a), (_, b) in pairs if apart(a, b) > within)
        raise ConfigError(
            f"{model}: two calls on the same inputs answer differently, by {difference:.3g} of the largest "
            f"output, first {where}; expected the same answer every time (dropout that is active in eval "
            "mode, other random numbers and state kept between calls change it)"
        )


def check_read(workload: Workload) -> None:
    """ConfigError that names an axis of a site on a tensor that no forward reads, on whatever inputs.

    Nothing could prove such an axis, and its values would count in scores and tiles.
    """
    unread = {
        tensor(workload.module, axis.parameter).untyped_storage().data_ptr(): (site.name, axis.parameter)
        for site in workload.sites
        for axis in site.axes
    }
    for batch in (workload.inputs, *workload.calibration, *workload.probes):
        for storage in storages_read(workload, few_rows(batch, workload.batch_dims)):
            unread.pop(storage, None)
        if not unread:
            return
    name, parameter = next(iter(unread.values()))
    raise ConfigError(
        f"site {name}: the forward reads {parameter} on none of inputs, calibration and probes, so that "
        "nothing proves this axis; take it out, or give inputs that reach it"
    )


READ = ("data", "T", "mT", "H", "mH", "real", "imag")  # attributes of a tensor that hand on its values


def storages_read(workload: Workload, inputs: Inputs) -> set[int]:
    """Addresses of the memory of all tensors that functions of one forward are called on."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_leaves

    found: set[int] = set()

    class Reads(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            asked = getattr(func, "__self__", None)
            if getattr(func, "__name__", "") != "__get__" or getattr(asked, "__name__", "") in READ:
                tensors = (x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor))
                found.update(x.untyped_storage().data_ptr() for x in tensors if x.layout == torch.strided)
            return func(*args, **(kwargs or {}))

    with torch.inference_mode(), Reads():
        workload.forward(workload.module, inputs)
    return found


def check_activations(workload: Workload, activations: Activations | None) -> None:
    """ConfigError that names a site whose calibration activations are no numbers."""
    for name, norms in (activations.norms if activations else {}).items():
        if not np.isfinite(norms).all():
            raise ConfigError(
                f"model={workload.card.name}: calibration: what enters {workload.site(name).activation} "
                f"(site {name}) holds NaN or infinity; expected finite activations"
            )


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """``max|a-b| / max|b|``; infinite for other shapes or where only one of them is a number."""
    import torch

    if a.shape != b.shape:
        return float("inf")
    a, b = (torch.nan_to_num(x.double(), nan=1e300) for x in (a, b))
    largest = float(b.abs().max()) if b.numel() else 0.0
    return float((a - b).abs().max()) / largest if largest else float(bool((a != b).any()))


def outputs(workload: Workload, inputs: Inputs) -> list[tuple[str, torch.Tensor]]:
    """What every module returns in one forward, in the order in which they finish; tensors alone."""
    import torch

    found: list[tuple[str, torch.Tensor]] = []

    def keep(name: str) -> Any:
        def hook(_: torch.nn.Module, args: Any, out: Any) -> None:
            first = out[0] if isinstance(out, (tuple, list)) and out else out
            if isinstance(first, torch.Tensor) and first.is_floating_point():
                found.append((name, first.clone()))

        return hook

    hooks = [m.register_forward_hook(keep(name)) for name, m in workload.module.named_modules()]
    try:
        with torch.inference_mode():
            workload.forward(workload.module, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def named(names: Iterator[str]) -> str:
    """The first of ``names`` in words; of the module itself where only its own forward shows it."""
    first = next(names, "")
    return f"in the output of {first}" if first else "in the module's own forward"
