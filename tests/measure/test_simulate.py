"""The cache simulator replays recorded reads, so a layout changes what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from icd.choices import conf_dir
from icd.contracts import Reads, inverse
from icd.graph.nets import build_nets
from icd.graph.trace import Trace
from icd.measure.hardware import Hardware
from icd.measure.l2 import READ, Profile, parse, rates
from icd.measure.simulate import Layer, executed_reads, replay_trace, simulate
from icd.runtime.compact import Compact
from icd.solver import fit
from icd.transform.channel import Channel
from icd.transform.permute import permute
from icd.transform.quantize import Precision
from tests.tiny import mock, trace

SMALL = Hardware(
    "small", 4096, 8, 128, 32, 100, 800, {"fp32": 1.0, "bf16": 2.0}, 2, 10, 40, 60
)  # 32 lines; the table of 256 rows x 32 bytes has 64


def figures(workload, precision="fp32"):
    return simulate(executed_reads(workload.module, workload.inputs), workload.tokens, precision, SMALL)


def solved(workload, previous=None):
    graph = Trace(10**6, "none").build(workload, None)["rows"].W
    nets = build_nets(workload, tile_rows=64, tile_cols=64, element_bytes=4)["rows"]
    return fit(graph, nets, block=8, line=4, previous=previous).pi


def test_lines_are_those_of_the_reads_in_order_and_a_long_row_reads_all_of_its_own():
    reads = Reads(np.array([0, 96, 24]), 8, 128)
    assert replay_trace(reads, 4, 128, 100)[0].tolist() == [100, 103, 100]
    assert replay_trace(reads, 4, 128, 100)[1] == 104
    wide = Reads(np.array([16, 0]), 40, 80)  # 64..223 and 0..159 bytes
    assert replay_trace(wide, 4, 128, 0)[0].tolist() == [0, 1, 0, 1]


def test_a_layout_of_a_planted_trace_raises_the_simulated_l2_share_and_lowers_dram_bytes():
    workload = trace().build()
    pi = solved(workload)
    dense, linear = figures(workload), figures(permute(workload, {"rows": pi}))
    scattered = figures(permute(workload, {"rows": np.random.default_rng(7).permutation(256)}))
    assert linear.served_pct > dense.served_pct + 5
    assert linear.dram_bytes < 0.6 * dense.dram_bytes
    assert scattered.dram_bytes == pytest.approx(dense.dram_bytes, rel=0.1)
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
