"""Simulated experiments: log latencies of three of six arms under noise of known kinds.

All sizes are in log latency, so 0.01 is 1 %. Every scenario keeps the noise of ``plain`` unless it says
otherwise: placement 0.25 % an allocation and arm, 0.1 % a process and arm, 0.2 % a block, 1 % an iteration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icd.stats.design import rounds as balanced

Array = NDArray[np.float64]
ARMS = 6  # of which the new one, its base and a second copy of the base are compared
NEW, BASE, AGAIN = 0, 1, 2
TRUTH = math.log(0.9)  # the new arm takes 10 % less
SCENARIOS = {
    "plain": "normal noise",
    "drift": "0.1 % slower from block to block, arms in balanced order",
    "clustered": "the new arm's placement skewed, a skewed part of it common to a process",
    "lognormal": "iterations lognormal (sd 6 %)",
    "exponential": "iterations and blocks exponential (sd 5 and 1 %)",
    "iterations": "5 % of iterations take ten times as long",
    "mixed": "8 % of iterations and 3 % of blocks slower by exp(exponential), mean 1.5 and 0.5",
    "blocks": "5 % of blocks take ten times as long",
    "rounds": "20 % of rounds busy: each of their blocks slower by exp(exponential), mean 0.5",
    "allocations": "10 % of allocations busy in the same way",
    "one arm skewed": "blocks of the new arm alone exponential (sd 1 %)",
    "pauses": "10 % of iterations of the new arm alone take twice as long",
}


@dataclass(frozen=True)
class Protocol:
    """``processes`` of ``allocations`` of ``rounds`` of blocks of ``iterations``."""

    name: str
    processes: int
    allocations: int
    rounds: int
    iterations: int


PROTOCOLS = (
    Protocol("smoke", 2, 1, 2, 2),
    Protocol("quick on a slow CPU", 3, 2, 3, 3),
    Protocol("quick", 3, 2, 3, 20),
    Protocol("five", 5, 2, 3, 3),
    Protocol("paper", 7, 3, 6, 20),  # whose blocks have 56
)


def log_latencies(scenario: str, p: Protocol, experiments: int, rng: np.random.Generator) -> Array:
    """(experiments, processes, allocations, rounds, arms, iterations) of `NEW`, `BASE` and `AGAIN`."""
    process = (experiments, p.processes, 1, 1, 3, 1)
    allocation = (experiments, p.processes, p.allocations, 1, 3, 1)
    block = (experiments, p.processes, p.allocations, p.rounds, 3, 1)
    iteration = (*block[:5], p.iterations)
    own = {
        "process": rng.normal(0, 0.001, process),
        "placement": rng.normal(0, 0.0025, allocation),
        "block": rng.normal(0, 0.002, block),
        "iteration": rng.normal(0, 0.01, iteration),
    }
    extra: Array | float = 0.0
    match scenario:
        case "drift":
            extra = 0.001 * positions(p)[..., None]
        case "clustered":
            for level, sd in (("placement", 0.0025), ("process", 0.00125)):
                own[level][..., NEW, :] = skewed(rng, own[level][..., NEW, :].shape, sd)
        case "lognormal":
            own["iteration"] = 0.03 * (np.exp(rng.normal(0, 1, iteration)) - math.exp(0.5))
        case "exponential":
            own |= {"iteration": skewed(rng, iteration, 0.05), "block": skewed(rng, block, 0.01)}
        case "iterations":
            extra = hit(rng, 0.05, iteration) * math.log(10)
        case "mixed":
            extra = hit(rng, 0.08, iteration) * rng.exponential(1.5, iteration)
            extra = extra + hit(rng, 0.03, block) * rng.exponential(0.5, block)
        case "blocks":
            extra = hit(rng, 0.05, block) * math.log(10)
        case "rounds" | "allocations":
            rate, size = (0.2, block) if scenario == "rounds" else (0.1, allocation)
            extra = hit(rng, rate, (*size[:4], 1, 1)) * rng.exponential(0.5, block)
        case "one arm skewed":
            own["block"][..., NEW, :] = skewed(rng, own["block"][..., NEW, :].shape, 0.01)
        case "pauses":
            extra = hit(rng, 0.1, iteration) * math.log(2) * (np.arange(3) == NEW)[:, None]
    out = sum(own.values()) + extra
    out[..., NEW, :] += TRUTH
    return np.asarray(out)


def positions(p: Protocol) -> Array:
    """(processes, allocations, rounds, 3): when each block of the three arms ran, in blocks."""
    shape = (p.processes, p.allocations, p.rounds, ARMS)
    orders = [balanced(ARMS, p.rounds, seed=k) for k in range(p.processes * p.allocations)]
    place = np.argsort(np.array(orders).reshape(shape), -1)[..., :3]
    return np.asarray(place + ARMS * np.arange(p.rounds)[:, None], float)


def skewed(rng: np.random.Generator, shape: tuple[int, ...], sd: float) -> Array:
    """Centred exponential: skewness 2."""
    return np.asarray(sd * (rng.exponential(size=shape) - 1))


def hit(rng: np.random.Generator, rate: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whom chance strikes."""
    return np.asarray(rng.random(shape) < rate)
