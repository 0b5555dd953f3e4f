"""Latency of steps: blocks of consecutive iterations, arms interleaved in balanced rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from icd.contracts import Sample, Step
from icd.measure.protocol import Protocol


def warm_up(steps: Mapping[str, Step], iterations: int, device: str) -> float:
    """Run every arm ``iterations`` times (at least once); the median of the arms' last iterations in ms."""
    last = sorted(time_block(step, max(1, iterations), device)[-1] for step in steps.values())
    return last[len(last) // 2]


def measure_rounds(
    steps: Mapping[str, Step],
    orders: Sequence[Sequence[str]],
    protocol: Protocol,
    *,
    process: int,
    allocation: int,
    device: str,
    done: Callable[[int], None],
) -> list[Sample]:
    """Raw latency samples of one allocation; ``orders`` names the arms of each round in their order.

    ``done(round)`` is called between rounds, never inside one.
    """
    iterations = protocol.block_iterations(warm_up(steps, protocol.warmup_iter, device))
    samples: list[Sample] = []
    for number, order in enumerate(orders):
        for position, arm in enumerate(order):
            step = steps[arm]
            source = str(step.executed["source"])
            samples += [
                Sample(arm, "latency_ms", process, allocation, number, position, i, ms, "ms", source)
                for i, ms in enumerate(time_block(step, iterations, device))
            ]
        done(number)
    return samples


def time_block(step: Step, iterations: int, device: str) -> list[float]:
    """Milliseconds of each of ``iterations`` consecutive calls.

    On a GPU the time between CUDA events around each call, read after one synchronisation; on a CPU
    the monotonic clock.
    """
    if device.startswith("cuda"):
        return _time_block_cuda(step, iterations)
    out = []
    for _ in range(iterations):
        start = time.perf_counter_ns()
        step()
        out.append((time.perf_counter_ns() - start) / 1e6)
    return out


def _time_block_cuda(step: Step, iterations: int) -> list[float]:
    import torch

    torch.cuda.synchronize()
    events = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(iterations)
    ]
    for start, end in events:
        start.record()
        step()
        end.record()
    torch.cuda.synchronize()
    return [float(start.elapsed_time(end)) for start, end in events]
