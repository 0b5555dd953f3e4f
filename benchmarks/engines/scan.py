"""The selective scan and the convolution beside it on a GPU; writes scan.csv.

    python benchmarks/engines/scan.py [--out FOLDER]

``scan_us``: ours on tensors whose channels are contiguous, as a layer has them; ``library_us``: mamba_ssm's
on the same tensors, which it has to turn; ``kernel_us``: its kernel alone, on turned tensors and prepared
decays; both empty where it is not installed. ``conv_us`` and ``conv_twin_us``: our convolution, and its plain
twin compiled. ``rel_diff``: largest difference of the two scans over the largest output, in bf16.
"""

from __future__ import annotations

import argparse
import csv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from triton.testing import do_bench_cudagraph

from icd.model.scan import conv, conv_tiled, tiled

SHAPES = ((1, 2048, 5120), (1, 2048, 2560), (2, 256, 5120), (1, 2048, 1536), (2, 256, 1536), (1, 2048, 768))
STATE, TAPS = 16, 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    rows = [measure(*shape) for shape in SHAPES]
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "scan.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measure(batch: int, length: int, width: int) -> dict[str, Any]:
    """One row, in microseconds."""
    torch.manual_seed(0)
    row = {"batch": batch, "seq_len": length, "channels": width}

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    u, z = draw(batch, length, width), draw(batch, length, 2 * width)[..., width:]
    dt, B, C = draw(batch, length, width) - 3, draw(batch, length, STATE), draw(batch, length, STATE)
    A_log = torch.arange(1, STATE + 1, device="cuda").log().to(torch.bfloat16).repeat(width, 1)
    D, bias = draw(width), draw(width)
    scan_us = us(lambda: tiled.scan(u, dt, A_log, B, C, D, z, bias))
    out: dict[str, Any] = {**row, "scan_us": scan_us, "library_us": "", "kernel_us": "", "rel_diff": ""}
    if find_spec("mamba_ssm") is not None:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        from icd.model.scan.library import scan as library

        ours, theirs = (f(u, dt, A_log, B, C, D, z, bias).float() for f in (tiled.scan, library))
        turned = [x.transpose(1, 2).contiguous() for x in (u, dt, B, C, z)]
        u_, dt_, B_, C_, z_ = turned
        A, skip, added = -torch.exp(A_log.float()), D.float(), bias.float()
        out["library_us"] = us(lambda: library(u, dt, A_log, B, C, D, z, bias))
        out["kernel_us"] = us(
            lambda: selective_scan_fn(u_, dt_, A, B_, C_, skip, z=z_, delta_bias=added, delta_softplus=True)
        )
        out["rel_diff"] = f"{float((ours - theirs).abs().max() / ours.abs().max()):.1e}"
    x = draw(batch, length, 2 * width)[..., :width]
    weight, bias = draw(width, 1, TAPS), draw(width)
    twin = torch.compile(conv.causal_conv, dynamic=False)
    out["conv_us"] = us(lambda: conv_tiled.causal_conv(x, weight, bias))
    out["conv_twin_us"] = us(lambda: twin(x, weight, bias))
    print(*out.values(), flush=True)
    return out


def us(call: Any) -> str:
    """The median time of a call in a CUDA graph, as a forward is timed: launching it costs the host more."""
    return f"{1e3 * do_bench_cudagraph(call, return_mode='median'):.1f}"


if __name__ == "__main__":
    main()
