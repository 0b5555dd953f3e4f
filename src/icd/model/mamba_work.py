"""Arithmetic and least bytes of Mamba's convolution and selective scan, which are no modules of torch's.

    b  batch, L  sequence, d  channels, n  state size, K  taps, e  bytes of an activation

    conv   2 K b L d                  read u, weights and bias once, write u
    scan   (7 n + 6) b L d            read u, dt, z, B, C, A, D and bias once, write y

Of the 7 for each state and step: delta A, its exponential, (delta u) B, a h, the sum of both, C h and its
sum over the states; of the 6 for each channel and step: softplus, delta u, D u, its sum, SiLU, the gate. A
transcendental function counts as one. Both run in float32 outside the tensor cores. The SiLU behind the
convolution rides along with it and is not counted, like element-wise operations elsewhere.
"""

from __future__ import annotations

import torch

from icd.contracts import Work

PER_STATE, PER_CHANNEL = 7, 6


def conv_work(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> Work:
    """Of a call on ``x`` (b, L, any) with ``weight`` (d, 1, K) and ``bias`` (d,)."""
    elements = x[..., 0].numel() * weight.shape[0]
    own = _bytes(weight) + (0 if bias is None else _bytes(bias))
    return Work(
        "conv", "fp32", 2.0 * weight.shape[-1] * elements, 2.0 * elements * x.element_size() + own, own
    )


def scan_work(x: torch.Tensor, decay: torch.Tensor, skip: torch.Tensor, bias: torch.Tensor | None) -> Work:
    """Of a call on ``x`` (b, L, any) with ``decay`` (d, n), ``skip`` (d,) and the steps' ``bias`` (d,)."""
    steps = x[..., 0].numel()
    width, state = decay.shape
    own = _bytes(decay) + _bytes(skip) + (0 if bias is None else _bytes(bias))
    moved = (4.0 * width + 2.0 * state) * steps * x.element_size()  # u, dt, z, y; B, C
    return Work("scan", "fp32", float(PER_STATE * state + PER_CHANNEL) * steps * width, moved + own, own)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
