"""The cache simulator replays recorded reads, so a layout changes what it says."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml

from icd.choices import conf_dir
from icd.contracts import Reads, inverse
from icd.errors import ConfigError
from icd.graph.nets import build_nets
from icd.graph.trace import Trace
from icd.measure.accesses import Geometry, recorded, written
from icd.measure.hardware import Hardware
from icd.measure.l2 import READ, Profile, parse, rates
from icd.measure.simulate import Layer, Replay, executed_reads, simulate
from icd.runtime.compact import Compact
from icd.solver import fit
from icd.transform.channel import Channel
from icd.transform.permute import permute
from icd.transform.quantize import Precision
from tests.tiny import mock, trace

SMALL = Hardware(
    "small", 4096, 8, 128, 32, 100, 800, {"fp32": 1.0, "bf16": 2.0}, 2, 10, 40, 60
)  # 32 lines; the table of 256 rows x 32 bytes has 64


LINE = Geometry(128, 32)


def figures(workload, precision="fp32"):
    return simulate(executed_reads(workload.module, workload.inputs), workload.tokens, precision, SMALL)


def solved(workload, previous=None):
    graph = Trace(10**6, "none").build(workload, None)["rows"].W
    nets = build_nets(workload, tile_rows=64, tile_cols=64, element_bytes=4)["rows"]
    return fit(graph, nets, block=8, line=4, previous=previous).pi


def test_lines_are_those_of_the_reads_in_order_and_a_long_row_reads_all_of_its_own():
    reads = Reads(np.array([0, 96, 24]), 8, 128)
    assert recorded(reads, 4, LINE, 100).lines.tolist() == [100, 103, 100]
    assert Replay(reads).accesses(1, 4, LINE, 100, 0)[1] == 104
    wide = Reads(np.array([16, 0]), 40, 80)  # 64..223 and 0..159 bytes
    assert recorded(wide, 4, LINE, 0).lines.tolist() == [0, 1, 0, 1]


def test_of_each_line_the_sectors_that_a_read_touches_are_read():
    reads = Reads(np.array([0, 7, 24, 31]), 2, 33)  # bytes 0..7, 28..35, 96..103, 124..131
    found = recorded(reads, 4, LINE, 0)
    assert found.lines.tolist() == [0, 0, 0, 0, 1]
    assert found.masks.tolist() == [0b0001, 0b0011, 0b1000, 0b1000, 0b0001]


def test_the_sectors_of_reads_are_those_of_their_bytes_one_by_one():
    rng = np.random.default_rng(0)
    for width, length in itertools.product((1, 2, 4), (1, 5, 16, 90)):
        reads = Reads(rng.integers(0, 500, 40), length, 600)
        found = recorded(reads, width, LINE, 7)
        got = [(line, k) for line, mask in zip(*found, strict=True) for k in range(4) if mask >> k & 1]
        expected = [
            (7 + sector // 4, sector % 4)
            for first in reads.first
            for sector in range(first * width // 32, ((first + length) * width - 1) // 32 + 1)
        ]
        assert got == expected


def test_a_row_that_does_not_fill_its_last_line_writes_and_reads_a_part_of_it():
    assert [part.tolist() for part in written(2, 168, LINE, 5)] == [[5, 6, 7, 8], [15, 3, 15, 3]]
    half = dataclasses.replace(SMALL, sector_bytes=64)
    whole = dataclasses.replace(SMALL, sector_bytes=128)
    layers = [Layer(64, 42)]  # rows of 168 bytes: 6 sectors of 32, 3 of 64, 2 lines
    bytes_ = [simulate(layers, 16, "fp32", h).l2_bytes for h in (SMALL, half, whole)]
    assert bytes_ == [80 * 192, 80 * 192, 80 * 256]


def test_the_size_of_a_sector_says_nothing_about_whole_lines():
    layers = [Layer(256, 64), Layer(64, 256)]
    found = [
        simulate(layers, 40, "fp32", dataclasses.replace(SMALL, sector_bytes=n)) for n in (16, 32, 64, 128)
    ]
    assert found[0].dram_bytes > 0 and all(one == found[0] for one in found)


def test_a_miss_fetches_the_sectors_touched_and_a_line_that_is_displaced_loses_all_of_them():
    from icd.measure.cache import replay

    shape = (1, 2)  # one set of two ways
    state = (
        np.full(shape, -1, np.int64),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.zeros(1, np.int64),
    )

    def access(line, mask):
        return replay(np.array([line]), np.array([mask]), *state)

    assert access(1, 0b0001) == (0, 1)
    assert access(1, 0b0011) == (1, 1)  # the tag is there, one sector is not
    assert access(2, 0b1111) == (0, 4)
    assert access(1, 0b0011) == (2, 0)
    assert access(3, 0b0001) == (0, 1)  # displaces 2, the least recently used
    assert access(1, 0b0010) == (1, 0)
    assert access(2, 0b1000) == (0, 1)


def test_smaller_sectors_fetch_less_of_rows_that_fill_a_part_of_a_line():
    workload = trace().build()
    by_size = [
        simulate(
            executed_reads(workload.module, workload.inputs),
            workload.tokens,
            "fp32",
            dataclasses.replace(SMALL, sector_bytes=n),
        ).dram_bytes
        for n in (32, 64, 128)
    ]
    assert by_size[0] < by_size[1] < by_size[2]


@pytest.mark.parametrize("sector", [0, 48, 1])
def test_sectors_that_do_not_make_up_a_line_are_refused(sector):
    with pytest.raises(ConfigError, match="sector_bytes"):
        dataclasses.replace(SMALL, sector_bytes=sector)


def test_a_layout_of_a_planted_trace_raises_the_simulated_l2_share_and_lowers_dram_bytes():
    workload = trace().build()
    pi = solved(workload)
    dense, linear = figures(workload), figures(permute(workload, {"rows": pi}))
    scattered = figures(permute(workload, {"rows": np.random.default_rng(7).permutation(256)}))
    assert linear.served_pct > dense.served_pct + 4
    assert linear.dram_bytes < 0.8 * dense.dram_bytes  # rows of a sector: gain is room for more live rows
    assert scattered.dram_bytes == pytest.approx(dense.dram_bytes, rel=0.05)
    assert linear.l2_bytes == dense.l2_bytes  # the same rows are read


def test_laying_out_again_after_removal_lowers_dram_bytes_further():
    workload = trace().build()
    pi = solved(workload)
    pruned = Channel(0.5, "magnitude", ["rows"], seed=0).apply(permute(workload, {"rows": pi}), None)
    engine, precision = Compact(64, 64), Precision("fp32", "simulate")
    out = {}
    for name, layout in {"linear": pi, "iterative": solved(pruned, pi)}.items():
        arm = permute(pruned, {"rows": layout})
        step = engine.prepare(arm, precision, "cpu")
        kept = step.executed["sites"]["rows"][0]
        out[name] = (kept, simulate(executed_reads(step.module, arm.inputs), arm.tokens, "fp32", SMALL))
        again = arm.forward(arm.module, arm.inputs)
        assert (step() == again).all()
    assert out["iterative"][0] < out["linear"][0]
    assert out["iterative"][1].dram_bytes < out["linear"][1].dram_bytes


def test_half_the_bytes_a_row_move_less():
    workload = trace().build()
    assert figures(workload, "bf16").dram_bytes < figures(workload).dram_bytes


def test_linear_layers_do_not_care_about_a_layout():
    workload = mock().build()
    turned = permute(workload, {s.name: inverse(np.roll(np.arange(s.size), 7)) for s in workload.sites})
    assert figures(turned) == figures(workload)


@pytest.mark.parametrize(("heads", "neurons", "first"), [(12, 3072, 0), (6, 1536, 3)], ids=["dense", "half"])
def test_the_simulated_share_of_bert_is_within_ten_points_of_ncus_on_an_h200(heads, neurons, first):
    fields = yaml.safe_load((conf_dir() / "hardware" / "h200.yaml").read_text())
    fields.pop("_target_")
    wide = 64 * heads
    layer = [Layer(3 * wide, 768), Layer(768, wide), Layer(neurons, 768), Layer(768, neurons)]
    found = simulate(12 * layer, 128, "bf16", Hardware(**fields))
    kernel = parse((Path(__file__).parent / "ncu" / "graph.csv").read_text()).kernels[first]
    measured = rates(Profile((kernel,)), 128)
    assert abs(found.served_pct - measured.l2_served_pct) < 10
    assert found.dram_bytes == pytest.approx(kernel.values[READ], rel=0.02)
