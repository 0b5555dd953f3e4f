"""Figures that only some of the processes gave: how many of how many, and what the others said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def partial(
    processes: Sequence[Mapping[str, Any]], repetitions: Iterable[int], asked: int, reason: str | None
) -> dict[str, dict[str, str]]:
    """``{"partial": {energy: sentence, l2: sentence}}``, of what is partial alone; ``{}`` where nothing is.

    ``processes``: with ``no_energy``; ``repetitions``: under ncu that gave figures, of ``asked``;
    ``reason``: why the last of the others did not. What no process gave is missing, not partial.
    """
    out = {}
    without = {number: p["no_energy"] for number, p in enumerate(processes) if p["no_energy"]}
    if 0 < len(without) < len(processes):
        told = "; ".join(f"process {number}: {why}" for number, why in without.items())
        out["energy"] = f"{len(processes) - len(without)} of {len(processes)} processes gave energy; {told}"
    found = set(repetitions)
    if 0 < len(found) < asked:
        out["l2"] = f"{len(found)} of {asked} repetitions under ncu gave figures; {reason}"
    return {"partial": out} if out else {}
