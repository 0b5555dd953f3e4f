"""A precision that no layer ran in is tagged, passes no gate, and is refused where it must not be missing."""

import copy
import types

import pytest
import torch
from torch import nn

from icd.contracts import ModelCard, Workload
from icd.errors import MissingResource
from icd.measure.work import count
from icd.pipeline.ran import check_ran, ran
from icd.pipeline.tags import tags
from icd.report.caveats import BADGES, caveats
from icd.report.words import NOT_EXECUTED
from icd.runtime.masked import Masked
from icd.stats.gates import Gate
from icd.tools.recheck.recovered import precision, recovered
from icd.transform.quantize import Precision
from tests.pipeline.test_tags import BLOCKS, RECORD, seen

TAG = "precision-not-executed"


class Net(nn.Module):
    """A convolution, and linear layers of which ``called`` are called."""

    def __init__(self, linears, called):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(16, 16, 3, padding=1)
        self.linears = nn.ModuleList(nn.Linear(16, 16) for _ in range(linears))
        self.called = called

    def forward(self, x):
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        for layer in self.linears[: self.called]:
            x = layer(x)
        return x


def arm(name, linears, called, **how):
    """What an arm of such a model records: ``executed`` and the parts of its roofline."""
    inputs = {"x": torch.randn(2, 8, 16)}
    workload = Workload(
        module=Net(linears, called).eval().requires_grad_(False),
        forward=lambda module, inputs: module(**inputs),
        inputs=inputs,
        sites=(),
        card=ModelCard("own", "own", 1, "random", "here"),
    )
    step = Masked(16, 16).prepare(workload, Precision(name, "simulate", **how), "cpu")
    blocks = {key: {"source": step.executed["source"]} for key in BLOCKS}
    return {"executed": dict(step.executed), "roofline": {"parts": count(step, inputs)}, **blocks}


@pytest.mark.parametrize(
    ("name", "linears", "called", "ran_in_it", "how"),
    [
        ("int8", 2, 2, True, {}),
        ("int8", 2, 1, True, {}),
        ("int8", 1, 0, False, {}),
        ("int8", 0, 0, False, {}),
        ("int8", 2, 2, True, {"weight_scales": "group", "group_size": 16}),
        ("int8", 1, 0, False, {"weight_scales": "group", "group_size": 16}),
        ("fp8", 0, 0, False, {}),
        ("bf16", 0, 0, True, {}),
        ("fp16", 1, 1, True, {}),
        ("fp32", 0, 0, True, {}),
    ],
)
def test_a_format_counts_where_a_layer_that_is_called_runs_in_it(name, linears, called, ran_in_it, how):
    found = arm(name, linears, called, **how)
    assert ran(found["executed"], found["roofline"]["parts"]) is ran_in_it
    record = {**RECORD, "arms": {"dense": arm("fp32", 1, 1), "linear": found}}
    assert (TAG in tags(record, seen([{}]))) is not ran_in_it
    work = {"linear": found["roofline"]["parts"]}
    check_ran({"linear": found["executed"]}, work, "simulate")
    if ran_in_it:
        check_ran({"linear": found["executed"]}, work, "fail")
    else:
        with pytest.raises(MissingResource, match=rf"precision={name}: no layer that arm 'linear' calls"):
            check_ran({"linear": found["executed"]}, work, "fail")


def test_rounded_values_are_emulated_and_need_no_other_tag():
    found = arm("fp8", 2, 2)
    record = {**RECORD, "arms": {"linear": found}}
    assert ran(found["executed"], found["roofline"]["parts"])
    assert {"emulated", "simulated"} <= set(tags(record, seen([{}]))) and TAG not in tags(record, seen([{}]))


def test_records_of_earlier_versions_say_nothing_of_it():
    assert ran({"format": "int8", "dtype": "int8", "source": "measured"}, [])


def test_no_gate_passes_on_it_and_the_reader_is_told():
    block = {"delta_pct": -30.0, "ci95": [-31.0, -29.0], "source": "measured"}
    metrics = {"compare": {"iterative_vs_linear": {"latency": block}}, "tags": []}
    gate = Gate("own", latency_pct=-10.0)
    assert gate.evaluate(metrics)["pass"] is True
    tagged = {**metrics, "tags": [TAG], "config": {"precision": "int8"}}
    found = gate.evaluate(tagged)
    assert found["pass"] is None and "precision asked for" in found["checks"][0]["reason"]
    assert any("no layer ran in int8" in line for line in caveats(tagged, {})) and TAG in BADGES
    assert "precision asked for" in NOT_EXECUTED


@pytest.mark.parametrize(("own", "other", "told"), [(100, 900, True), (900, 100, False), (0, 900, False)])
def test_a_minority_of_weight_bytes_in_the_precision_is_told(own, other, told):
    found = {"int8": own, "float32": other} if own else {"float32": other}
    executed = {"format": "int8", "dtype": max(found, key=found.get), "weight_bytes": found}
    metrics = {"arms": {"linear": {"executed": executed}}, "config": {"precision": "int8"}}
    lines = [line for line in caveats(metrics, {}) if "of the bytes of multiplied weights" in line]
    assert bool(lines) is told
    if told:
        assert lines[0].startswith("In arm linear 10 % ") and "in int8; most are in float32" in lines[0]


def record_of(**arms):
    return types.SimpleNamespace(metrics={"arms": arms})


def test_verify_finds_another_type_than_that_of_most_bytes_and_eight_bits_that_ran_unsaid():
    found = arm("int8", 2, 2)
    assert precision(record_of(linear=found)) == [] and found["executed"]["dtype"] == "float32"
    forged = copy.deepcopy(found)
    forged["executed"]["dtype"] = "int8"  # of which two layers are, beside a convolution of more bytes
    assert precision(record_of(linear=forged))
    forged = copy.deepcopy(found)
    forged["executed"] |= {"dtype": "float32", "weight_bytes": {"float32": 9}}
    assert precision(record_of(linear=forged))
    assert precision(record_of(linear={"executed": {"dtype": "int8"}})) == []  # of an earlier version


ROW = {
    "module": "a",
    "tokens": 80,
    "held_out": 20,
    "live_inputs": 8,
    "missed_before": 0.5,
    "missed_after": 0.2,
}
GOOD = {
    "method": "lstsq",
    "held_out": 0.2,
    "consumers": [{**ROW, "kept": True}, {**ROW, "missed_after": 0.6, "kept": False, "reason": "worse"}],
    "outputs": {"missed_before": 0.3, "missed_after": 0.1, "kept": True},
}


def judged(found, asked="auto"):
    run = types.SimpleNamespace(
        metrics={"transform": {"recover": found}}, lock={"transform": {"recover": asked}}
    )
    return recovered(run)


def forged(*path, value):
    out = copy.deepcopy(GOOD)
    node = out
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return out


def test_verify_believes_a_recovery_that_follows_from_its_figures_and_no_other():
    assert judged(GOOD) == []
    taken_back = copy.deepcopy(GOOD)
    taken_back["consumers"][0] |= {"kept": False, "reason": "outputs"}
    taken_back |= {"method": "none", "outputs": {"missed_before": 0.1, "missed_after": 0.3, "kept": False}}
    assert judged(taken_back) == []
    for found in (
        forged("method", value="none"),
        forged("held_out", value=0.5),
        forged("consumers", 1, "kept", value=True),
        forged("consumers", 0, "kept", value=False),
        forged("consumers", 0, "tokens", value=7),
        forged("outputs", "missed_after", value=0.9),
        forged("consumers", 0, "missed_after", value=0.7),
    ):
        assert judged(found), found
    assert judged(GOOD, asked="none")


def test_verify_takes_recoveries_of_earlier_versions_as_they_were():
    rows = [{"module": "a", "tokens": 80, "missed_before": 0.5, "missed_after": 0.2}]
    assert judged({"method": "lstsq", "consumers": rows}) == []
    assert judged({"method": "none", "reason": "weights are random"}) == []
    assert judged({"method": "lstsq"}) and judged({"method": "none", "consumers": rows})
