"""One model at one shape: its engines as steps, timed in alternating blocks in one process."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from icd.config import check, conf_dir
from icd.contracts import Workload
from icd.pipeline.arms import sliced_layout
from icd.runtime.auto import Auto
from icd.runtime.compact import Compact
from icd.runtime.cut import cut_sites
from icd.runtime.masked import Masked
from icd.runtime.tiles import kept_everywhere
from icd.transform.channel import Channel
from icd.transform.permute import permute
from icd.transform.quantize import Precision

GROUPS = ["heads", "neurons", "d_inner"]
SPARSITIES = (0.3, 0.5, 0.7)
ROUNDS, WARM_UP = 30, 5
BLOCK_MS = 20.0


@dataclass(frozen=True)
class Cell:
    """A model and a shape; ``plain`` and ``whole``: whether the references outside are run here."""

    model: str
    batch: int
    seq_len: int
    plain: bool = True
    whole: bool = True


@dataclass
class Candidate:
    """What is timed, and how much one forward of it computes and moves at least."""

    engine: str
    sparsity: float
    step: Callable[[], Any]
    flops: float | None = None
    least_bytes: float | None = None


def build(cell: Cell, device: str) -> Workload:
    """The workload with random weights, built where it is timed: its shapes are what counts here."""
    from hydra import compose, initialize_config_dir

    words = [f"model={cell.model}", "tracking=none", f"device={device}"]
    words += [f"batch_size={cell.batch}", f"seq_len={cell.seq_len}"]
    if cell.model != "minilm":
        words.append("model.weights=random")
    if cell.seq_len > 512 and cell.model.startswith("bert"):
        words.append("model.extend_positions=true")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        model = check(compose("config", overrides=words)).model
    with torch.device(device):
        workload = model.build()
    module = workload.module.to(device, dtype_of(device))
    workload = workload.with_module(module)
    return replace(
        workload, inputs={name: x.to(device) for name, x in workload.inputs.items()}, calibration=()
    )


def dtype_of(device: str) -> torch.dtype:
    """bf16 on a GPU, float32 on a CPU."""
    return torch.bfloat16 if device.startswith("cuda") else torch.float32


def candidates(cell: Cell, workload: Workload, device: str, *, remember: bool = True) -> Iterator[Candidate]:
    """Dense, compact, masked and auto, a dense model built small, and the references outside, as asked for.

    ``remember``: whether what auto's planner measures is kept.
    """
    precision = Precision("bf16" if device.startswith("cuda") else "fp32", "fail")
    yield ours("dense", 0.0, Masked(64, 64), workload, precision, device)
    for sparsity in SPARSITIES:
        pruned = Channel(sparsity, "random", GROUPS, 0).apply(workload, None)
        gathered = permute(pruned, {s.name: sliced_layout(pruned.live_mask(s)) for s in pruned.sites})
        engines: list[tuple[str, Any]] = [("compact", Compact(64, 64)), ("masked", Masked(64, 64))]
        if sparsity == 0.5:
            engines.append(("auto", Auto(64, 64, cache=remember)))
        for name, engine in engines:
            yield ours(name, sparsity, engine, gathered, precision, device)
        if sparsity == 0.5:
            keep, _ = kept_everywhere(gathered, 64)
            small = copy.deepcopy(workload.module)
            cut_sites(small, workload.sites, keep)
            yield ours("built small", 0.5, Masked(64, 64), workload.with_module(small), precision, device)
    dtype = dtype_of(device)
    if cell.plain:
        yield Candidate("transformers, eager", 0.0, plain(cell, workload, dtype, device))
    if cell.whole:
        yield Candidate("torch.compile, whole model", 0.0, whole(workload, dtype, device))


def ours(
    engine: str, sparsity: float, made: Any, workload: Workload, precision: Precision, device: str
) -> Candidate:
    """An engine's step with its counts."""
    step = made.prepare(workload, precision, device)
    flops, moved = counts(step.module, workload, device)
    return Candidate(engine, sparsity, step, flops, moved)


def counts(module: torch.nn.Module, workload: Workload, device: str) -> tuple[float, float]:
    """FLOPs of products and attention of one forward; bytes of the layers' weights, inputs and outputs."""
    from torch.utils.flop_counter import FlopCounterMode

    moved = [0.0]

    def hook(layer: torch.nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        tensors = [args[0], out, *layer.parameters()]
        moved[0] += sum(t.numel() * t.element_size() for t in tensors)

    hooks = [m.register_forward_hook(hook) for m in module.modules() if isinstance(m, torch.nn.Linear)]
    eager = torch.compiler.set_stance("force_eager")
    with torch.inference_mode(), eager, FlopCounterMode(display=False) as counter:
        workload.forward(module, workload.inputs)
    for each in hooks:
        each.remove()
    return float(counter.get_total_flops()), moved[0]


def plain(cell: Cell, workload: Workload, dtype: torch.dtype, device: str) -> Callable[[], Any]:
    """The library's own model, called as its documentation says."""
    from transformers import BertModel, MambaConfig, MambaModel

    if isinstance(workload.module, BertModel):
        model = copy.deepcopy(workload.module).to(dtype)
    else:
        stack: Any = workload.module
        layer = stack.layers[0].mixer
        with torch.device(device):
            model = MambaModel(
                MambaConfig(
                    hidden_size=stack.embeddings.embedding_dim,
                    num_hidden_layers=len(stack.layers),
                    intermediate_size=layer.intermediate_size,
                    vocab_size=stack.embeddings.num_embeddings,
                )
            )
        model = model.to(dtype).eval()

    def run() -> Any:
        with torch.inference_mode():
            return model(input_ids=workload.inputs["input_ids"])

    return run


def whole(workload: Workload, dtype: torch.dtype, device: str) -> Callable[[], Any]:
    """The whole forward as one compilation, with the compiler's own CUDA graphs."""
    module = copy.deepcopy(workload.module).to(dtype)
    mode = "reduce-overhead" if device.startswith("cuda") else "default"
    compiled = torch.compile(lambda: workload.forward(module, workload.inputs), dynamic=False, mode=mode)

    def run() -> Any:
        with torch.inference_mode():
            return compiled()

    return run


def time_all(made: list[Candidate], device: str, limit_ms: float = 2000.0) -> list[list[float]]:
    """Milliseconds a forward, a block a round: every candidate in each round, the order turning.

    A candidate slower than ``limit_ms`` gets three rounds of one forward.
    """
    once = [warm(c, device) for c in made]
    times: list[list[float]] = [[] for _ in made]
    for number in range(ROUNDS):
        for k in range(len(made)):
            k = (k + number) % len(made)
            if once[k] > limit_ms and number >= 3:
                continue
            times[k].append(block(made[k].step, max(1, round(BLOCK_MS / once[k])), device))
    return times


def warm(candidate: Candidate, device: str) -> float:
    """Milliseconds of a forward after a few."""
    block(candidate.step, 1, device)
    first = block(candidate.step, 1, device)
    return first if first > 200 else block(candidate.step, WARM_UP, device)


def block(step: Callable[[], Any], count: int, device: str) -> float:
    """Milliseconds of one of ``count`` forwards; on a GPU by events."""
    import time

    if device.startswith("cuda"):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(count):
            step()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / count
    begun = time.perf_counter()
    for _ in range(count):
        step()
    return 1e3 * (time.perf_counter() - begun) / count


def rows(
    cell: Cell, made: list[Candidate], times: list[list[float]], peaks: tuple[float, float]
) -> list[dict]:
    """A row a candidate; ``peaks``: FLOP/s and bytes/s of the device."""
    dense = statistics.median(times[0])
    out = []
    for candidate, found in zip(made, times, strict=True):
        ms = statistics.median(found)
        row = {
            "model": cell.model, "batch": cell.batch, "seq_len": cell.seq_len,
            "engine": candidate.engine, "sparsity": candidate.sparsity, "median_ms": f"{ms:.4f}",
            "p5_ms": f"{np.percentile(found, 5):.4f}", "p95_ms": f"{np.percentile(found, 95):.4f}",
            "rounds": len(found), "vs_dense": f"{ms / dense:.4f}",
        }  # fmt: skip
        if candidate.flops is not None and candidate.least_bytes is not None:
            bound = 1e3 * max(candidate.flops / peaks[0], candidate.least_bytes / peaks[1])
            row |= {
                "gflop": f"{candidate.flops / 1e9:.2f}",
                "mbyte": f"{candidate.least_bytes / 1e6:.2f}",
                "tflop_s": f"{candidate.flops / ms / 1e9:.2f}",
                "gb_s": f"{candidate.least_bytes / ms / 1e6:.1f}",
                "roofline_ms": f"{bound:.4f}",
            }  # fmt: skip
        out.append(row)
    return out
