"""Sparsity and precision in either order: what is rounded when, and what the record says."""

import pytest
import torch

from icd.transform.channel import Channel
from icd.transform.order import ordered
from icd.transform.quantize import Precision
from icd.transform.rounding import round_weight
from tests.tiny import tiny_bert

DOWN = "encoder.layer.0.output.dense.weight"


def test_sparsity_first_hands_over_the_weights_as_they_are():
    workload = tiny_bert()
    same, note = ordered("sparsity_first", Precision("int8", "simulate"), workload, "cpu")
    assert same is workload and note["asked"] == "sparsity_first" and "then rounded" in note["effect"]


@pytest.mark.parametrize("name", ["fp8", "int8"])
def test_precision_first_prunes_weights_that_are_rounded_already(name):
    workload = tiny_bert()
    rounded, note = ordered("precision_first", Precision(name, "simulate"), workload, "cpu")
    assert name in note["effect"] and "then rounded again" in note["effect"]
    expected = round_weight(workload.module.get_parameter(DOWN), name)
    assert torch.equal(rounded.module.get_parameter(DOWN), expected)
    assert not torch.equal(workload.module.get_parameter(DOWN), expected)
    pruned = Channel(0.5, "magnitude", ["neurons"], 0).apply(rounded, None)
    live = torch.from_numpy(pruned.live_mask(pruned.site("encoder.layer.0.neurons")))
    assert torch.equal(pruned.module.get_parameter(DOWN)[:, live], expected[:, live])


@pytest.mark.parametrize("name", ["auto", "fp32", "bf16"])
def test_from_16_bits_on_the_order_has_no_effect_and_the_record_says_so(name):
    workload = tiny_bert()
    same, note = ordered("precision_first", Precision(name, "simulate"), workload, "cpu")
    assert same is workload and note["effect"].startswith("no effect")
