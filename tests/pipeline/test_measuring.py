"""What a measuring process makes of what the preparing one wrote."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from icd.contracts import ModelCard, Workload
from icd.pipeline import measuring
from icd.pipeline.arms import Prepared
from icd.pipeline.measuring import load_values
from icd.pipeline.prepare import _write_values
from icd.pipeline.prepare import prepare as prepared_by_icd
from icd.stats.design import rounds, seed_of
from tests.pipeline.fake_run import experiment
from tests.tiny import tiny_mamba

NAME = "layers.0.mixer.D"


def prepared(tmp_path, tensors):
    path = tmp_path / "transformed.safetensors"
    save_file(tensors, str(path))
    workload = tiny_mamba()
    model = SimpleNamespace(build=lambda: workload)
    return Prepared(model=model, arms=(), live={"transformed": {}}, files={"transformed": str(path)}, amax={})


def test_what_was_not_transformed_is_there_once_and_the_dense_model_keeps_its_own(tmp_path):
    made = prepared(tmp_path, {NAME: torch.full((256,), 7.0)})
    values = load_values(made)
    dense, transformed = (dict(values[n].module.named_parameters()) for n in ("dense", "transformed"))
    assert (transformed[NAME] == 7).all() and not (dense[NAME] == 7).any()
    shared = [name for name in dense if dense[name].data_ptr() == transformed[name].data_ptr()]
    assert sorted(shared) == sorted(set(dense) - {NAME})
    assert not any(x.requires_grad for x in transformed.values())


def test_weights_that_the_model_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown to the model"):
        load_values(prepared(tmp_path, {"nowhere": torch.ones(1)}))


def test_what_a_transform_changed_comes_back_under_every_name_and_in_every_buffer(tmp_path):
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.head = torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5, bias=False)
            self.head.weight = self.emb.weight
            self.register_buffer("scale", torch.ones(4), persistent=False)

    def workload(factor):
        module = Own().requires_grad_(False)
        module.emb.weight.data = factor * torch.arange(20.0).reshape(5, 4)
        module.scale = factor * torch.ones(4)
        card = ModelCard("own", "own", 1, "pretrained", "here")
        return Workload(module, lambda m, x: x["x"], {}, (), card)

    files = _write_values(workload(1), workload(3), tmp_path)
    model = SimpleNamespace(build=lambda: workload(1))
    given = SimpleNamespace(model=model, files=files, live={"transformed": {}}, amax={})
    values = load_values(given)
    dense, changed = values["dense"].module, values["transformed"].module
    assert changed.head.weight is changed.emb.weight and dense.head.weight is dense.emb.weight
    assert torch.equal(changed.emb.weight, 3 * dense.emb.weight)
    assert torch.equal(changed.scale, torch.full((4,), 3.0)) and torch.equal(dense.scale, torch.ones(4))


def test_arms_are_built_in_a_balanced_order_and_measured_and_told_of_in_their_own(tmp_path, monkeypatch):
    made, names = experiment("measure.allocations=3", "pipeline.arms=[linear,aa]"), []
    prepare = measuring.step_of
    monkeypatch.setattr(
        measuring, "step_of", lambda run, arm, *rest: names.append(arm.name) or prepare(run, arm, *rest)
    )
    arms = prepared_by_icd(made, tmp_path, lambda *event, **_: None)
    out = [measuring.measure(made, arms, process, "cpu", lambda *event, **_: None) for process in range(2)]
    built = [order for process in out for order in process["built"]]
    assert [name for order in built for name in order] == names
    assert len(built) == 6 and all(a == b[::-1] for a, b in zip(built[:3], built[3:], strict=True))
    assert all(list(p["checks"]) == list(p["executed"]) == ["linear", "aa"] for p in out)
    first = [s.arm for s in out[0]["samples"] if (s.metric, s.allocation, s.round) == ("latency_ms", 1, 0)]
    seeded = rounds(2, 4, seed_of(made.seed, 0, 1))[0]
    assert first == [("linear", "aa")[i] for i in seeded]
