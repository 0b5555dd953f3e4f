"""Latency of steps: blocks of consecutive iterations, arms interleaved in balanced rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from icd.contracts import Sample, Step
from icd.measure.meter import Meter, State, around
from icd.measure.protocol import Protocol

Orders = Sequence[Sequence[str]]
More = Callable[[Sequence[Sample]], Orders]
UNREAD = State(None, None, frozenset())


@dataclass(frozen=True)
class Block:
    """Milliseconds of each iteration; ``wall_ms``: of one on the host's clock, between synchronisations.

    ``wall_ms`` cross-checks the device's own events; None on a CPU, where both are one clock.
    """

    ms: list[float]
    wall_ms: float | None = None


@dataclass
class LatencyRecord:
    """Raw samples of one allocation, the iterations of each of its blocks, and what was seen between blocks:
    reasons for throttling, and whether a setting held the clocks.
    """

    samples: list[Sample] = field(default_factory=list)
    iterations: int = 0
    throttling: set[str] = field(default_factory=set)
    clocks_set: set[bool] = field(default_factory=set)


def warm_up(steps: Mapping[str, Step], iterations: int, device: str) -> float:
    """Run every arm ``iterations`` times (at least once); the median of the arms' last iterations in ms."""
    last = sorted(time_block(step, max(1, iterations), device).ms[-1] for step in steps.values())
    return last[len(last) // 2]


def measure_rounds(
    steps: Mapping[str, Step],
    orders: Orders,
    protocol: Protocol,
    *,
    process: int,
    allocation: int,
    device: str,
    done: Callable[[int], None],
    meter: Meter | None = None,
    more: More | None = None,
    flush: Callable[[], None] | None = None,
) -> LatencyRecord:
    """Raw latency samples of one allocation; ``orders`` names the arms of each round in their order.

    ``done(round)`` is called between rounds, and ``meter`` is read between blocks, never inside one.
    Behind the last of ``orders``, ``more(samples)`` may give further rounds, and again behind those, until
    it gives none. On a GPU each block also gives one sample ``wall_ms``. With ``flush``, called before each
    iteration and not timed, the samples are ``latency_cold_ms``: the two regimes never mix.
    """
    iterations = protocol.block_iterations(warm_up(steps, protocol.warmup_iter, device))
    record = LatencyRecord(iterations=iterations)
    metric = "latency_cold_ms" if flush else "latency_ms"
    for number, order in enumerate(_rounds(orders, more, record)):
        before = meter.state() if meter else UNREAD
        for position, arm in enumerate(order):
            step = steps[arm]
            block = time_block(step, iterations, device, flush)
            after = meter.state() if meter else UNREAD
            row = Sample(
                arm, metric, process, allocation, number, position, 0, 0.0, "ms",
                str(step.executed["source"]), *around(before, after),
            )  # fmt: skip
            record.samples += [row._replace(iteration=i, value=ms) for i, ms in enumerate(block.ms)]
            if block.wall_ms is not None:
                record.samples.append(row._replace(metric="wall_ms", value=block.wall_ms))
            record.throttling |= before.throttling | after.throttling
            record.clocks_set |= set() if after.clocks_set is None else {after.clocks_set}
            before = after
        done(number)
    return record


def _rounds(orders: Orders, more: More | None, record: LatencyRecord) -> Iterator[Sequence[str]]:
    """``orders``, then what ``more`` adds when it sees the samples so far."""
    while orders:
        yield from orders
        orders = more(record.samples) if more else ()


def time_block(step: Step, iterations: int, device: str, flush: Callable[[], None] | None = None) -> Block:
    """The times of ``iterations`` consecutive calls, ``flush`` (on a GPU) before each of them.

    On a GPU the time between CUDA events around each call, read after one synchronisation; on a CPU
    the monotonic clock.
    """
    if device.startswith("cuda"):
        return _time_block_cuda(step, iterations, flush)
    out = []
    for _ in range(iterations):
        start = time.perf_counter_ns()
        step()
        out.append((time.perf_counter_ns() - start) / 1e6)
    return Block(out)


def _time_block_cuda(step: Step, iterations: int, flush: Callable[[], None] | None) -> Block:
    import torch

    events = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(iterations)
    ]
    torch.cuda.synchronize()
    began = time.perf_counter_ns()
    for start, end in events:
        if flush:
            flush()
        start.record()
        step()
        end.record()
    torch.cuda.synchronize()
    wall_ms = (time.perf_counter_ns() - began) / 1e6 / iterations
    return Block([float(start.elapsed_time(end)) for start, end in events], None if flush else wall_ms)
