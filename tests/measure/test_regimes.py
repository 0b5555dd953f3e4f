"""A regime is the difference of two graphs: what is in them, what is subtracted, and how far below 0 is 0."""

from __future__ import annotations

import pytest

from icd.measure.l2 import ALL, ALL_HIT, HIT, MISS, READ, SECTOR_BYTES, UNITS, WRITE, Failure, Kernel, Profile
from icd.measure.regimes import GRAPHS, NOISE, difference, graphs, launches, sequence

FLUSH = {HIT: 0.0, MISS: 1e6, ALL: 1e6, ALL_HIT: 0.0, READ: 32e6, WRITE: 0.0}
FORWARD = {
    HIT: 6e3,
    MISS: 4e3,
    ALL: 2e4,
    ALL_HIT: 9e3,
    READ: 32e4,
    WRITE: 5e4,
}  # nothing of it is in the cache


def profile(*parts):
    return Profile((Kernel("graph", {metric: sum(part[metric] for part in parts) for metric in UNITS}),))


def test_warm_follows_its_like_and_cold_a_flush_and_each_lacks_its_end_in_what_is_subtracted():
    assert GRAPHS == {"warm": ("XFF", "XF"), "cold": ("XF", "X")}
    assert graphs(["warm", "cold"]) == ["XFF", "XF", "X"] and graphs(["cold"]) == ["XF", "X"]
    seen = []
    for graph in graphs(GRAPHS):
        sequence(graph, lambda: seen.append("forward"), lambda: seen.append("flush"))()
        seen.append("|")
    assert " ".join(seen) == "flush forward forward | flush forward | flush |"


def test_the_first_result_is_gone_before_the_second_forward_begins():
    alive = []

    class Output:
        def __init__(self):
            alive.append(len(alive))
            self.count = len(alive)

        def __del__(self):
            alive.pop()

    counts = []

    def forward():
        made = Output()
        counts.append(made.count)
        return made

    sequence("FFF", forward, lambda: None)()
    assert counts == [1, 1, 1] and alive == []


def test_medians_of_the_smaller_graph_are_taken_off_every_profile_of_the_larger():
    busy = {metric: 3 * value for metric, value in FLUSH.items()}
    idle = {metric: value * 0.999 for metric, value in FLUSH.items()}
    more = {**FORWARD, READ: 16e4}
    found = launches(
        [profile(FLUSH, FORWARD), profile(FLUSH, more)],
        [profile(busy), profile(FLUSH), profile(idle)],
        tokens=10,
    )
    assert [launch["subtracted"] for launch in found] == [FLUSH, FLUSH]
    assert found[0]["sums"] == FORWARD and found[1]["sums"] == more
    assert [launch["l2_served_pct"] for launch in found] == pytest.approx([0.0, 50.0])
    assert found[0]["l2_lookup_hit_pct"] == pytest.approx(60.0)
    assert found[0]["dram_bytes_per_token"] == pytest.approx(37_000)
    assert found[0]["profiled"] == {m: FLUSH[m] + FORWARD[m] for m in UNITS} and found[0]["results"] == 1


@pytest.mark.parametrize("metric", UNITS)
def test_below_zero_is_noise_within_a_fiftieth_of_what_was_profiled_and_beyond_it_a_failure(metric):
    larger = dict.fromkeys(UNITS, 1000.0)
    near, far = (1000.0 * (1 + NOISE * times) for times in (0.99, 1.01))
    left = (
        -NOISE * 990.0 if metric in (READ, WRITE) else 0.0
    )  # of bytes, so that a mean of several is not biased
    assert difference(larger, {**larger, metric: near}) == pytest.approx(
        {**dict.fromkeys(UNITS, 0.0), metric: left}
    )
    found = difference(larger, {**larger, metric: far})
    assert isinstance(found, Failure) and not found.final
    assert found.reason.startswith(f"{metric}: 1000 in a graph that holds another one of 1020")
    fails = launches([profile(larger)], [profile({**larger, metric: far})], 1)
    assert isinstance(fails, Failure) and fails.reason == found.reason


def test_dram_reads_above_those_through_the_l2_are_noise_of_the_flush_up_to_a_hundredth_of_it():
    """A cold forward reads everything from DRAM: its served rate is 0 give or take the flush's own noise."""
    through = SECTOR_BYTES * (FORWARD[HIT] + FORWARD[MISS])
    above = {**FORWARD, READ: through + 0.009 * FLUSH[READ]}
    (launch,) = launches([profile(FLUSH, above)], [profile(FLUSH)], 1)
    assert launch["l2_served_pct"] == 0.0 and launch["sums"][READ] == pytest.approx(above[READ])
    beyond = {**FORWARD, READ: through + 0.02 * FLUSH[READ]}
    found = launches([profile(FLUSH, beyond)], [profile(FLUSH)], 1)
    assert isinstance(found, Failure) and "a served rate of -" in found.reason


def test_two_graphs_that_counted_the_same_have_no_figures():
    found = launches([profile(FLUSH)], [profile(FLUSH)], 1)
    assert isinstance(found, Failure) and "did not count" in found.reason


def test_a_forward_whose_reads_the_cache_serves_whole_may_read_less_than_nothing():
    warm = {**FORWARD, READ: -0.004 * FLUSH[READ], WRITE: -100.0}
    (launch,) = launches([profile(FLUSH, FORWARD, warm)], [profile(FLUSH, FORWARD)], 10)
    assert launch["l2_served_pct"] == 100.0
    assert launch["dram_bytes_per_token"] == pytest.approx((warm[READ] + warm[WRITE]) / 10)
