"""report.csv is flat, typed and complete."""

from __future__ import annotations

import csv

from icd.report.csv import COLUMNS, NAMED, write_csv
from tests.report.build import earlier, metrics, ratio, write_run


def rows_of(folder, record):
    write_csv(write_run(folder, record))
    with (folder / "report.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_one_row_an_arm_and_one_a_comparison(tmp_path):
    record = metrics()
    rows = rows_of(tmp_path / "run", record)
    assert [r["name"] for r in rows if r["kind"] == "arm"] == list(record["arms"])
    assert [r["name"] for r in rows if r["kind"] == "comparison"] == list(record["compare"])
    assert tuple(rows[0]) == COLUMNS


def test_values_are_exact_and_missing_ones_empty_with_a_reason(tmp_path):
    rows = {r["name"]: r for r in rows_of(tmp_path / "run", metrics())}
    dense, headline = rows["dense"], rows["iterative_vs_linear"]
    assert float(dense["latency_mean_ms"]) == 12.0
    assert (dense["latency_ci95_lo_ms"], dense["latency_ci95_hi_ms"]) == ("11.5", "12.5")
    assert dense["l2_served_pct"] == dense["ept_j_per_token"] == ""
    assert "l2: no L2 counter" in dense["reason"]
    assert dense["engine_check_ok"] == "true"
    assert dense["dtype"] == "float32"
    assert (headline["latency_delta_pct"], headline["latency_verdict"]) == ("-20.0", "WIN")
    assert (headline["latency_ci_lo_pct"], headline["latency_ci_hi_pct"]) == ("-22.0", "-18.0")
    assert (headline["C_delta_pct"], headline["quality_vs_dense_pp"]) == ("-18.6", "-5.0")
    assert rows["shuffle"]["cost_C"] == ""


def test_every_row_names_its_run(tmp_path):
    rows = rows_of(tmp_path / "run", metrics())
    assert {r["run_id"] for r in rows} == {"0123456789abcdef"}
    assert {(r["model"], r["sparsity"], r["device"]) for r in rows} == {("tiny", "0.5", "cpu")}


def test_nothing_temporary_is_left(tmp_path):
    rows_of(tmp_path / "run", metrics())
    assert not list((tmp_path / "run").glob(".*"))


def test_the_mean_stands_beside_the_median_and_the_summary_is_named(tmp_path):
    record = metrics()
    beside = {"mean_delta_pct": 8.0, "mean_ci95": [6.0, 10.0]}
    record["compare"]["iterative_vs_linear"]["latency"] = ratio(-20.0, [-22.0, -18.0], "WIN", **beside)
    row = next(r for r in rows_of(tmp_path / "run", record) if r["name"] == "iterative_vs_linear")
    found = [
        row[f"latency_{key}"] for key in ("summary", "mean_delta_pct", "mean_ci_lo_pct", "mean_ci_hi_pct")
    ]
    assert found == ["median", "8.0", "6.0", "10.0"]


def test_a_record_that_names_no_summary_has_the_columns_it_had(tmp_path):
    rows = rows_of(tmp_path / "run", earlier(metrics()))
    assert list(rows[0]) == [column for column in COLUMNS if column not in NAMED] != list(COLUMNS)
