"""A forward's figures with a warm and with a cold cache, each the difference of two profiled CUDA graphs.

ncu runs what it profiles several times, other counters each time, saves and restores memory in between, and
counts from a moment after the start on: a graph profiled by itself finds a cache of ncu's making, another one
in each pass, and its first microseconds are not counted. A graph that begins with a flush finds the same in
every pass, and what the flush counts itself drops out of

    warm  XFF - XF   a second forward right behind a first one
    cold  XF - X     a forward right behind a flush

with F the forward and X the flush (`icd.measure.cold.Flush`). Warm is the steady state: lines that the
forward before left modified are counted where they are written back, and stand for those that the second one
leaves modified. Cold counts neither: what a forward leaves modified at its end is not in it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from icd.measure.l2 import READ, UNITS, WRITE, Failure, Kernel, Profile, rates, sums

FORWARD, FLUSH = "F", "X"
GRAPHS = {"warm": ("XFF", "XF"), "cold": ("XF", "X")}  # regime -> graph, and the one that is subtracted
SLACK = 0.01  # of the larger graph's DRAM reads: so far these may be off
NOISE = 0.02  # of the larger graph's value: so far below 0 a difference of equals was seen, twice over


def graphs(regimes: Sequence[str]) -> list[str]:
    """The graphs that ``regimes`` need, each once."""
    return list(dict.fromkeys(graph for regime in regimes for graph in GRAPHS[regime]))


def sequence(graph: str, forward: Callable[[], object], flush: Callable[[], object]) -> Callable[[], None]:
    """What is captured as ``graph``. No result is kept: the second forward takes the memory of the first."""
    parts = [{FORWARD: forward, FLUSH: flush}[letter] for letter in graph]

    def run() -> None:
        for part in parts:
            part()

    return run


def launches(
    larger: Sequence[Profile], smaller: Sequence[Profile], tokens: int
) -> list[dict[str, Any]] | Failure:
    """One entry a profile of the larger graph, for ``launches`` of ``ncu.json``.

    Its `Rates`; ``results``: rows of ncu; ``sums``: ``profiled``, the sums of the larger graph, less
    ``subtracted``, the medians of the smaller one's.
    """
    subtracted = {metric: statistics.median(p.total(metric) for p in smaller) for metric in UNITS}
    out = []
    for profile in larger:
        profiled = sums(profile)
        rest = difference(profiled, subtracted)
        if isinstance(rest, Failure):
            return rest
        found = rates(Profile((Kernel("", rest),)), tokens, slack_bytes(profiled))
        if isinstance(found, Failure):
            return found
        out.append(
            {
                **asdict(found),
                "results": len(profile.kernels),
                "sums": rest,
                "profiled": profiled,
                "subtracted": subtracted,
            }
        )
    return out


def difference(profiled: Mapping[str, float], subtracted: Mapping[str, float]) -> dict[str, float] | Failure:
    """``profiled`` - ``subtracted``, metric by metric; a Failure where one is below 0 by more than `NOISE`.

    Within it bytes of DRAM stay below 0 where equals differ: set to 0, the mean of several would lie too
    high. Sectors do not, for rates are made of them.
    """
    out = {}
    for metric in UNITS:
        rest = profiled[metric] - subtracted[metric]
        if rest < -NOISE * profiled[metric]:
            return Failure(
                f"{metric}: {profiled[metric]:.0f} in a graph that holds another one of "
                f"{subtracted[metric]:.0f}; expected at least as many"
            )
        out[metric] = rest if metric in (READ, WRITE) else max(rest, 0.0)
    return out


def slack_bytes(profiled: Mapping[str, float]) -> float:
    """How far the DRAM reads of a difference may be off: `SLACK` of those of the larger graph."""
    return SLACK * profiled[READ]
