"""Lines end at line feeds alone, keep their blanks, and are bounded before a tokenizer sees them."""

import os
import time

import pytest

from icd.errors import ConfigError
from icd.model import text
from icd.model.lines import MIB, lines_of
from icd.model.prompts import read
from icd.model.text import calibration_batches, probe_batches, read_own
from tests.model.test_text import Words

NO_ENDS = ["\u2029", "\u2028", "\x0c", "\x0b", "\x85", "\x1c", "\x1d", "\x1e", "\r"]


@pytest.mark.parametrize("char", NO_ENDS, ids=lambda c: f"U+{ord(c):04X}")
@pytest.mark.parametrize("key", ["prompts", "calibration_text", "probe_text"])
def test_only_a_line_feed_ends_a_line(tmp_path, char, key):
    path = tmp_path / "own.txt"
    path.write_bytes(f"  a first part{char}and its rest\r\n\tsecond \n\n third".encode())
    assert path.read_bytes().count(b"\n") == 3  # as `wc -l` counts
    assert read_own(key, str(path)) == (f"  a first part{char}and its rest", "\tsecond ", " third")


def test_a_text_without_an_end_is_a_line_and_ends_are_no_part_of_one():
    assert lines_of("a") == ["a"] and lines_of("a\r\nb\n") == ["a", "b", ""]
    assert lines_of("a\r\r\nb") == ["a\r", "b"]


@pytest.mark.parametrize("data", [b"\0" * 50, b"\0\n\0\0", " \u200b\ufeff \x07".encode()])
def test_a_text_of_control_characters_alone_is_refused(tmp_path, data):
    path = tmp_path / "own.txt"
    path.write_bytes(data)
    said = "line 1 is nothing but white space and control characters"
    for key in ("prompts", "calibration_text", "probe_text"):
        with pytest.raises(ConfigError, match=rf"model\.{key}='own\.txt': {said}"):
            read_own(key, str(path))
    with pytest.raises(ConfigError, match="text 2 of 2 is nothing but white space and control"):
        read(["a", data.decode().replace("\n", "")])


def test_one_line_of_nul_among_others_is_named_and_one_of_white_space_is_left_out(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes(b"one\n \x0c\t\n\0\0\n")
    with pytest.raises(ConfigError, match="line 3 is nothing but white space and control"):
        read(str(path))
    path.write_bytes("one\n \x0c\t\u2029\ntwo\n".encode())
    assert read(str(path)) == ("one", "two")


@pytest.mark.parametrize("filling", [b"", b" ", b"a"], ids=["NUL", "blanks", "letters"])
@pytest.mark.parametrize(("key", "limit"), [("prompts", 1), ("calibration_text", 16), ("probe_text", 16)])
def test_a_file_of_a_hundred_megabytes_is_refused_by_its_size_at_once(tmp_path, filling, key, limit):
    path = tmp_path / "large.txt"
    path.write_bytes(filling * 1000)
    os.truncate(path, 10**8)  # of holes, which read as NUL
    start = time.monotonic()
    with pytest.raises(
        ConfigError, match=rf"{key}='large\.txt': the file is larger than {limit} MiB; cut it"
    ):
        read_own(key, str(path))
    assert time.monotonic() - start < 5


def test_a_line_that_is_too_long_for_a_tokenizer_is_refused(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("one\n" + "a" * (MIB + 1))
    with pytest.raises(ConfigError, match="line 2 is longer than 1 MiB"):
        read_own("calibration_text", str(path))


def test_given_texts_are_bounded_as_a_file_is():
    assert len(read(["a" * (MIB // 2)] * 2)) == 2
    with pytest.raises(ConfigError, match=r"model\.prompts: the texts are longer than 1 MiB together"):
        read(["a" * (MIB // 2), "b" * (MIB // 2), "c"])


def test_half_a_surrogate_pair_is_refused_before_it_is_encoded():
    with pytest.raises(ConfigError, match=r"text 1 of 1 holds half of a surrogate pair \(character 2\)"):
        read(["a\ud800b"])


def test_a_tokenizer_sees_no_more_calibration_text_than_is_asked_for(tmp_path, monkeypatch):
    class Counts(Words):
        seen = 0

        def __call__(self, lines, **options):
            Counts.seen += len(lines)
            return super().__call__(lines, **options)

    path = tmp_path / "long.txt"
    path.write_text("one two three\n" * 2000)
    monkeypatch.setattr(text, "AT_ONCE", 10)
    batches = calibration_batches(Counts(), 100, str(path))
    assert sum(b["input_ids"].numel() for b in batches) == 100 and Counts.seen == 20
    probe_batches(Counts(), 3, str(path))
    assert Counts.seen == 23
