"""A figure may be missing only for a reason that icd gives, and that the lock and the other files allow.

A reason that names the device or a tool (a counter that stood still, ncu that is not installed) cannot be
computed again; that it is one of icd's, and that nothing in the record contradicts it, can.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icd.measure.l2 import FINAL
from icd.pipeline.energy import SIMULATED, SLICED
from icd.pipeline.rollback import FOLDER
from icd.pipeline.underncu import ATTEMPTS, NOT_FOUND
from icd.tools.recheck.recorded import Recorded, read_json

NO_METER = re.compile(
    r"NVML finds no device with the UUID that torch names \(.*\)|"
    r"(the energy counter cannot be read \(NVML: .*\)|the energy counter did not move for [\d.]+ s|"
    r"the energy counter went from \d+ to \d+ mJ)(, in a block of (?P<arm>\S+))?"
)
CPU_ENERGY = "the device is a CPU: energy is read from an NVIDIA GPU's counter"
CPU_COLD = "the device is a CPU: a cold cache is measured on a GPU"
CPU_L2 = "the device is a CPU: L2 and DRAM traffic are read from an NVIDIA GPU's counters"
RANDOM, EXTENDED = (
    "random weights: an output says nothing about quality",
    "the position table was extended by repetition",
)
OFF_QUALITY = "quality=none was asked for"
MOCK = "icd.model.mock.Mock"
KNOWN = {"icd.quality.cosine.Cosine", "icd.quality.none.NoQuality"}


def reasons(run: Recorded) -> list[str]:
    """Energy, cold latency, L2 and quality of every measurement."""
    out = [*process(run, run.env["measured"], run.folder, ""), *profiler(run, run.ncu, ""), *quality(run)]
    if run.metrics["rollback"]["first"] is None:
        return out
    folder, where = run.folder / FOLDER, f"{FOLDER}/"
    out += process(run, run.env["measured_before_rollback"], folder, where)
    return out + profiler(run, read_json(folder / "ncu.json"), where)


def process(run: Recorded, processes: Sequence[Mapping[str, Any]], folder: Path, when: str) -> list[str]:
    """``no_energy`` and ``no_cold`` of every process in env.json; ``when``: "" or before_rollback/."""
    out, read = [], readings(folder)
    key = "measured_before_rollback" if when else "measured"
    for number, told in enumerate(processes):
        cuda, place = str(told["device"]).startswith("cuda"), f"env.json: {key}[{number}]"
        cold = SIMULATED if run.simulated else None
        cold = cold or ("measure.cold_rounds=0" if not run.lock["measure"]["cold_rounds"] else None)
        cold = cold or (None if cuda else CPU_COLD)
        if told["no_cold"] != cold:
            out.append(f"{place}.no_cold: {told['no_cold']!r}, and the lock and the device give {cold!r}")
        why, forced = told["no_energy"], SIMULATED if run.simulated else off_energy(run.lock["measure"])
        forced = forced or (None if cuda else CPU_ENERGY)
        if forced is not None:
            if why != forced:
                out.append(f"{place}.no_energy: {why!r}, and the lock and the device give {forced!r}")
        elif why is not None and not (why == SLICED and sliced(run)):
            found = NO_METER.fullmatch(why)
            if found is None:
                out.append(f"{place}.no_energy: {why!r} is no reason that icd gives on this device")
            elif found["arm"] is None and number in read:
                out.append(f"power.csv: {when}process {number} has readings, and no_energy says {why!r}")
            elif found["arm"] is not None and found["arm"] not in run.metrics["arms"]:
                out.append(f"{place}.no_energy: no arm is called {found['arm']!r}")
    return out


def off_energy(measure: Mapping[str, Any]) -> str | None:
    """Why the lock asks for no energy."""
    if not measure["power_enable"]:
        return "measure.power_enable=false"
    return None if measure["power_rounds"] else "measure.power_rounds=0"


def sliced(run: Recorded) -> bool:
    """Whether a device of the machine is cut by MIG."""
    return any(card.get("mig") is True for card in (run.env.get("gpu") or {}).get("devices") or ())


def readings(folder: Path) -> set[int]:
    """Processes of which power.csv has readings."""
    lines = (folder / "power.csv").read_text("utf-8").splitlines()[1:]
    return {int(line.partition(",")[0]) for line in lines if line}


def profiler(run: Recorded, ncu: Mapping[str, Any], where: str) -> list[str]:
    """``reason`` of ncu.json."""
    measure, why = run.lock["measure"], ncu["reason"]
    place = f"ncu.json: {where}reason"
    cuda = run.metrics["config"]["device"].startswith("cuda")
    off = "measure.ncu_enable=false" if not measure["ncu_enable"] else None
    off = off or (None if measure["ncu_repetitions"] else "measure.ncu_repetitions=0")
    forced = SIMULATED if run.simulated else CPU_L2 if not cuda else off
    if forced is not None:
        return [] if why == forced else [f"{place}: {why!r}, and the lock and the device give {forced!r}"]
    out: list[str] = []
    if why is None and ncu["runs"]:
        return out
    tried = [attempt for entry in ncu["processes"] for attempt in entry["attempts"]]
    if why is None:
        out.append(f"{place}: null, and nothing was profiled")
    elif not tried:
        absent = re.fullmatch(r"this GPU or this ncu does not have .+", why)
        if not (absent or (why == NOT_FOUND and ncu["version"] is None)):
            out.append(f"{place}: {why!r} is no reason that icd gives before anything was profiled")
    elif why not in [attempt["reason"] for attempt in tried if not attempt["ok"]]:
        out.append(f"{place}: {why!r} is the reason of no attempt")
    return out + gave_up(ncu, place)


def gave_up(ncu: Mapping[str, Any], place: str) -> list[str]:
    """A process that failed was started three times, unless its failure was final."""
    return [
        f"{place}: repetition {entry['repetition']} failed {len(entry['attempts'])} times of {ATTEMPTS}"
        for entry in ncu["processes"]
        if not entry["attempts"][-1]["ok"]
        and len(entry["attempts"]) < ATTEMPTS
        and not is_final(entry["attempts"][-1]["reason"])
    ]


def is_final(reason: str) -> bool:
    """Whether another attempt could not have helped."""
    last = ("fraction or thousands", "expected the unit", "lacks the columns", "those of one CUDA graph")
    return any(reason.startswith(sign) for sign in FINAL.values()) or any(sign in reason for sign in last)


def quality(run: Recorded) -> list[str]:
    """A model with probes and weights of its own has a quality, and one with random weights has none."""
    lock, model, out = run.lock["quality"]["_target_"], run.metrics["model"], []
    own = str(run.lock["model"]["_target_"])
    probed = own.startswith("icd.") and ("probe_text" in run.lock["model"] or own == MOCK)
    if lock not in KNOWN:
        return []
    forced = OFF_QUALITY if lock.endswith("NoQuality") else RANDOM if model["weights"] == "random" else None
    forced = forced or (EXTENDED if "extended-positions" in model["tags"] else None)
    for name, arm in run.metrics["arms"].items():
        found, where = arm["quality"], f"arms.{name}.quality"
        if forced is not None and (found["value"] is not None or found.get("reason") != forced):
            out.append(
                f"{where}: {found['value']!r} ({found.get('reason')!r}), and the record gives {forced!r}"
            )
        elif forced is None and probed and found["value"] is None:
            out.append(f"{where}: null ({found.get('reason')!r}), and the model has probes")
        share = found["value"] is not None and found["metric"] in ("cosine", "agreement", "accuracy")
        if share and not -1 - 1e-6 <= found["value"] <= 1 + 1e-6:
            out.append(f"{where}.value: {found['value']:g} is no {found['metric']}")
    return out
