"""The distance from the roofline as a reader sees it: in the page, in the CSV, with reasons and origins."""

from __future__ import annotations

import csv

from icd.report.csv import write_csv
from icd.report.html import write_html
from icd.report.rooflines import caveats, device, rooflines
from icd.stats.roofline import roofline
from tests.report.build import metrics, write_run

PARTS = [{"kind": "linear", "rate": "bf16", "calls": 2, "flops": 4e12, "bytes": 3e9, "weight_bytes": 2e8}]
H200 = {
    "asked": "auto",
    "source": "read",
    "is_device": True,
    "name": "NVIDIA H200",
    "kind": "gpu",
    "dram_gb_s": 4917.0,
    "tflops": {"bf16": 1070.0},
    "how": {"dram_gb_s": "by the clock", "tflops": "by the SM"},
    "notes": [],
}


def record(**hardware):
    out = metrics()
    out["hardware"] = {**H200, **hardware}
    for arm in out["arms"].values():
        arm["roofline"] = roofline(PARTS, out["hardware"], arm["latency_ms"])
    return out


def test_a_row_an_arm_says_how_far_it_is_and_what_limits_it():
    table = rooflines(record())
    row = [cell.text for cell in table.rows[1]]
    assert row == ["linear", "10.00", "3.74", "37.4", "compute", "4,000", "3,000", "1,333", "400", "300"]
    assert table.notes == [] and len(table.rows) == 6


def test_without_a_bound_the_reason_is_a_footnote_and_counts_stay():
    table = rooflines(record(tflops=None, tflops_reason="an unknown chip"))
    assert [cell.text for cell in table.rows[0]][2:6] == ["–", "–", "–", "4,000"]
    assert len(table.notes) == 1 and "an unknown chip" in table.notes[0]


def test_the_page_and_the_csv_hold_it(tmp_path):
    folder = write_run(tmp_path / "run", record())
    write_html(folder)
    write_csv(folder)
    page = (folder / "report.html").read_text()
    assert "Distance from the roofline" in page and "read from the device: memory 4,917" in page
    with (folder / "report.csv").open(newline="") as lines:
        dense = next(row for row in csv.DictReader(lines) if row["name"] == "dense")
    assert float(dense["of_bound_pct"]) == 100 * float(dense["roofline_bound_ms"]) / 12.0
    assert dense["roofline_limit"] == "compute" and float(dense["roofline_flops"]) == 4e12


def test_a_page_without_counted_work_has_no_such_section(tmp_path):
    folder = write_run(tmp_path / "run", metrics())
    write_html(folder)
    assert "Distance from the roofline" not in (folder / "report.html").read_text()


def test_where_the_figures_are_from_is_said():
    assert "by the clock" in device(record())
    assert "measured on this machine" in device(record(kind="cpu"))
    assert device({}) == ""


def test_a_file_that_contradicts_the_device_is_a_caveat():
    note = "hardware=h100 is named, and the device calls itself NVIDIA H200"
    said = record(source="file", found={"name": "NVIDIA H200"}, notes=[note], is_device=False)
    assert caveats(said) == [f"H{note[1:]}."]
    assert note in rooflines(said).notes
    assert caveats(record()) == []
    assert caveats({"hardware": {"source": "file", "notes": ["simulated"]}}) == []
