"""What a run directory becomes in a tracking store."""

from __future__ import annotations

import pytest

from icd.errors import MissingResource
from icd.tracking.projection import MOST_PARAMS, params, project
from tests.report.build import metrics, ratio, write_run


def test_headline_and_every_comparison_have_their_figures(tmp_path):
    found = project(write_run(tmp_path / "run", metrics())).metrics
    assert found["latency.delta_pct"] == found["iterative_vs_linear.latency.delta_pct"] == -20.0
    assert (found["latency.ci_lo"], found["latency.ci_hi"]) == (-22.0, -18.0)
    assert found["aa.latency.delta_pct"] == 0.1
    assert found["latency.mean_delta_pct"] == -20.0
    assert (found["C_delta_pct"], found["Q_delta"]) == (-18.6, 0.0125)
    assert found["arm.iterative.latency_ms.mean"] == 8.0
    assert (found["gate.mock"], found["gate.strict"]) == (1.0, 0.0)


def test_null_figures_are_left_out_and_never_zero(tmp_path):
    found = project(write_run(tmp_path / "run", metrics())).metrics
    assert not [key for key in found if ".ept" in key and key.endswith("delta_pct")]
    assert not [key for key in found if "l2" in key and not key.endswith("n_units")]
    assert "gate.smoke" not in found
    assert "arm.shuffle.cost.C" not in found


def test_cold_figures_and_the_roofline_are_there_where_the_record_has_them(tmp_path):
    record = metrics()
    record["arms"]["iterative"] |= {
        "latency_cold_ms": {"mean": 9.5, "ci95": [9.0, 10.0], "n": 40, "source": "measured"},
        "l2_cold": {"served_pct": 31.0, "lookup_hit_pct": None, "source": "measured"},
        "roofline": {"bound_ms": 2.0, "of_bound_pct": 25.0, "limit": "memory", "parts": [{"flops": 7.0}]},
    }
    record["compare"]["iterative_vs_linear"] |= {
        "latency_cold": ratio(-11.0, [-12.0, -10.0], "WIN"),
        "l2_cold_pp": {"delta": 3.0, "ci95": [2.0, 4.0]},
    }
    found = project(write_run(tmp_path / "run", record)).metrics
    assert found["arm.iterative.latency_cold_ms.mean"] == 9.5
    assert found["arm.iterative.l2_cold.served_pct"] == 31.0
    assert found["arm.iterative.roofline.of_bound_pct"] == 25.0
    assert (found["latency_cold.delta_pct"], found["latency_cold.ci_hi"]) == (-11.0, -10.0)
    assert (found["iterative_vs_linear.l2_cold_pp.delta"], found["l2_cold_pp.ci_lo"]) == (3.0, 2.0)
    assert "arm.linear.latency_cold_ms.mean" not in found and "arm.iterative.roofline.limit" not in found


def test_params_start_with_the_configuration_and_are_at_most_a_hundred():
    lock = {"solver": {f"option_{i}": i for i in range(300)}, "x" * 300: 1, "seed": None}
    found = params(metrics(), lock)
    assert list(found)[:4] == ["model", "pipeline", "transform", "sparsity"]
    assert len(found) == MOST_PARAMS
    assert max(map(len, found)) <= 250
    assert found["solver.option_0"] == "0"


def test_tags_name_run_verdict_and_commit(tmp_path):
    record = metrics()
    record["tags"] = ["a", "b"]
    found = project(write_run(tmp_path / "run", record)).tags
    assert found["icd.run_id"] == "0123456789abcdef"
    assert (found["icd.verdict"], found["icd.tags"], found["icd.git_commit"]) == ("WIN", "a,b", "c0ffee")


def test_a_loss_is_projected_like_a_win(tmp_path):
    record = metrics()
    record["compare"]["iterative_vs_linear"]["latency"] = ratio(9.0, [8.0, 10.0], "LOSS")
    found = project(write_run(tmp_path / "run", record))
    assert found.metrics["latency.delta_pct"] == 9.0
    assert found.tags["icd.verdict"] == "LOSS"


def test_a_run_without_iterative_has_no_headline(tmp_path):
    found = project(write_run(tmp_path / "run", metrics(("dense", "linear", "aa"), "linear")))
    assert "latency.delta_pct" not in found.metrics
    assert "linear_vs_dense.latency.delta_pct" in found.metrics


@pytest.mark.parametrize("marker", ["multirun.yaml", "ledger.jsonl"])
def test_a_cell_knows_its_sweep(tmp_path, marker):
    cell = write_run(tmp_path / "2026-01-02" / "03-sweep" / "0", metrics())
    assert project(cell).sweep is None
    (cell.parent / marker).touch()
    assert project(cell).sweep == "2026-01-02/03-sweep"
    other = write_run(tmp_path / "mine" / "0", metrics())
    (other.parent / marker).touch()
    assert project(other).sweep == "mine"


def test_an_unfinished_directory_is_refused(tmp_path):
    with pytest.raises(MissingResource, match="no such run"):
        project(tmp_path / "none")
    run = write_run(tmp_path / "run", metrics())
    (run / "SHA256SUMS").unlink()
    with pytest.raises(MissingResource, match="not a finished run"):
        project(run)


def test_a_name_that_is_no_text_reaches_no_database(tmp_path):
    record = metrics()
    record["model"]["name"] = "caf\udce9"
    cell = project(write_run(tmp_path / "run", record))
    for text in (cell.params["model"], cell.tags["icd.model"]):
        assert text == "caf\\udce9" and text.encode()
