"""Counted arithmetic and bytes are those that one computes by hand from the shapes that run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from icd.contracts import Work
from icd.measure.work import count
from icd.runtime.compact import Compact
from icd.runtime.masked import Masked
from icd.transform.channel import Channel
from icd.transform.permute import permute
from icd.transform.quantize import Precision
from tests.tiny import mock, tiny_bert, tiny_mamba, trace


def counted(workload, format="fp32", engine=Masked):
    step = engine(64, 64).prepare(workload, Precision(format, "simulate"), "cpu")
    return {part["kind"]: part for part in count(step, workload.inputs)}, step


def test_a_mock_is_its_two_layers():
    found, _ = counted(mock().build())  # 2 layers, 64 wide, 256 neurons, 32 tokens
    assert found == {
        "linear": {
            "kind": "linear",
            "rate": "fp32",
            "calls": 4,
            "flops": 2 * 2 * (2 * 32 * 64 * 256),
            "weight_bytes": 2 * 4 * (2 * 64 * 256 + 64 + 256),
            "bytes": 2 * 4 * (2 * 64 * 256 + 64 + 256 + 2 * 32 * (64 + 256)),
        }
    }


def test_a_bert_has_fused_projections_attention_and_looked_up_rows():
    workload = tiny_bert()  # 2 layers, 64 wide, 4 heads of 16, 256 neurons, 2 x 16 tokens
    found, step = counted(workload)
    weights = 2 * (64 * 192 + 64 * 64 + 2 * 64 * 256)
    biases = 2 * (192 + 64 + 256 + 64)
    moved = 2 * 32 * (64 + 192 + 64 + 64 + 64 + 256 + 256 + 64)
    assert found["linear"]["flops"] == 2 * 32 * weights
    assert found["linear"]["bytes"] == 4 * (weights + biases + moved)
    assert found["attention"]["flops"] == 2 * (2 * 2 * 4 * 16 * 16 * (16 + 16))
    assert found["attention"]["bytes"] == 2 * 4 * (4 * 32 * 64)  # Q, K, V and the result
    words = len(set(workload.inputs["input_ids"].flatten().tolist()))
    assert found["embedding"]["weight_bytes"] == 4 * 64 * (words + 16 + 1)  # words, positions, one type
    with FlopCounterMode(display=False) as library:
        step.on(workload.inputs)
    assert found["linear"]["flops"] in (
        library.get_total_flops(),
        library.get_total_flops() - found["attention"]["flops"],
    )


def test_a_mamba_has_a_convolution_and_a_scan():
    found, _ = counted(tiny_mamba())  # 2 layers, 128 wide, 256 channels, 16 states, rank 8, 2 x 12 tokens
    tokens, layers, d, n, rank = 24, 2, 256, 16, 8
    assert found["linear"]["flops"] == layers * 2 * tokens * d * (2 * 128 + (rank + 2 * n) + rank + 128)
    assert found["conv"]["flops"] == layers * 2 * 4 * tokens * d
    assert found["conv"]["bytes"] == layers * 4 * (2 * tokens * d + 5 * d)
    assert found["scan"]["flops"] == layers * (7 * n + 6) * tokens * d
    assert found["scan"]["bytes"] == layers * 4 * (tokens * (4 * d + 2 * n) + (n + 2) * d)
    assert set(found) == {"embedding", "linear", "conv", "scan"}


@pytest.mark.parametrize("make", [tiny_bert, tiny_mamba], ids=["bert", "mamba"])
def test_two_byte_elements_move_half_the_bytes(make):
    whole, _ = counted(make())
    half, _ = counted(make(), "bf16")
    for kind, part in whole.items():
        assert half[kind]["bytes"] == part["bytes"] / 2 and half[kind]["flops"] == part["flops"]
        assert half[kind]["rate"] == ("fp32" if kind in ("conv", "scan") else "bf16")


def test_a_packed_weight_counts_a_byte_an_element_at_the_int8_rate():
    found, step = counted(mock().build(), "int8")
    assert step.executed["source"] == "measured"
    assert found["linear"]["rate"] == "int8"
    assert found["linear"]["weight_bytes"] == 4 * 64 * 256


def sorted_half(workload, group):
    pruned = Channel(0.5, "magnitude", [group], seed=0).apply(workload, None)
    layouts = {name: np.argsort(~live, kind="stable").astype(np.int32) for name, live in pruned.live.items()}
    return permute(pruned, layouts)


def test_compact_counts_what_is_left_of_each_layer():
    workload = sorted_half(mock().build(), "neurons")
    all_of_it, _ = counted(workload)
    left, step = counted(workload, engine=Compact)
    assert {tuple(kept) for kept in step.executed["sites"].values()} == {(128, 256)}
    assert left["linear"]["flops"] == all_of_it["linear"]["flops"] / 2
    assert left["linear"]["weight_bytes"] == 2 * 4 * (2 * 64 * 128 + 64 + 128)


def test_compact_cuts_mambas_scan_with_its_projections():
    workload = sorted_half(tiny_mamba(), "d_inner")
    all_of_it, _ = counted(workload)
    left, step = counted(workload, engine=Compact)
    assert {tuple(kept) for kept in step.executed["sites"].values()} == {(128, 256)}
    for kind in ("linear", "conv", "scan"):
        assert left[kind]["flops"] == all_of_it[kind]["flops"] / 2


def test_a_trace_reads_what_was_recorded():
    workload = trace().build()
    found, _ = counted(workload)
    reads = workload.module.table.recorded_reads(workload.inputs)
    assert found["reads"]["weight_bytes"] == 4 * len(reads.first) * reads.length
    assert set(found) == {"reads"} and found["reads"]["flops"] == 0


class Free(nn.Module):
    """Products and attention that no layer owns, one layer called twice, and one that says less."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(8, 8, bias=False)
        self.less = Less(8, 8, bias=False)

    def forward(self, x):
        x = self.twice(self.twice(x))
        scores = x @ x.transpose(-1, -2)
        x = torch.einsum("bij,bjk->bik", scores, x)
        x = nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
        return self.less(x)


class Less(nn.Linear):
    def own_work(self, x):
        return [Work("tiles", "fp32", 7.0, 5.0, 3.0)]


class Plain:
    """A step that is its module."""

    def __init__(self, module):
        self.module, self.executed = module, {"format": "fp32"}

    def __call__(self):
        raise AssertionError("timed inputs are not counted")

    def on(self, inputs):
        with torch.inference_mode():
            return self.module(inputs["x"])


def test_what_no_layer_owns_is_counted_and_no_operator_twice():
    step = Plain(Free())
    found = {part["kind"]: part for part in count(step, {"x": torch.randn(2, 4, 8)})}
    assert found["linear"]["flops"] == 2 * (2 * 8 * 8 * 8)
    assert found["linear"]["weight_bytes"] == 4 * 64  # once, however often it is called
    assert found["linear"]["bytes"] == 4 * (64 + 4 * 64)
    assert found["matmul"]["flops"] == 2 * (2 * 2 * 4 * 4 * 8)
    assert found["attention"]["flops"] == 2 * 2 * (4 + 3 + 2 + 1) * 16
    assert (found["tiles"]["flops"], found["tiles"]["bytes"]) == (7, 5)
    assert not step.module.twice._forward_hooks
