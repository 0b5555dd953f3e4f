"""Calibration and probes: whole sentences without padding, the package's or the user's own."""

import pytest
import torch

from icd.errors import ConfigError, MissingResource
from icd.model.text import calibration_batches, locate, probe_batches, read_own, texts_used


class Words:
    """A tokenizer of one token a word, in the tokenizers' calling convention."""

    def __call__(self, lines, truncation=False, max_length=10**9, **_):
        ids = [[101, *(len(w) for w in line.split()), 102][:max_length] for line in lines]
        width = max(map(len, ids))
        if _.get("padding"):
            padded = torch.tensor([row + [0] * (width - len(row)) for row in ids])
            return {"input_ids": padded, "attention_mask": (padded != 0).long()}
        return {"input_ids": ids}


def test_calibration_takes_whole_sentences_until_there_are_tokens_enough():
    batches = calibration_batches(Words(), 3000, None)
    total = sum(b["input_ids"].numel() for b in batches)
    assert 3000 <= total < 3000 + 128 and all(set(b) == {"input_ids"} for b in batches)
    for batch in batches:
        ids = batch["input_ids"]
        assert len(ids) <= 16 and (ids[:, 0] == 101).all() and (ids[:, -1] == 102).all()


def test_own_sentences_are_read_and_named_in_the_record_by_base_name_and_digest(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("one two\n\nthree four\nfive\n")
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path))
    batches = calibration_batches(Words(), 10**6, "mine.txt")
    assert [tuple(b["input_ids"].shape) for b in batches] == [(2, 4), (1, 3)]
    used = texts_used(calibration_text="mine.txt", probe_text=None)
    assert set(used) == {"calibration_text"} and used["calibration_text"]["file"] == "mine.txt"
    assert len(used["calibration_text"]["sha256"]) == 64
    probes = probe_batches(Words(), 3, "mine.txt")
    assert probes[0]["input_ids"].shape == (3, 4)
    assert probes[0]["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
    with pytest.raises(ConfigError, match=r"expected 1 to 3, the sentences that mine.txt holds"):
        probe_batches(Words(), 4, "mine.txt")


def test_a_text_that_is_not_there_is_refused_by_key_and_base_name(tmp_path):
    with pytest.raises(MissingResource, match=r"model.probe_text='none.txt': no such file"):
        locate("probe_text", str(tmp_path / "none.txt"))


@pytest.mark.parametrize(("data", "why"), [(b"\n \n", "empty"), (b"caf\xe9\n", "not UTF-8")])
def test_a_text_that_cannot_be_used_is_refused(tmp_path, data, why):
    (tmp_path / "bad.txt").write_bytes(data)
    with pytest.raises(ConfigError, match=why):
        calibration_batches(Words(), 10, str(tmp_path / "bad.txt"))


def test_a_byte_order_mark_is_no_part_of_a_sentence(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("one\ntwo\n", "utf-8-sig")
    assert read_own("prompts", str(path)) == ("one", "two")
