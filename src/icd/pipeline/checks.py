"""Equivalence of layouts and correctness of the timed steps: checked in every run, before timing.

Both run on the CPU, whatever the run measures; a model too large for that is checked in float64 on the run's
own GPU, where it fits, and the record says where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from icd.contracts import Inputs, Layouts, Step, Workload
from icd.copies import convert, converted, for_one_call
from icd.errors import ConfigError, VerificationError, first_line
from icd.model.positions import few_rows
from icd.pipeline.soundness import check_answers
from icd.runtime.cut import narrower
from icd.tensors import stored, tensor
from icd.transform.permute import permute, restore

if TYPE_CHECKING:
    import torch

LIMIT = 1e-10
OVER_ALL = (
    "; where a norm of its own or a softmax computes over the channels of a site, cutting some away "
    "changes the others: use runtime=masked"
)
UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
STIR = 0.1  # of a constant's value, at most, that another one adds to it
CPU_WORK = 1e12  # multiply-adds of a forward; a few seconds of many cores


def check_device(workload: Workload, device: str) -> str:
    """Where the checks of a run on ``device`` compute: ``cpu``, or ``device`` for a large model that fits.

    Large: parameters times tokens above `CPU_WORK`. Three models in float64 must fit into free memory.
    """
    if device == "cpu" or small(workload):
        return "cpu"
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return device if 3 * 8 * workload.card.params < free else "cpu"


def small(workload: Workload) -> bool:
    """Whether a forward takes a CPU a few seconds at most."""
    return workload.card.params * workload.tokens <= CPU_WORK


def equivalence(workload: Workload, layouts: Mapping[str, Layouts], device: str = "cpu") -> dict[str, Any]:
    """``{max_rel_err, dtype, ok, round_trip, layouts}`` over every named set of layouts.

    Outputs of the permuted against the unpermuted module in float64 on the timed inputs (at most two
    sequences, where the workload says in which dimension they lie), ``max|a-b| / max|a|``; and each set
    followed by its inverse must restore every tensor bit for bit. Raises `VerificationError` naming the
    layout that failed, or ConfigError where the model itself does not answer twice alike.
    """
    import torch

    from icd.pipeline.lifted import Lifted

    double, inputs = in_double(workload, few_rows(workload.inputs, workload.batch_dims), device)
    with torch.inference_mode():
        errors, rows, casts = errors_of_all(double, inputs, layouts)
        for name, error in errors.items():
            if not error <= LIMIT:
                with Lifted() if casts else nullcontext():
                    check_answers(double, inputs, LIMIT)
                raise VerificationError(wrong(name, error))
        if constant := stirred(double):
            for name, error in errors_of_all(double, inputs, layouts)[0].items():
                if not error <= LIMIT:
                    raise VerificationError(
                        f"{wrong(name, error)} (seen with other values in {constant}, which is constant "
                        "along the axis and would hide it)"
                    )
    return {
        "max_rel_err": max(errors.values(), default=0.0),
        "dtype": "float64",
        "device": device,
        "ok": True,
        "round_trip": "bit for bit",
        "layouts": errors,
        "sequences": rows,
        **({"casts": casts} if casts else {}),
    }


def wrong(name: str, error: float) -> str:
    """What is said of a layout that changes the model's function."""
    return (
        f"layout {name!r} changes the model's function: expected a relative error of at most {LIMIT:g} in "
        f"float64, got {error:.3g}; a tied axis is missing or wrong"
    )


def stirred(workload: Workload) -> str:
    """Give parameters that are constant along an axis of a site other values there, in place, and return the
    name of one; empty if none is.

    New norms are ones and new biases are zeros in every order: an axis on one that does not belong to the
    site would pass, and lose what is removed.
    """
    import torch

    found, generator = "", torch.Generator().manual_seed(0)
    for name, dim in {(axis.parameter, axis.dim): 0 for site in workload.sites for axis in site.axes}:
        tied = tensor(workload.module, name)
        first = tied.narrow(dim, 0, 1)
        if not isinstance(tied, torch.nn.Parameter) or not tied.is_floating_point() or (tied != first).any():
            continue
        drawn = torch.rand(tied.shape[dim], generator=generator, dtype=torch.float64).to(tied.device)
        scale = float(first.abs().amax()) or 1.0
        shape = [-1 if d == dim else 1 for d in range(tied.dim())]
        tied.data = tied.data + STIR * scale * drawn.reshape(shape).to(tied.dtype)
        found = found or name
    return found


def errors_of_all(
    double: Workload, inputs: Inputs, layouts: Mapping[str, Layouts]
) -> tuple[dict[str, float], int, str]:
    """The relative error of every set of layouts, rows of the output, and what was done about casts.

    A forward that rounds to float32 on its way (as the norms of many decoders do) differs by that rounding in
    any order, and one that mixes types fails: then it is asked again with such casts lifted. ConfigError
    where it fails even so.
    """
    from icd.pipeline.lifted import Lifted

    plain = None
    try:
        plain = errors_of(double, inputs, layouts)
        if all(error <= LIMIT for error in plain[0].values()):
            return *plain, ""
    except UNFIT:
        pass  # the type of its constants may be all that hinders it
    with Lifted() as casts:
        try:
            again = errors_of(double, inputs, layouts)
        except UNFIT as error:
            raise ConfigError(
                f"model={double.card.name}: equivalence is proved in float64, and the forward fails there "
                f"({first_line(error)}); make it compute in the type of its inputs and weights"
            ) from error
    return (*again, "to narrower types lifted") if casts.met or plain is None else (*plain, "")


def errors_of(
    double: Workload, inputs: Inputs, layouts: Mapping[str, Layouts]
) -> tuple[dict[str, float], int]:
    """The relative error of every set of layouts, and the rows of the output."""
    reference = answer(double, inputs)
    errors = {}
    for name, chosen in layouts.items():
        permuted = permute(double, chosen)
        errors[name] = relative_error(answer(permuted, inputs), reference)
        if errors[name] <= LIMIT:
            check_round_trip(double, permuted, name)
    return errors, len(reference) if reference.dim() else 1


def answer(workload: Workload, inputs: Inputs) -> torch.Tensor:
    """What ``workload`` answers; its buffers, into which a forward may write, stay as they are."""
    with for_one_call(workload.module, dict(inputs), ()) as own:
        return workload.forward(workload.module, own)


def in_double(workload: Workload, inputs: Inputs, device: str) -> tuple[Workload, Inputs]:
    """A copy of ``workload`` in float64 on ``device``, and ``inputs`` there."""
    import torch

    wide = {name: convert(x, device, torch.float64) for name, x in inputs.items()}
    return workload.with_module(converted(workload.module, device, torch.float64)), wide


def check_round_trip(original: Workload, permuted: Workload, name: str) -> None:
    """VerificationError unless undoing ``permuted``, in place, restores every tensor bit for bit."""
    import torch

    back = stored(restore(permuted, in_place=True).module)
    for key, value in stored(original.module).items():
        if not torch.equal(back[key], value):
            raise VerificationError(f"layout {name!r} and its inverse do not restore {key} bit for bit")


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    """``max|a-b| / max|b|`` in float64; infinite for NaN."""
    import torch

    a, b = a.double().cpu(), b.double().cpu()
    error = float((a - b).abs().max() / b.abs().max().clamp_min(torch.finfo(torch.float64).tiny))
    return error if error == error else float("inf")


def output_of(workload: Workload, inputs: Inputs, device: str) -> torch.Tensor:
    """What ``workload`` answers: on the CPU as it is, elsewhere in float64 by a copy that is gone then."""
    import torch

    if device != "cpu":
        workload, inputs = in_double(workload, inputs, device)
    with torch.inference_mode():
        return workload.forward(workload.module, inputs)


def narrowed(step: Step) -> bool:
    """Whether the step executes fewer channels of a site than there are."""
    return any(kept < size for kept, size in step.executed.get("sites", {}).values())


@contextmanager
def running_in(arm: str, format: str) -> Iterator[None]:
    """While a step of all channels first runs: ConfigError where its forward fails in ``format``, though it
    ran in float32.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except UNFIT as error:
        if format == "fp32":
            raise
        raise ConfigError(
            f"arm {arm!r}: the model's forward fails in precision={format} ({first_line(error)}); use "
            "precision=fp32, or make it compute in the type of its inputs and weights"
        ) from error


def engine_check(
    arm: str, step: Step, masked: Workload, inputs: Inputs, tolerance: float, device: str = "cpu"
) -> dict[str, Any]:
    """The timed step's output on the timed inputs against the masked module: in float32 on the CPU, in
    float64 on another ``device``.

    Raises `VerificationError` beyond ``tolerance`` (relative to the largest output), and ConfigError where
    the forward fails with the channels that the step cut away, or in its precision.
    """
    import torch

    reference = "float32 on cpu" if device == "cpu" else f"float64 on {device}"
    expected = output_of(masked, inputs, device)
    if device.startswith("cuda"):
        torch.cuda.empty_cache()  # of the reference: the device's memory is the arms'
    format = str(step.executed["format"])
    with narrower(format) if narrowed(step) else running_in(arm, format):
        found = step()
    error = relative_error(found, expected)
    if not error <= tolerance:
        raise VerificationError(
            f"arm {arm!r}: the timed step differs from its masked model ({reference}) by {error:.3g} of the "
            f"largest output; the tolerance for {format} is {tolerance:g}"
            f"{OVER_ALL if narrowed(step) else ''}"
        )
    return {"max_rel_err": error, "tolerance": tolerance, "reference": reference, "ok": True}
