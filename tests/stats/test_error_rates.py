"""Simulated experiments: how often the product's own functions are wrong.

E experiments, P processes, A allocations, R rounds; 20 iterations a block; 6 arms in balanced order,
of which two are compared. All effects are in log latency, so 0.01 is 1 %. `benchmarks/statistics` asks the
same of more designs, scenarios and summaries.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from icd.stats.compare import compare
from icd.stats.derive import derive
from icd.stats.design import rounds as balanced
from icd.stats.interval import t_bounds
from icd.stats.summary import process_units, summary_of

from .build import sample

ARMS, A, R, ITERATIONS = 6, 2, 5, 20
PLACEMENT = 0.0025  # sd of one allocation of one arm
PAIR = 0.001  # sd of one block
ITERATION = 0.003  # sd of one iteration, right-skewed: graph replays repeat closely
DRIFT = 0.001  # sd of the slope over one round, per allocation
TRUTH = -0.20
SUMMARY = summary_of("latency_ms")
DISTURBED = {  # log latencies (E, P, A, R, 2, iterations) -> what is added where something else takes time
    "iterations": lambda rng, shape: (rng.random(shape) < 0.05) * np.log(10),
    "blocks": lambda rng, shape: (rng.random((*shape[:5], 1)) < 0.05) * np.log(10),
    "rounds": lambda rng, shape: (
        (rng.random((*shape[:4], 1, 1)) < 0.2) * rng.exponential(0.5, (*shape[:5], 1))
    ),
    "lognormal": lambda rng, shape: 0.03 * (np.exp(rng.normal(size=shape)) - np.exp(0.5)),
    "exponential": lambda rng, shape: skewed(rng, (*shape[:5], 1), 0.01),
}


def skewed(rng: np.random.Generator, shape: tuple[int, ...], sd: float) -> NDArray[np.float64]:
    """Centred exponential: skewness 2."""
    return sd * (rng.exponential(size=shape) - 1)


def log_latencies(
    experiments: int, processes: int, *, truth: float = 0.0, clustered: bool = False, seed: int = 0
) -> NDArray[np.float64]:
    """(E, P, A, R, 2, ITERATIONS): iterations of two of six arms, the first `truth` apart from the second.

    ``clustered``: the first arm's placement is skewed, and a skewed part of it is common to a process.
    """
    rng = np.random.default_rng(seed)
    shape = (experiments, processes, A, R, 2, ITERATIONS)
    orders = np.array([balanced(ARMS, A * R, seed=p) for p in range(processes)])  # (P, A*R, arms)
    position = np.argsort(orders, -1)[..., :2].reshape(processes, A, R, 2)
    time = np.arange(R)[:, None] + position / ARMS  # (P, A, R, 2), in rounds
    machine = rng.normal(0, 0.03, (*shape[:2], 1, 1, 1, 1))
    slope = rng.normal(0, DRIFT, (*shape[:3], 1, 1, 1))
    placement = rng.normal(0, PLACEMENT, (*shape[:3], 1, 2, 1))
    if clustered:
        placement[..., 0, :] = skewed(rng, (*shape[:3], 1, 1), PLACEMENT)
        placement[..., 0, :] += skewed(rng, (*shape[:2], 1, 1, 1), PLACEMENT / 2)
    pair = rng.normal(0, PAIR, (*shape[:5], 1))
    effect = np.array([truth, 0.0])[:, None]
    return machine + slope * time[..., None] + placement + pair + effect + skewed(rng, shape, ITERATION)


def log_ratios(
    latencies: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Rounds (E, P*A*R) with the process and allocation of each."""
    blocks = np.median(latencies, -1)
    process, allocation, _ = (x.ravel() for x in np.indices(blocks.shape[1:4]))
    return (blocks[..., 0] - blocks[..., 1]).reshape(len(blocks), -1), process, allocation


def share_excluding(truth: float, bounds: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    lo, hi = bounds
    return float(np.mean((truth < lo) | (truth > hi)))


@pytest.mark.parametrize("processes", [3, 5])
def test_intervals_of_identical_copies_exclude_zero_in_about_5_percent(processes):
    rounds, process, allocation = log_ratios(log_latencies(4000, processes))
    missed = share_excluding(0.0, t_bounds(process_units(rounds, process, allocation, SUMMARY)))
    assert 0.035 <= missed <= 0.065


def test_rounds_taken_as_independent_would_call_identical_copies_different():
    rounds, process, allocation = log_ratios(log_latencies(1000, 5))
    assert share_excluding(0.0, t_bounds(rounds)) > 0.3
    one_allocation = rounds[:, (process == 0) & (allocation == 0)]
    assert share_excluding(0.0, t_bounds(one_allocation)) > 0.5


@pytest.mark.parametrize("processes", [5, 10])
def test_intervals_cover_the_true_change_of_skewed_clustered_samples(processes):
    latencies = log_latencies(4000, processes, truth=TRUTH, clustered=True, seed=1)
    rounds, process, allocation = log_ratios(latencies)
    missed = share_excluding(TRUTH, t_bounds(process_units(rounds, process, allocation, SUMMARY)))
    assert 1 - missed >= 0.93
    assert share_excluding(TRUTH, t_bounds(rounds)) > 0.3


def test_comparing_raw_samples_gives_the_simulation_s_intervals():
    latencies = log_latencies(3, 5, truth=TRUTH, clustered=True, seed=2)
    rounds, process, allocation = log_ratios(latencies)
    lo, hi = t_bounds(process_units(rounds, process, allocation, SUMMARY))
    for e, experiment in enumerate(latencies):
        rows = [
            sample("ab"[arm], np.exp(value), process=p, allocation=a, round=r, iteration=i)
            for (p, a, r, arm, i), value in np.ndenumerate(experiment)
        ]
        out = compare(rows, "latency_ms", "a", "b", floor=0.5, equivalence=1.0)
        # the median of an even number of iterations is a mean of two: of latencies here, of logs there
        assert out["ci95"] == pytest.approx(100 * np.expm1([lo[e], hi[e]]), abs=0.01)
        assert (out["n_units"], out["verdict"]) == (5, "WIN")


@pytest.mark.parametrize("processes", [3, 5])
@pytest.mark.parametrize("what", DISTURBED)
def test_disturbed_or_skewed_rounds_leave_false_positives_and_coverage_where_they_were(what, processes):
    rounds, process, allocation = log_ratios(disturbed(what, 2000, processes, 3))
    missed = share_excluding(TRUTH, t_bounds(process_units(rounds, process, allocation, SUMMARY)))
    assert missed <= 0.065  # the interval moves with the change, so this is both


@pytest.mark.parametrize("what", ["blocks", "rounds"])
def test_a_true_change_is_still_seen_where_rounds_are_disturbed(what):
    rounds, process, allocation = log_ratios(disturbed(what, 1000, 5, 20))
    below = TRUTH + 0.1  # as far off as 0 is from a change of -10 %
    wins = {
        summary: float(np.mean(t_bounds(process_units(rounds, process, allocation, summary))[1] < below))
        for summary in (SUMMARY, "mean")
    }
    assert wins[SUMMARY] >= 0.9 and wins["mean"] <= 0.6


def test_disturbance_costs_no_more_than_a_quarter_of_the_width_where_there_is_none():
    rounds, process, allocation = log_ratios(log_latencies(2000, 5, seed=4))
    bounds = [t_bounds(process_units(rounds, process, allocation, s)) for s in (SUMMARY, "mean")]
    width, of_mean = (float(np.median(hi - lo)) for lo, hi in bounds)
    assert width <= 1.25 * of_mean


def disturbed(what, experiments, processes, iterations):
    """`log_latencies` of blocks of a few ``iterations``, disturbed."""
    latencies = log_latencies(experiments, processes, truth=TRUTH, seed=3)[..., :iterations]
    return latencies + DISTURBED[what](np.random.default_rng(7), latencies.shape)


def test_a_run_from_raw_samples_wins_in_spite_of_disturbed_rounds():
    arms = ("iterative", "linear", "aa")
    pairs, others = disturbed("blocks", 40, 5, 3).reshape(2, 20, 5, A, R, 2, 3)
    verdicts = []
    for values in np.concatenate([pairs, others[..., 1:, :]], -2):
        rows = [
            sample(arms[arm], np.exp(value), process=p, allocation=a, round=r, iteration=i)
            for (p, a, r, arm, i), value in np.ndenumerate(values)
        ]
        found = derive(rows, arms, device="cuda", tokens=1)["compare"]["iterative_vs_linear"]["latency"]
        verdicts.append(found["verdict"])
    assert verdicts.count("WIN") >= 18
