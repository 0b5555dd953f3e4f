"""One process under ncu: started, read, started again where it failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from icd.contracts import Missing
from icd.errors import MeasurementError, without_paths
from icd.measure.l2 import BY_NCU, Failure, Profile, command, final, forwards, parse, rates
from icd.measure.regimes import FORWARD, GRAPHS, graphs, launches
from icd.pipeline.arms import Prepared
from icd.pipeline.experiment import Experiment
from icd.pipeline.isolate import Listener

ATTEMPTS = 3
TIMEOUT_S = 600.0  # of one process, and longer for large models: copies of an arm are made on the host
TIMEOUT_S_GIGA = 60.0  # for each arm and billion parameters
PLACES = ("/usr/local/cuda/bin/ncu", "/opt/nvidia/nsight-compute/ncu")
NOT_FOUND = "ncu (Nsight Compute) is not on PATH; install it with the CUDA toolkit"


@dataclass(frozen=True)
class Visit:
    """What one process under ncu is to do."""

    arms: Sequence[str]
    regimes: Sequence[str]
    launches: int
    repetition: int
    captured: bool

    @property
    def graphs(self) -> list[str]:
        """What is profiled of every arm."""
        return graphs(self.regimes) if self.captured else [FORWARD]

    @property
    def log(self) -> str:
        """Stem of the file that ncu writes."""
        return f"ncu-{'graphs' if self.captured else 'kernels'}-{self.repetition}"


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


@dataclass(frozen=True)
class Outcome:
    """What was executed for each arm, its profiles by arm and graph, and, where graphs were captured,
    what follows from them by arm and regime (`icd.measure.regimes.launches`).
    """

    executed: dict[str, Any]
    profiles: Mapping[tuple[str, str], Sequence[Profile]]
    launches: Mapping[tuple[str, str], Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class Runner:
    """Starts processes under ncu for one run; ``processes`` collects their entries for ``ncu.json``."""

    experiment: Experiment
    prepared: Prepared
    ncu: str
    work: Path
    listen: Listener
    child: Callable[..., Any]
    processes: list[dict[str, Any]]

    def __call__(self, visit: Visit) -> Outcome | Failure:
        """One process, with retries; its entry goes into ``processes``."""
        entry: dict[str, Any] = {
            "repetition": visit.repetition,
            "profiled": "as timed" if visit.captured else "kernel by kernel",
            "arms": list(visit.arms),
            "attempts": [],
        }
        self.processes.append(entry)
        outcome: Outcome | Failure = Failure("not attempted")
        for attempt in range(ATTEMPTS):
            start = time.perf_counter()
            outcome = self._attempt(visit, self.work / f"{visit.log}-{attempt}.csv")
            failed = outcome if isinstance(outcome, Failure) else None
            entry["attempts"].append(
                {
                    "ok": failed is None,
                    "reason": failed.reason if failed else None,
                    "seconds": round(time.perf_counter() - start, 2),
                }
            )
            if failed is None or failed.final:
                break
        return outcome

    def _attempt(self, visit: Visit, log: Path) -> Outcome | Failure:
        died: Failure | None = None
        told: dict[str, Any] = {"executed": {}, "profiled": [], "refused": None}
        prefix = command(self.ncu, str(log), "graph" if visit.captured else "node")
        arguments = {
            "experiment": self.experiment,
            "prepared": self.prepared,
            "device": self.prepared.facts["device"],
            **{key: getattr(visit, key) for key in ("arms", "graphs", "launches", "repetition", "captured")},
        }
        try:
            told = self.child(
                "profile", arguments, self.work, self.listen, prefix=prefix, timeout_s=self._limit_s(visit)
            )
        except MeasurementError as error:
            died = final(str(error)) or Failure(without_paths(str(error)))
        if told["refused"]:
            return Failure(without_paths(told["refused"]), final=True)
        read = parse(log.read_text("utf-8", "replace")) if log.is_file() else Failure("ncu wrote nothing")
        if isinstance(read, Failure):
            return why(read, died)
        if died:
            return died
        found = forwards(read, len(told["profiled"]))
        if isinstance(found, Failure):
            return found
        profiles: dict[tuple[str, str], list[Profile]] = defaultdict(list)
        for (arm, graph), profile in zip(told["profiled"], found, strict=True):
            profiles[arm, graph].append(profile)
        entries = self._launches(visit, profiles)
        return entries if isinstance(entries, Failure) else Outcome(told["executed"], profiles, entries)

    def _launches(
        self, visit: Visit, profiles: Mapping[tuple[str, str], Sequence[Profile]]
    ) -> dict[tuple[str, str], list[dict[str, Any]]] | Failure:
        """By arm and regime, where graphs were captured; a Failure where any figure cannot be."""
        tokens = self.prepared.facts["tokens"]
        out = {}
        for arm, regime in product(visit.arms, visit.regimes) if visit.captured else ():
            larger, smaller = GRAPHS[regime]
            found = launches(profiles[arm, larger], profiles[arm, smaller], tokens)
            if isinstance(found, Failure):
                return Failure(f"{arm}, {regime}: {found.reason}")
            out[arm, regime] = found
        alone = [] if visit.captured else [p for group in profiles.values() for p in group]
        wrong = next((f for f in (rates(p, tokens) for p in alone) if isinstance(f, Failure)), None)
        return wrong or out

    def _limit_s(self, visit: Visit) -> float:
        """Seconds after which a process hangs."""
        card = self.prepared.facts.get("card")
        return TIMEOUT_S + TIMEOUT_S_GIGA * len(visit.arms) * (card.params / 1e9 if card else 0.0)


def why(read: Failure, died: Failure | None) -> Failure:
    """One failure of what ncu wrote and how the process ended; ncu's own error comes first."""
    if died is None or read.final:
        return read
    if died.final or not read.reason.startswith(BY_NCU):
        return died
    return Failure(f"{read.reason} ({died.reason})")
