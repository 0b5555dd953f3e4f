"""Cache tables: warm and cold apart, a dash with its reason, kernels where they were read."""

from icd.report import cache
from icd.report.numbers import DASH

L2 = {"served_pct": 51.87, "lookup_hit_pct": 45.8, "dram_bytes_per_token": 1_491_868.0, "source": "measured"}
NONE = {
    "served_pct": None,
    "lookup_hit_pct": None,
    "dram_bytes_per_token": None,
    "source": None,
    "reason": "no ncu",
}
COLD = {"mean": 0.5, "ci95": [0.49, 0.51], "source": "measured"}


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_an_arm_shows_warm_and_cold_figures_beside_each_other():
    table = cache.arms({"arms": {"dense": {"l2": L2, "l2_cold": NONE, "latency_cold_ms": COLD}}})
    (row,) = texts(table)
    assert row[:4] == ["dense", "51.9", "45.8", "1,492"] and row[4:7] == [DASH] * 3 and row[7] == "0.5000"
    assert row[8] == "0.4900 to 0.5100"
    assert table.notes == ["no ncu"]


def test_without_any_figure_there_is_no_row():
    assert cache.arms({"arms": {"dense": {"l2": NONE, "l2_cold": NONE}}}).rows == []
    assert cache.comparisons({"compare": {"aa": {"l2_pp": {"delta": None}}}}).rows == []


def test_comparisons_keep_points_and_percent_apart():
    found = {
        "l2_pp": {"delta": 11.6, "ci95": [11.0, 12.2], "source": "measured"},
        "l2_cold_pp": {"delta": None, "ci95": None, "source": None, "reason": "no cold run"},
        "dram": {"delta_pct": -44.0, "source": "measured"},
        "latency_cold": {"delta_pct": -9.0, "ci95": [-9.5, -8.5], "source": "measured"},
    }
    table = cache.comparisons({"compare": {"iterative_vs_linear": found}})
    (row,) = texts(table)
    assert (
        row[1].startswith("+11.6")
        and row[3] == DASH
        and row[5].endswith("44.0")
        and "no cold run" in table.notes
    )


def test_what_warm_and_cold_mean_is_said_as_the_run_took_them():
    assert cache.regimes({"runs": [{"regime": "warm", "graphs": ["XFF", "XF"]}]}) == cache.DIFFERENCES
    assert cache.regimes({"runs": []}) == cache.regimes({}) == cache.SIMULATED


def test_kernels_are_those_that_move_most():
    top = [{"name": f"gemm_{k}", "launches": 12, "dram_bytes": 1e6 / (k + 1), "share": 0.1} for k in range(9)]
    table = cache.kernels({"kernels": [{"arm": "dense", "top_kernels": top}]})
    assert len(table.rows) == cache.TOP and texts(table)[0] == ["dense", "gemm_0", "12", "1,000", "10.0"]
    assert cache.kernels({}).rows == []


def test_a_simulated_cache_says_that_its_dram_bytes_are_reads():
    assert "reads alone" in cache.regimes({}) and "reads alone" not in cache.regimes(
        {"runs": [{"graphs": []}]}
    )
