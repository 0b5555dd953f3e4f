"""What watching costs: latency of BERT-base with and without events, readings, energy; writes overhead.csv.

    python benchmarks/measuring/overhead.py [--out FOLDER]

Two comparisons, each in alternating turns in one process, of medians in ms a forward on the host's clock:

    bare      blocks of 20 ms without anything around them
    blocks    the same under `icd.measure.latency.time_block`, with clocks, temperature and throttling read
              before and after, as a run does it; ``events_ms``: what the device's own events say of them
    silent    windows of 5 s, the device kept busy as for energy, nothing read
    energy    the same windows with the energy counter polled and power sampled ten times a second
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
from cells import Cell, build

from icd.contracts import Missing, Step
from icd.measure.energy import measure_window
from icd.measure.inflight import CudaQueue, SystemClock
from icd.measure.latency import UNREAD, time_block
from icd.measure.meter import Meter, State, open_meter
from icd.runtime.masked import Masked
from icd.transform.quantize import Precision

SHAPES = ((1, 128), (8, 256))
BLOCKS, WINDOWS, BLOCK_S = 40, 3, 0.02
DEVICE = "cuda:0"


@dataclass
class Silent:
    """A meter that asks no device: its counter steps with the clock, eleven times a second."""

    def energy_mj(self) -> int:
        return int(time.monotonic() * 11)

    def power_w(self) -> Missing:
        return Missing("silent")

    def state(self) -> State:
        return UNREAD


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    meter = open_meter(DEVICE) if torch.cuda.is_available() else Missing("torch finds no CUDA device")
    if isinstance(meter, Missing):
        sys.exit(f"overhead: needs an NVIDIA GPU: {meter.reason}")
    torch.cuda.set_device(0)
    rows = [measure(batch, seq_len, meter) for batch, seq_len in SHAPES]
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "overhead.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measure(batch: int, seq_len: int, meter: Meter) -> dict[str, Any]:
    """One row."""
    workload = build(Cell("bert", batch, seq_len), DEVICE)
    step = Masked(64, 64).prepare(workload, Precision("bf16", "fail"), DEVICE)
    forward_s = statistics.median(time_block(step, 50, DEVICE).ms) / 1e3
    count = max(3, round(BLOCK_S / forward_s))
    times: dict[str, list[float]] = {"bare": [], "blocks": [], "events": [], "silent": [], "energy": []}
    for _ in range(BLOCKS):
        times["bare"].append(bare(step, count))
        meter.state()
        block = time_block(step, count, DEVICE)
        meter.state()
        times["blocks"].append(block.wall_ms or 0.0)
        times["events"].append(statistics.median(block.ms))
    for _ in range(WINDOWS):
        times["silent"].append(window(step, Silent(), forward_s, 0.0))
        times["energy"].append(window(step, meter, forward_s, 10.0))
    middle = {name: statistics.median(values) for name, values in times.items()}
    row = {
        "model": "bert",
        "batch": batch,
        "seq_len": seq_len,
        **{f"{name}_ms": f"{value:.5f}" for name, value in middle.items()},
        "blocks_vs_bare_pct": f"{100 * (middle['blocks'] / middle['bare'] - 1):+.3f}",
        "energy_vs_silent_pct": f"{100 * (middle['energy'] / middle['silent'] - 1):+.3f}",
    }
    print(*row.values(), flush=True)
    return row


def bare(step: Step, count: int) -> float:
    """Milliseconds of one of ``count`` forwards, between two synchronisations."""
    torch.cuda.synchronize()
    began = time.perf_counter_ns()
    for _ in range(count):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter_ns() - began) / 1e6 / count


def window(step: Step, meter: Any, forward_s: float, sample_hz: float) -> float:
    """Milliseconds of one forward of a window of 5 s."""
    found = measure_window(
        meter, SystemClock(), CudaQueue(step).launch, forward_s=forward_s, sample_hz=sample_hz
    )
    if isinstance(found, Missing):
        sys.exit(f"overhead: {found.reason}")
    return 1e3 * found.forward_s


if __name__ == "__main__":
    main()
