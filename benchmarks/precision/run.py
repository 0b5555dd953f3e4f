"""Eight-bit precisions as executed: latency, error of every linear layer, kernels; writes DEVICE.csv.

    python benchmarks/precision/run.py [--device cuda|cpu] [--cells bert-8x256 ...] [--out FOLDER]

Each row is one precision of a dense model with random weights: ``median_ms`` over alternating blocks,
``layer_err_median`` and ``layer_err_max``: the relative error (Frobenius) of the linear layers' outputs
against the same layers in bf16 (float32 on a CPU) on the inputs that they get there, ``output_err`` that of
the model's output, and ``kernels``: the matrix kernels that a profiler saw in one forward, by their time.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
from cells import BLOCK_MS, ROUNDS, Cell, block, build

from icd.contracts import Workload
from icd.runtime.masked import Masked
from icd.runtime.step import ModuleStep
from icd.transform.calibrate import attach_amax, collect_amax
from icd.transform.quantize import Precision

COLUMNS = (
    "model", "batch", "seq_len", "precision", "scales", "calibration", "median_ms", "p5_ms", "p95_ms",
    "vs_bf16", "layer_err_median", "layer_err_max", "output_err", "layers", "kernels",
)  # fmt: skip
CELLS = {
    "cuda": (Cell("bert", 1, 128), Cell("bert", 8, 256), Cell("mamba", 2, 256), Cell("bert_large", 8, 256)),
    "cpu": (Cell("bert", 1, 128),),
}
CHOICES = {
    "cuda": tuple(
        Precision(format, "fail", scales, calibration=calibration)  # type: ignore[arg-type]
        for format, scales, calibration in (
            ("bf16", "row", "dynamic"),
            ("fp8", "row", "dynamic"),
            ("fp8", "tensor", "dynamic"),
            ("fp8", "tensor", "static"),
            ("int8", "row", "dynamic"),
            ("int8", "tensor", "static"),
        )
    ),
    "cpu": (Precision("fp32", "fail"), Precision("int8", "fail")),
}
MATRIX = ("gemm", "nvjet", "cutlass", "scaled_mm", "int_mm", "linear", "mm")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=CELLS)
    parser.add_argument("--cells", nargs="+")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / f"{given.device}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for cell in CELLS[given.device]:
            if given.cells and f"{cell.model}-{cell.batch}x{cell.seq_len}" not in given.cells:
                continue
            for row in measure(cell, given.device):
                writer.writerow(row)
                print(*row.values(), flush=True)
            file.flush()


def measure(cell: Cell, device: str) -> list[dict[str, Any]]:
    """A row a precision."""
    workload = build(cell, device)
    attach_amax(workload.module, collect_amax(on_itself(workload)))
    choices = CHOICES[device]
    steps = [Masked(64, 64).prepare(workload, choice, device) for choice in choices]
    times = alternate(steps, device)
    expected = outputs(steps[0])
    base = statistics.median(times[0])
    out = []
    for choice, step, found in zip(choices, steps, times, strict=True):
        errors, whole = compare(expected, outputs(step, expected))
        ms = statistics.median(found)
        out.append(
            {
                "model": cell.model,
                "batch": cell.batch,
                "seq_len": cell.seq_len,
                "precision": choice.format,
                "scales": choice.scales,
                "calibration": choice.calibration,
                "median_ms": f"{ms:.4f}",
                "p5_ms": f"{np.percentile(found, 5):.4f}",
                "p95_ms": f"{np.percentile(found, 95):.4f}",
                "vs_bf16": f"{ms / base:.4f}",
                "layer_err_median": f"{statistics.median(errors):.5f}",
                "layer_err_max": f"{max(errors):.5f}",
                "output_err": f"{whole:.5f}",
                "layers": " ".join(f"{k}:{v}" for k, v in (step.executed.get("layers") or {}).items()),
                "kernels": " | ".join(kernels(step, device)),
            }
        )
    return out


def on_itself(workload: Workload) -> Workload:
    """The timed inputs as calibration: what is compared is arithmetic, not data."""
    from dataclasses import replace

    return replace(workload, calibration=(workload.inputs,))


def alternate(steps: list[Any], device: str) -> list[list[float]]:
    """Milliseconds a forward of blocks, the order turning."""
    once = [min(block(step, 3, device) for _ in range(2)) for step in steps]
    times: list[list[float]] = [[] for _ in steps]
    for number in range(ROUNDS):
        for k in range(len(steps)):
            k = (k + number) % len(steps)
            times[k].append(block(steps[k], max(1, round(BLOCK_MS / once[k])), device))
    return times


Seen = dict[str, tuple[torch.Tensor, torch.Tensor]]


def outputs(step: ModuleStep, given: Seen | None = None) -> Seen:
    """Input and output of every linear layer of one uncompiled forward, and of the model under ``""``.

    With ``given`` each layer's output is that on the input recorded there.
    """
    found: Seen = {}
    names = {id(m): n for n, m in step.module.named_modules()}

    def hook(layer: torch.nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        found[names[id(layer)]] = (args[0].detach(), out.detach())

    linear = [m for m in step.module.modules() if hasattr(m, "in_features")]
    hooks = [m.register_forward_hook(hook) for m in linear]
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        whole = step.forward(step.module, step.inputs)
    for each in hooks:
        each.remove()
    if given is not None:
        by_name = dict(step.module.named_modules())
        with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
            found = {n: (x, by_name[n](x.to(whole.dtype))) for n, (x, _) in given.items() if n}
    return {**found, "": (whole, whole)}


def compare(expected: Seen, found: Seen) -> tuple[list[float], float]:
    """Relative errors of the layers, and that of the model's output."""

    def error(name: str) -> float:
        a, b = expected[name][1].float(), found[name][1].float()
        return float((a - b).norm() / a.norm())

    return [error(name) for name in expected if name], error("")


def kernels(step: Callable[[], Any], device: str, count: int = 3) -> list[str]:
    """Names of the matrix kernels of one forward that take most time, shortened."""
    from torch.profiler import ProfilerActivity, profile

    cuda = device.startswith("cuda")
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
        step()
        if cuda:
            torch.cuda.synchronize()
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    rows = sorted(seen.key_averages(), key=lambda row: -getattr(row, key))
    return [r.key[:60] for r in rows if any(word in r.key.lower() for word in MATRIX)][:count]


if __name__ == "__main__":
    main()
