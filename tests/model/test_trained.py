"""Trained weights of a directory: all of them in float32, or a sentence; and what is recorded of them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from icd.errors import ConfigError
from icd.model.bert import Bert
from icd.model.trained import read_trained
from icd.model.weights import origin
from tests import families
from tests.model.test_mamba import save_tokenizer
from tests.model.test_weights import SINGLE, write

SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


@pytest.fixture
def saved(tmp_path):
    """A small trained BERT with a tokenizer, in bf16, with 40 positions."""
    from transformers import BertConfig, BertModel

    folder = tmp_path / "mine"
    torch.manual_seed(0)
    module = BertModel(BertConfig(**SHAPE, max_position_embeddings=40))
    module.to(torch.bfloat16).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def bert(folder, **changes):
    return families.model("bert", weights=str(folder), **changes)


def test_weights_stored_in_bf16_are_built_in_float32(saved):
    workload = bert(saved).build()
    assert {p.dtype for p in workload.module.parameters()} == {torch.float32}
    stored = load_file(saved / "model.safetensors")
    ours = workload.module.state_dict()
    assert all(torch.equal(ours[key], stored[key].float()) for key in ours)


def test_another_type_of_model_is_refused_by_both_names(saved):
    with pytest.raises(
        ConfigError, match="'mine' holds a model of type bert, and model=distilbert is one of"
    ):
        families.model("distilbert", weights=str(saved)).build()
    from transformers import MambaModel

    with pytest.raises(ConfigError, match="model=mamba is one of type mamba"):
        read_trained(MambaModel, saved, "mamba")


def test_what_a_directory_lacks_is_not_drawn_at_random(saved):
    tensors = load_file(saved / "model.safetensors")
    gone = {k: v for k, v in tensors.items() if "layer.1.output.dense" not in k}
    save_file(gone, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack encoder\.layer\.1\.output\.dense\.bias .*, and 1 more"):
        bert(saved).build()


def test_weights_of_another_shape_than_the_configuration_says_are_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    with pytest.raises(ConfigError, match=r"layer\.0\.intermediate\.dense\.bias in the shape that config"):
        bert(saved).build()
    (saved / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json in the directory 'mine' is no JSON"):
        bert(saved)


def test_the_position_table_is_that_of_the_directory(saved):
    with pytest.raises(ConfigError, match="seq_len=64: model=bert has a position table of 40"):
        bert(saved, seq_len=64)
    with pytest.raises(
        ConfigError, match=r"text 1 has 48 tokens and the model's position table 40; seq_len=40 cuts it"
    ):
        bert(saved, seq_len=None, prompts=["the " * 48]).build()
    workload = bert(saved, seq_len=64, extend_positions=True).build()
    assert workload.card.tags == ("extended-positions",) and not workload.probes
    assert max(batch["input_ids"].shape[1] for batch in workload.calibration) <= 40


def test_a_directory_of_one_s_own_is_recorded_by_its_name_without_a_licence(saved):
    card = bert(saved).build().card
    assert (card.source, card.licence) == ("mine", None) and len(card.sha256) == 64


def test_a_fetched_model_is_recorded_as_its_manifest_says(tmp_path, monkeypatch, hub):
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path))
    folder = write(tmp_path / "models" / "bert-base-uncased", SINGLE)
    ours = "google-bert/bert-base-uncased"
    assert origin(folder, ours, Bert.licences) == (ours, "Apache-2.0")
    other = "somebody/bert-base-uncased"
    assert origin(folder, other, Bert.licences) == (other, None)
    (folder / "icd-manifest.json").write_text(json.dumps({"repository": "else/where", "licence": "mit"}))
    assert origin(folder, ours, Bert.licences) == ("else/where", "mit")
    (folder / "icd-manifest.json").write_text("{")
    assert origin(folder, "other/model", {}) == ("bert-base-uncased", None)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "NOTHING", "shape": [1], "data_offsets": [0, 1]}},
        {"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}},
    ],
)
def test_weights_that_the_library_cannot_read_are_one_sentence_without_paths(saved, header):
    data = json.dumps(header).encode()
    (saved / "model.safetensors").write_bytes(len(data).to_bytes(8, "little") + data + b"1234")
    with pytest.raises(
        ConfigError, match="the directory 'mine' cannot be read as model=bert: Safetensor"
    ) as said:
        bert(saved).build()
    assert str(saved) not in str(said.value) and "\n" not in str(said.value)


def test_a_configuration_of_the_wrong_types_is_one_sentence(saved):
    given = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**given, "hidden_act": 3}))
    with pytest.raises(ConfigError, match="the directory 'mine' cannot be read as model=bert: "):
        bert(saved).build()


@pytest.mark.parametrize("data", ["{", "[]", '{"version": "1.0"}', "[" * 10_000])
def test_a_tokenizer_that_cannot_be_read_is_one_sentence(saved, data):
    (saved / "tokenizer.json").write_text(data)
    with pytest.raises(ConfigError, match="the tokenizer in the directory 'mine' cannot be read: ") as said:
        bert(saved).build()
    assert str(saved) not in str(said.value) and "\n" not in str(said.value)


def test_a_tokenizer_without_a_token_to_pad_with_is_one_sentence(saved):
    from transformers import PreTrainedTokenizerFast

    known = PreTrainedTokenizerFast(tokenizer_file=str(saved / "tokenizer.json"), unk_token="[UNK]")
    known.save_pretrained(saved)
    with pytest.raises(ConfigError, match="'mine' has neither pad_token nor eos_token; name one in"):
        bert(saved).build()
