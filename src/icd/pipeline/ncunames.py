"""Whether this GPU and this ncu have the metrics that icd reads; asked once, before anything is profiled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from icd.errors import without_paths
from icd.measure.l2 import UNITS, Failure

TIMEOUT_S = 60.0


class Names(NamedTuple):
    """The metrics that ncu says it has, ``found``, or None and why they could not be checked, ``reason``."""

    found: tuple[str, ...] | None
    reason: str | None = None


def check_names(ncu: str, timeout_s: float = TIMEOUT_S) -> Names | Failure:
    """The six metrics looked up in ``ncu --query-metrics``, which asks the installed GPU.

    A final Failure where it has some of them and lacks others. Where it has none, or the query fails, its
    output is not understood and nothing follows from it.
    """
    try:
        done = subprocess.run([ncu, "--query-metrics"], capture_output=True, text=True, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        late = isinstance(error, subprocess.TimeoutExpired)
        told = f"it took more than {timeout_s:g} s" if late else without_paths(str(error))
        return Names(None, f"ncu --query-metrics failed: {told}")
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "==ERROR==" in line]
        told = said[0].partition("==ERROR==")[2].strip() if said else "it said no more"
        return Names(
            None, f"ncu --query-metrics failed with exit code {done.returncode}: {without_paths(told)}"
        )
    lacking = absent(done.stdout)
    if len(lacking) == len(UNITS):
        return Names(None, "ncu --query-metrics names none of the metrics: its output is not understood")
    if lacking:
        return Failure(f"this GPU or this ncu does not have {', '.join(lacking)}", final=True)
    return Names(tuple(UNITS))


def absent(listed: str, metrics: Iterable[str] = UNITS) -> list[str]:
    """Those of ``metrics`` whose base name (without ``.sum``) begins no line of ``listed``."""
    there = {words[0] for line in listed.splitlines() if (words := line.split())}
    return [metric for metric in metrics if metric.rpartition(".")[0] not in there]
