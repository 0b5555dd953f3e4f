"""L2 and DRAM traffic of every arm: one profiled forward a process, under ncu, apart from all timing.

The parent's side: it starts `icd.pipeline.profiled` under ncu, reads what ncu wrote, and tries again.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icd.contracts import Missing, Sample
from icd.errors import MeasurementError
from icd.measure.l2 import FLAGS, Failure, Profile, Rates, command, parse, rates, sums
from icd.pipeline.arms import Prepared
from icd.pipeline.energy import SIMULATED
from icd.pipeline.experiment import Experiment
from icd.pipeline.isolate import Listener, run_child
from icd.stats.design import rounds

ATTEMPTS = 3
TIMEOUT_S = 300.0
PLACES = ("/usr/local/cuda/bin/ncu", "/opt/nvidia/nsight-compute/ncu")
NOT_FOUND = "ncu (Nsight Compute) is not on PATH; install it with the CUDA toolkit"


@dataclass
class L2Record:
    """Samples, the content of ``ncu.json``, and why a figure is not there."""

    samples: list[Sample] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    missing: str | None = None
    version: str | None = None

    def as_json(self) -> dict[str, Any]:
        """``ncu.json``."""
        return {
            "regime": "warm",
            "flags": list(FLAGS),
            "version": self.version,
            "runs": self.runs,
            "reason": self.missing,
        }


def find_ncu() -> str | Missing:
    """The path of ncu."""
    home = os.environ.get("CUDA_HOME")
    places = [*([f"{home}/bin/ncu"] if home else []), *PLACES]
    found = shutil.which("ncu") or next((p for p in places if os.access(p, os.X_OK)), None)
    return found or Missing(NOT_FOUND)


def ncu_version(ncu: str) -> str | None:
    """The line of ``ncu --version`` that names the version."""
    try:
        done = subprocess.run([ncu, "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next((line for line in done.stdout.splitlines() if line.startswith("Version")), None)


def profile_arms(
    experiment: Experiment,
    prepared: Prepared,
    work: Path,
    listen: Listener,
    *,
    child: Callable[..., Any] = run_child,
    find: Callable[[], str | Missing] = find_ncu,
) -> L2Record:
    """Profile ``measure.ncu_repetitions`` forwards of every arm; ``process`` of a sample is the repetition.

    An attempt that fails is made again, three in all. Nothing is profiled after a failure that is
    final, or when the first arm failed every time.
    """
    record = L2Record()
    off = why_not(experiment, prepared)
    ncu = Missing(off) if off else find()
    if isinstance(ncu, Missing):
        record.missing = ncu.reason
        return record
    record.version = ncu_version(ncu)
    arms = [arm.name for arm in prepared.arms]
    repetitions = experiment.measure.ncu_repetitions
    done = 0
    for repetition, order in enumerate(rounds(len(arms), repetitions, experiment.seed)):
        for position, index in enumerate(order):
            run, figures = _profile_arm(
                experiment, prepared, arms[index], repetition, ncu, work, listen, child
            )
            record.runs.append(run)
            done += 1
            listen({"event": "progress", "what": "profiling", "done": done, "total": len(arms) * repetitions})
            if isinstance(figures, Failure):
                record.missing = f"{arms[index]}: {figures.reason}"
                if figures.final or not record.samples:
                    return record
                continue
            row = Sample(
                arms[index], "", repetition, 0, 0, position, 0, 0.0, "", str(run["executed"]["source"])
            )
            record.samples += [
                row._replace(metric=metric, value=value, unit="B" if "bytes" in metric else "%")
                for metric, value in dataclasses.asdict(figures).items()
            ]
    return record


def why_not(experiment: Experiment, prepared: Prepared) -> str | None:
    """Why nothing is profiled before ncu is even looked for."""
    if experiment.model.simulated:
        return SIMULATED
    if not prepared.facts["device"].startswith("cuda"):
        return "the device is a CPU: L2 and DRAM traffic are read from an NVIDIA GPU's counters"
    reason: str | None = experiment.measure.no_l2()
    return reason


def _profile_arm(
    experiment: Experiment,
    prepared: Prepared,
    arm: str,
    repetition: int,
    ncu: str,
    work: Path,
    listen: Listener,
    child: Callable[..., Any],
) -> tuple[dict[str, Any], Rates | Failure]:
    """One arm, with retries: its entry in ``ncu.json`` and its figures."""
    tokens = prepared.facts["tokens"]
    run: dict[str, Any] = {"arm": arm, "repetition": repetition, "attempts": []}
    figures: Rates | Failure = Failure("not attempted")
    for attempt in range(ATTEMPTS):
        start = time.perf_counter()
        log = work / f"ncu-{repetition}-{arm}-{attempt}.csv"
        arguments = {
            "experiment": experiment,
            "prepared": prepared,
            "arm": arm,
            "repetition": repetition,
            "device": prepared.facts["device"],
        }
        died = None
        try:
            run |= child(
                "profile", arguments, work, listen, prefix=command(ncu, str(log)), timeout_s=TIMEOUT_S
            )
        except MeasurementError as error:
            died = Failure(without_paths(str(error)))
        outcome = parse(log.read_text("utf-8", "replace")) if log.is_file() else Failure("ncu wrote nothing")
        if died and not (isinstance(outcome, Failure) and outcome.final):
            outcome = died
        figures = rates(outcome, tokens) if isinstance(outcome, Profile) else outcome
        failed = isinstance(figures, Failure)
        run["attempts"].append(
            {
                "ok": not failed,
                "reason": figures.reason if isinstance(figures, Failure) else None,
                "seconds": round(time.perf_counter() - start, 2),
            }
        )
        if isinstance(outcome, Profile) and isinstance(figures, Rates):
            run |= {
                "kernels": len(outcome.kernels),
                "sums": sums(outcome),
                **dataclasses.asdict(figures),
                "top_kernels": outcome.top(),
            }
        if not failed or (isinstance(figures, Failure) and figures.final):
            break
    return run, figures


def without_paths(text: str) -> str:
    """``text`` with absolute paths cut down to their last part: no folder of this machine is recorded."""
    return re.sub(r"(?<![\w.:/])/(?:[^\s/'\",:;]+/)+", "", text)
