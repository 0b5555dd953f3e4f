"""The planner: measured choices, one a shape and density, remembered, and never a changed function."""

import dataclasses
import json
import logging
import os

import numpy as np
import pytest
import torch

from icd.contracts import Site, TensorAxis
from icd.pipeline.arms import sliced_layout
from icd.pipeline.checks import relative_error
from icd.runtime import plan_cache, planner
from icd.runtime.auto import Auto
from icd.runtime.compact import Compact
from icd.runtime.masked import Masked
from icd.runtime.one_layer import one_layer
from icd.runtime.plan_cache import plan_key
from icd.runtime.tiles import kept_everywhere
from icd.transform.permute import permute
from icd.transform.quantize import Precision
from tests.runtime.test_engines import gather, pruned
from tests.tiny import mock, tiny_bert, tiny_mamba

FP32 = Precision("fp32", "fail")


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """Times by the number of parameters: ``slope`` says whether fewer are faster; counts what is timed."""
    monkeypatch.setenv("ICD_CACHE_DIR", str(tmp_path))
    seen = {"slope": 1.0, "runs": 0}

    def run(step, count, device):
        seen["runs"] += 1
        size = sum(p.numel() for p in step.module.parameters())
        return size * 1e-6 if seen["slope"] > 0 else 1.0 / size

    monkeypatch.setattr(planner, "run", run)
    return seen


@pytest.mark.parametrize(
    "build", [tiny_bert, tiny_mamba, lambda: mock().build()], ids=["bert", "mamba", "mock"]
)
@pytest.mark.parametrize("slope", [1.0, -1.0], ids=["compact pays", "compact does not pay"])
def test_what_is_faster_is_executed_and_the_function_stays(build, slope, clock):
    clock["slope"] = slope
    workload = gather(pruned(build()))
    step = Auto(64, 16).prepare(workload, FP32, "cpu")
    best = (Compact if slope > 0 else Masked)(64, 16).prepare(workload, FP32, "cpu")
    assert step.executed["sites"] == best.executed["sites"]
    assert {row["chosen"] for row in step.executed["plan"]} == {"compact" if slope > 0 else "masked"}
    assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 1e-5


DAMAGED = {
    "NaN": '{"ms": [NaN, 1.0], "slower": 0}',
    "infinity": '{"ms": [1.0, 1e999], "slower": 0}',
    "a negative time": '{"ms": [1.0, -1.0], "slower": 0}',
    "a time as text": '{"ms": ["1", 1.0], "slower": 0}',
    "a truth value": '{"ms": [1.0, true], "slower": 0}',
    "three times": '{"ms": [1.0, 1.0, 1.0], "slower": 0}',
    "more rounds than there are": '{"ms": [1.0, 1.0], "slower": 10}',
    "half a round": '{"ms": [1.0, 1.0], "slower": 0.5}',
    "no rounds": '{"ms": [1.0, 1.0]}',
    "a list": "[]",
    "nothing": "",
    "nested deeply": "[" * 5000,
    "not UTF-8": b"\xff",
    "a FIFO": None,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_plan_is_warned_of_and_measured_again(content, clock, tmp_path, caplog):
    workload = gather(pruned(mock(layers=1, neurons=64, width=32).build()))
    expected = Auto(64, 16).prepare(workload, FP32, "cpu").executed
    (entry,) = (tmp_path / "plans").iterdir()
    entry.unlink()
    if content is None:
        os.mkfifo(entry)
    else:
        entry.write_bytes(content if isinstance(content, bytes) else content.encode())
    plan_cache._damaged.cache_clear()
    runs = clock["runs"]
    with caplog.at_level(logging.WARNING):
        assert Auto(64, 16).prepare(workload, FP32, "cpu").executed == expected
    assert clock["runs"] > runs and f"measured plan {entry.name} is damaged" in caplog.text
    assert Auto(64, 16).prepare(workload, FP32, "cpu").executed["plan"][0]["cached"]


def test_heads_that_stay_whole_are_not_padded(clock):
    workload = pruned(tiny_bert(attention="dims", hidden=128))  # 16 of 32 dimensions of each head live
    layouts = {s.name: sliced_layout(workload.live_mask(s)) for s in workload.sites}
    wider = layouts["encoder.layer.0.head.2.vo"]
    wider[[0, 16]] = wider[[16, 0]]  # live ones in three blocks of eight; the others are padded to it
    scattered = permute(workload, layouts)
    executed = Auto(64, 16).prepare(scattered, FP32, "cpu").executed
    assert executed["padded"] == {"sites": 3, "channels": 3 * 8}
    clock["slope"] = -1.0
    executed = Auto(64, 16, cache=False).prepare(scattered, FP32, "cpu").executed
    assert executed["sites"]["encoder.layer.0.head.0.vo"] == [32, 32] and "padded" not in executed


def test_equal_layers_are_measured_once_and_remembered(clock):
    workload = gather(pruned(tiny_bert()))
    plan = Auto(64, 16).prepare(workload, FP32, "cpu").executed["plan"]
    assert [(row["group"], row["sites"], row["cached"]) for row in plan] == [
        ("heads", 2, False), ("neurons", 2, False),
    ]  # fmt: skip
    runs = clock["runs"]
    again = Auto(64, 16).prepare(workload, FP32, "cpu").executed["plan"]
    assert clock["runs"] == runs and all(row["cached"] for row in again)
    assert [row["masked_ms"] for row in again] == [row["masked_ms"] for row in plan]
    Auto(64, 16, cache=False).prepare(workload, FP32, "cpu")
    assert clock["runs"] > runs


def test_layers_of_one_kind_are_one_question_whichever_of_them_an_arm_gathered(clock):
    workload = pruned(tiny_bert())
    layouts = {s.name: sliced_layout(workload.live_mask(s)) for s in workload.sites if s.group == "neurons"}
    second = {"encoder.layer.1.neurons": layouts["encoder.layer.1.neurons"]}
    clock["slope"] = -1.0
    both = Auto(64, 16).prepare(permute(workload, layouts), FP32, "cpu").executed
    clock["slope"] = 1.0  # whoever measures again finds otherwise
    one = Auto(64, 16).prepare(permute(workload, second), FP32, "cpu").executed
    heads, rows = (
        [row for row in said["plan"] if row["group"] == group]
        for said, group in ((one, "heads"), (one, "neurons"))
    )
    assert [row["sites"] for row in rows] == [1] and all(row["cached"] for row in heads + rows)
    assert both["sites"] == one["sites"] and one["sites"]["encoder.layer.1.neurons"] == [256, 256]


class Feed(torch.nn.Module):
    """Residual feed-forward layers, of which the forward asks for all, by number."""

    def __init__(self, inner, width=32, size=64):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.ModuleDict(
                {
                    "up": torch.nn.Linear(width, size),
                    "more": torch.nn.Linear(size, n),
                    "down": torch.nn.Linear(n, width),
                }
            )
            for n in inner
        )

    def forward(self, x):
        for k in range(len(self.layers)):
            layer = self.layers[k]
            x = x + layer["down"](layer["more"](layer["up"](x)))
        return x


class Numbered(Feed):
    def forward(self, x):
        assert len(self.layers) == 2, "two layers"
        return super().forward(x)


class Chain(torch.nn.Module):
    """Linear layers in a list: a site lies between two of them."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(32, 64), torch.nn.Linear(64, 32)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def tied(name, up, down):
    axes = TensorAxis(f"{up}.weight", 0), TensorAxis(f"{up}.bias", 0), TensorAxis(f"{down}.weight", 1)
    return Site(name, 64, axes, "neurons", down)


def of(module, *sites):
    """A pruned workload of ``module`` with the live channels in front."""
    torch.manual_seed(0)
    inputs = {"x": torch.randn(2, 3, 32)}
    workload = dataclasses.replace(mock().build(), module=module.eval().requires_grad_(False), inputs=inputs)
    workload = dataclasses.replace(workload, forward=lambda m, given: m(**given), sites=sites)
    return gather(pruned(workload))


FEED = tuple(tied(f"{k}.neurons", f"layers.{k}.up", f"layers.{k}.more") for k in range(2))


@pytest.mark.parametrize(
    ("build", "timed"),
    [
        (lambda: of(Feed((64, 64)), *FEED), "one layer"),
        (lambda: of(Numbered((64, 64)), *FEED), "whole model"),
        (lambda: of(Chain(), tied("neurons", "layers.0", "layers.1")), "whole model"),
    ],
    ids=["repeated", "a forward that wants all layers", "a site across layers"],
)
def test_what_does_not_run_as_one_layer_or_is_not_in_one_is_timed_in_the_whole_model(build, timed, clock):
    workload = build()
    for cached in (False, True):
        step = Auto(64, 8).prepare(workload, FP32, "cpu")
        (row,) = step.executed["plan"]
        assert (row["timed"], row["cached"], row["sites"]) == (timed, cached, len(workload.sites))
        assert row["compact_ms"] < row["masked_ms"]  # something was cut
        assert all(kept == 32 for kept, _ in step.executed["sites"].values())
        assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 1e-5


def test_only_sites_of_the_kind_are_cut_where_it_is_timed():
    other = Site("0.more", 96, (TensorAxis("layers.0.down.weight", 1),), "neurons", "layers.0.down")
    workload = of(Feed((96, 96)), *FEED, other)
    kind = planner.kind_of(workload.module, FEED[0], {"0.neurons": np.arange(24)})
    cut = planner.cut_of(one_layer(workload, FEED[0]), kind)
    assert {name: len(kept) for name, kept in cut.items()} == {"0.neurons": 24, "0.more": 96}


def test_layers_of_other_shapes_are_questions_of_their_own(clock):
    step = Auto(64, 8).prepare(of(Feed((64, 96)), *FEED), FP32, "cpu")
    assert [row["sites"] for row in step.executed["plan"]] == [1, 1]
    assert len({row["masked_ms"] for row in step.executed["plan"]}) == 2


def test_everything_that_decides_times_decides_where_they_are_kept(monkeypatch):
    def key(workload, precision=FP32, compile=False, graph=False, cols=16):
        one = one_layer(workload, workload.sites[0])
        keep, _ = kept_everywhere(one, cols)
        return plan_key(one, keep, precision, "cpu", compile, graph)

    workload = gather(pruned(tiny_bert()))
    inputs = workload.inputs["input_ids"]
    keys = [
        key(workload),
        key(workload, Precision("bf16", "fail")),
        key(workload, Precision("int8", "fail", scales="tensor")),
        key(workload, compile=True),
        key(workload, graph=True),
        key(workload, cols=256),
        key(dataclasses.replace(workload, inputs={"input_ids": inputs[:1]})),
        key(dataclasses.replace(workload, inputs={"input_ids": inputs.int()})),
        key(dataclasses.replace(workload, choices=lambda device: {"scan": "other"})),
        key(gather(pruned(tiny_bert(ffn=512)))),
    ]
    assert keys[0] == key(gather(pruned(tiny_bert(layers=3))))
    other = gather(pruned(tiny_bert()))
    other.module.encoder.layer[0].intermediate.intermediate_act_fn = torch.nn.ReLU()
    keys.append(key(other))
    for where, name, value in (
        (plan_cache, "cpu_model", lambda: "another"),
        (torch, "get_num_threads", lambda: 99),
        (torch, "__version__", "9.9"),
        (plan_cache.icd, "__version__", "9.9"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, value)
            keys.append(key(workload))
    assert len(set(keys)) == len(keys) == 15


def test_a_damaged_entry_is_measured_again(clock, tmp_path):
    workload = gather(pruned(mock().build()))
    Auto(64, 16).prepare(workload, FP32, "cpu")
    for entry in (tmp_path / "plans").iterdir():
        entry.write_text("{")
    assert not Auto(64, 16).prepare(workload, FP32, "cpu").executed["plan"][0]["cached"]
    assert all("ms" in json.loads(e.read_text()) for e in (tmp_path / "plans").iterdir())


def test_nothing_is_planned_where_nothing_is_left_out(clock):
    step = Auto(64, 16).prepare(tiny_bert(), FP32, "cpu")
    assert step.executed["plan"] == [] and clock["runs"] == 0


def test_the_layer_that_is_timed_holds_its_sites_alone():
    workload = gather(pruned(tiny_bert()))
    site = workload.sites[-1]
    one = one_layer(workload, site)
    assert len(one.module.encoder.layer) == 1 and {s.group for s in one.sites} == {"heads", "neurons"}
    assert all(axis.parameter.startswith("encoder.layer.0.") for s in one.sites for axis in s.axes)
    ours = one.module.get_parameter(one.sites[-1].axes[0].parameter)
    assert np.array_equal(ours, workload.module.get_parameter(site.axes[0].parameter))
    assert len(workload.module.encoder.layer) == 2


def test_real_times_are_positive_and_alternate():
    workload = gather(pruned(mock().build()))
    steps = [engine(64, 16).prepare(workload, FP32, "cpu") for engine in (Masked, Compact)]
    timed = planner.alternate(steps, "cpu")
    assert timed.masked_ms > 0 and timed.compact_ms > 0 and 0 <= timed.slower <= planner.BLOCKS


@pytest.mark.parametrize("lost", [7, 8, 9])
def test_only_what_loses_nearly_every_round_is_not_cut(lost, monkeypatch):
    rounds = iter([1.0, 1.0, *(x for k in range(9) for x in (1.0, 1.1 if k < lost else 0.5))])
    monkeypatch.setattr(planner, "run", lambda step, count, device: next(rounds))
    timed = planner.alternate([None, None], "cpu")
    choice = planner.Choice(("neurons", 64, 32, ()), 1, *timed, whole=False, cached=False)
    assert timed.slower == lost and timed.compact_ms > timed.masked_ms
    assert choice.chosen == ("masked" if lost >= 8 else "compact")
