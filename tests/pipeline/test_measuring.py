"""What a measuring process makes of what the preparing one wrote."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from icd.pipeline.arms import Prepared
from icd.pipeline.measuring import load_values
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
