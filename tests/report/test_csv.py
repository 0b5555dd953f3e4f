"""report.csv is flat, typed and complete."""

from __future__ import annotations

import csv

import pytest

from icd.report.csv import COLUMNS, NAMED, harmless, write_csv
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


FORMULAS = [
    "=1+2",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1+2",
    "=",
    "-",
    "+inf+1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_a_spreadsheet_would_compute_stays_text(text, tmp_path):
    record = metrics()
    record["model"]["name"] = text
    record["arms"]["dense"]["engine"] = text
    record["compare"][text] = record["compare"].pop("aa")
    record["arms"]["dense"]["energy"]["reason"] = text
    for row in rows_of(tmp_path / "run", record):
        for cell in row.values():
            assert cell[:1] not in "=+@\t\r\n＝" or not cell
            assert not cell.startswith("-") or float(cell) < 0
    rows = rows_of(tmp_path / "again", record)
    text = text.replace("\r", " ")
    assert rows[0]["model"] == f"'{text}" and rows[0]["engine"] == f"'{text}"
    assert f"'{text}" in {row["name"] for row in rows}


@pytest.mark.parametrize("number", ["-20.5", "+1e-300", "-inf", "-0.0", "0", "", "12.0", "a-b", "1=1"])
def test_numbers_and_harmless_texts_are_as_recorded(number):
    assert harmless(number) == number


def test_a_name_that_is_no_text_is_escaped(tmp_path):
    record = metrics()
    record["model"]["name"] = "caf\udce9"
    assert {row["model"] for row in rows_of(tmp_path / "run", record)} == {"caf\\udce9"}
