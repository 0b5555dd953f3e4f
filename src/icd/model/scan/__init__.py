"""Implementations of the selective scan of Gu and Dao 2023 (arXiv 2312.00752, algorithm 2).

All compute the same function of

    u    (batch, L, d)   input of the state space model
    dt   (batch, L, d)   step sizes before softplus and without their bias
    A_log (d, n)         logarithms of the decays
    B, C (batch, L, n)   input and output projections of each step
    D    (d,)            skip connection
    z    (batch, L, d)   gate
    bias (d,) or None    of the step sizes

as ``(C_t h_t + D u_t) * silu(z_t)`` with ``h_t = exp(-delta_t exp(A_log)) h_{t-1} + delta_t u_t B_t``,
``delta = softplus(dt + bias)``, ``h_0 = 0``; the result has the shape and dtype of ``u``, the state is
float32. What is derived from parameters is derived inside: by itself each would be a kernel a layer.

They live with the model and not with the engines: a scan is part of what the module computes, every engine
runs the same one, and stages do not import one another.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from icd.errors import ConfigError, MissingResource

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Conv = Callable[[Tensor, Tensor, Tensor | None], Tensor]
    Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None], Tensor]

SCANS = ("auto", "reference", "chunked", "triton", "mamba_ssm")
PACKAGE = {"triton": "triton", "mamba_ssm": "mamba_ssm"}
BRINGS = {
    "triton": "it comes with torch's CUDA builds: use one, or model.scan=chunked",
    "mamba_ssm": 'install the extra that brings it: pip install "icd[mamba]"',
}


def check_scan(name: str) -> None:
    """ConfigError unless ``name`` is one of `SCANS`."""
    if name not in SCANS:
        raise ConfigError(f"model.scan={name!r}: expected one of {', '.join(SCANS)}")


def check_installed(name: str) -> None:
    """MissingResource where the package behind an explicitly chosen scan is not installed."""
    if name in PACKAGE and find_spec(PACKAGE[name]) is None:
        raise MissingResource(
            f"model.scan={name} needs the package {PACKAGE[name]}, which is not installed; {BRINGS[name]}"
        )


def executed_scan(name: str, device: str, *, double: bool = False) -> str:
    """The scan that runs on ``device`` when ``name`` is asked for, on float64 values with ``double``.

    ``auto`` is ``triton`` on CUDA. The two kernels exist on CUDA only: on a CPU, where the checks of every
    run compute in float32 and float64, ``chunked`` stands in for them, and the record says which one ran.
    It also does in float64, which the kernels' float32 state would not keep.
    """
    if device.startswith("cuda") and not double:
        return "triton" if name == "auto" else name
    return name if name == "reference" else "chunked"


def load(name: str) -> Scan:
    """The function behind an executed scan; imports its framework."""
    if name == "reference":
        from icd.model.scan.reference import scan as reference

        return reference
    if name == "chunked":
        from icd.model.scan.chunked import scan as chunked

        return chunked
    if name == "triton":
        from icd.model.scan.tiled import scan as tiled

        return tiled
    if name == "mamba_ssm":
        from icd.model.scan.library import scan as library

        return library
    raise ConfigError(f"model.scan={name!r}: no such implementation")


def load_conv(name: str) -> Conv:
    """The causal convolution that runs beside an executed scan: a Triton kernel beside one on a GPU."""
    if name in PACKAGE:
        from icd.model.scan.conv_tiled import causal_conv as tiled

        return tiled
    from icd.model.scan.conv import causal_conv as plain

    return plain
