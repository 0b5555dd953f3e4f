"""Energy of a process's arms: who is asked, when, and why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from icd.contracts import Missing, Step
from icd.measure.inflight import CudaQueue, SystemClock
from icd.measure.latency import time_block
from icd.measure.meter import NvmlMeter, is_sliced, open_meter
from icd.measure.power import EnergyRecord, begin, energy_rounds
from icd.stats.design import rounds

if TYPE_CHECKING:
    from icd.measure.protocol import Protocol

SLICED = "MIG is on: the energy counter is that of the whole device, whoever else runs on it"
SIMULATED = "the device is simulated: only what the simulator gives is there"


def open_energy(protocol: Protocol, device: str, simulated: bool) -> tuple[NvmlMeter | Missing, EnergyRecord]:
    """The device's meter, and the process's record with its idle power, before any step was built."""
    meter = Missing(SIMULATED) if simulated else open_meter(device)
    off = None if simulated else protocol.no_energy()
    if not off and isinstance(meter, NvmlMeter) and is_sliced(meter):
        off = SLICED
    return meter, begin(Missing(off) if off else meter, SystemClock())


def add_energy(
    record: EnergyRecord,
    meter: NvmlMeter | Missing,
    steps: Mapping[str, Step],
    protocol: Protocol,
    *,
    process: int,
    seed: int,
    device: str,
    first_round: int,
    done: Callable[[int], None],
) -> None:
    """Rounds of energy blocks, numbered from ``first_round``, behind the latency rounds of the process's
    first allocation.
    """
    if record.missing is not None or isinstance(meter, Missing):
        return
    names = list(steps)
    energy_rounds(
        record,
        meter,
        SystemClock(),
        {name: CudaQueue(step).launch for name, step in steps.items()},
        [[names[i] for i in order] for order in rounds(len(names), protocol.power_rounds, seed)],
        forward_s={name: time_block(step, 3, device).ms[-1] / 1e3 for name, step in steps.items()},
        sources={name: str(step.executed["source"]) for name, step in steps.items()},
        process=process,
        first_round=first_round,
        sample_hz=protocol.power_sample_hz,
        done=done,
    )
