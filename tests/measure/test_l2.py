"""What ncu writes is read exactly or refused with a reason: complete, partial, failed, not permitted."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from icd.measure.l2 import (
    ALL,
    HIT,
    MISS,
    READ,
    UNITS,
    WRITE,
    Failure,
    Kernel,
    Profile,
    command,
    forwards,
    parse,
    rates,
)

RECORDED = Path(__file__).parent / "ncu"


def read(name: str):
    return parse((RECORDED / f"{name}.csv").read_text())


def test_sectors_and_bytes_are_summed_over_kernels():
    profile = read("good")
    assert [len(profile.kernels), profile.total(ALL)] == [4, 2 * 260412 + 2 * 31007]
    figures = rates(profile, tokens=128)
    sectors = 2 * 200_000 + 2 * 16_000
    assert figures.l2_served_pct == pytest.approx(100 * (1 - 6_400_000 / (32 * sectors)))
    assert figures.l2_lookup_hit_pct == pytest.approx(100 * (2 * 150_000 + 2 * 12_000) / sectors)
    assert figures.dram_bytes_per_token == pytest.approx((6_400_000 + 2 * 64_000 + 2 * 1_024) / 128)


def test_percentages_are_not_averaged():
    profile = read("good")
    averaged = [100 * (1 - k.values[READ] / (32 * (k.values[HIT] + k.values[MISS]))) for k in profile.kernels]
    assert abs(rates(profile, 1).l2_served_pct - sum(averaged) / 4) > 1


def test_kernels_of_one_name_are_ranked_together_by_dram_bytes():
    top = read("good").top(2)
    assert top[0]["name"].startswith("nvjet") and top[0]["launches"] == 2
    assert top[0]["dram_bytes"] == 2 * 3_264_000 and top[0]["share"] > 0.99
    assert len(top) == 2


@pytest.mark.parametrize(
    ("name", "sentence", "final"),
    [
        ("partial_value", "no value of dram__bytes_read.sum (n/a)", False),
        ("partial_metric", "lookup_miss.sum not collected", False),
        ("failed", 'ncu: Failed to profile "triton_per', False),
        ("nothing", "profiled no kernel", False),
        ("no_permission", "NVreg_RestrictProfilingToAdminUsers=0", True),
        ("no_library", "LibraryNotLoaded", True),
    ],
)
def test_what_is_not_complete_is_a_failure_with_its_reason(name, sentence, final):
    found = read(name)
    assert isinstance(found, Failure) and sentence in found.reason and found.final is final
    assert "411" not in found.reason


def test_a_unit_that_is_not_the_base_unit_is_refused():
    text = (RECORDED / "good.csv").read_text().replace('"byte"', '"Mbyte"')
    found = parse(text)
    assert isinstance(found, Failure) and "expected the unit byte, got Mbyte" in found.reason


@pytest.mark.parametrize("written", ["3200000", "3,200,000", "3,200,000.00"])
def test_numbers_are_read_with_and_without_commas(written):
    found = parse((RECORDED / "good.csv").read_text().replace('"3,200,000"', f'"{written}"'))
    assert found.kernels[0].values[READ] == 3_200_000


@pytest.mark.parametrize("written", ["3.200", "3.200.000"])
def test_points_between_thousands_are_refused_as_they_may_be_fractions(written):
    found = parse((RECORDED / "good.csv").read_text().replace('"3,200,000"', f'"{written}"'))
    assert isinstance(found, Failure) and found.final and "is LC_ALL set?" in found.reason


@pytest.mark.parametrize("written", ["3,20", "3 200", "1e9", ",", ""])
def test_what_is_no_number_is_refused(written):
    found = parse((RECORDED / "good.csv").read_text().replace('"3,200,000"', f'"{written}"'))
    assert isinstance(found, Failure) and "no value of dram__bytes_read.sum" in found.reason


def test_a_table_of_other_columns_is_refused():
    found = parse((RECORDED / "good.csv").read_text().replace('"Metric Unit"', '"Unit"'))
    assert isinstance(found, Failure) and "Metric Unit" in found.reason


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({READ: 1e9}, "a served rate of -"), ({HIT: 0.0, MISS: 0.0}, "did not count")],
)
def test_a_rate_outside_of_0_and_1_is_refused(change, sentence):
    profile = read("good")
    wrong = Profile(tuple(k._replace(values={**k.values, **change}) for k in profile.kernels))
    found = rates(replace(wrong), tokens=1)
    assert isinstance(found, Failure) and sentence in found.reason


def test_the_command_reads_warm_caches_at_the_clocks_that_there_are():
    words = command("ncu", "out.csv", "graph")
    pairs = dict(itertools.pairwise(words))
    assert words[0] == "ncu" and "--csv" in words
    assert pairs["--clock-control"] == pairs["--cache-control"] == "none"
    assert pairs["--profile-from-start"] == "off" and pairs["--print-units"] == "base"
    assert pairs["--metrics"].split(",") == list(UNITS) and {READ, WRITE, HIT, MISS} < set(UNITS)
    assert pairs["--log-file"] == "out.csv" and pairs["--graph-profiling"] == "graph"


def test_a_forward_that_is_one_graph_is_one_result():
    """BERT-base in bf16 at 1x128 on an H200, dense and with half of its neurons and heads, three each."""
    found = [rates(Profile((kernel,)), 128) for kernel in read("graph").kernels]
    assert [round(f.l2_served_pct, 1) for f in found] == [51.9, 51.8, 51.8, 63.4, 63.4, 63.4]
    assert [round(f.dram_bytes_per_token / 1e6, 2) for f in found] == [1.49, 1.49, 1.49, 0.83, 0.84, 0.84]


def test_forwards_are_what_stands_between_the_markers():
    mark, one, two = (Kernel(name, {}) for name in ("at::spin_kernel(long)", "gemm", "softmax"))
    found = forwards(Profile((mark, one, two, mark, two)), 2)
    assert [[kernel.name for kernel in profile.kernels] for profile in found] == [
        ["gemm", "softmax"],
        ["softmax"],
    ]
    assert forwards(Profile((mark, one)), 2) == Failure("expected 2 profiled forwards, got 1")
    assert forwards(Profile((mark, mark, one)), 2) == Failure("expected 2 profiled forwards, got 1")
    assert "before any forward" in forwards(Profile((one, mark)), 1).reason


@pytest.mark.parametrize("said", [READ, f"regex:^{READ}$", f"'{READ}'"])
def test_a_metric_that_is_not_found_is_final_and_named(said):
    found = parse(f"==PROF== Connected\n==ERROR== Failed to find metric {said}\n")
    assert isinstance(found, Failure) and found.final and "does not have a metric" in found.reason
    assert READ in found.reason
