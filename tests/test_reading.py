"""Files that somebody else may have written: bounded, never waited for, refused in one sentence."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket

import pytest

from icd import reading, samples
from icd.contracts import Sample
from icd.errors import ConfigError, Exit
from icd.reading import parse_json, read_json, read_json_lines, read_text, read_yaml, sha256
from icd.samples import encode, read_samples

READERS = [read_text, read_json, read_json_lines, read_yaml, sha256, read_samples]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["FIFO", "folder", "device", "socket"])
def test_what_is_no_file_is_refused_and_never_waited_for(reader, kind, tmp_path):
    path = tmp_path / "x"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.chdir(tmp_path)  # the path of a socket must be short
        socket.socket(socket.AF_UNIX).bind("x")
    with pytest.raises(ConfigError, match=f"x: expected a file, got a {kind}") as caught:
        reader(path)
    assert caught.value.code is Exit.BAD_CONFIG


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_not_there_stays_an_error_of_the_system(reader, tmp_path):
    with pytest.raises(FileNotFoundError):
        reader(tmp_path / "x")


def test_a_file_beyond_its_limit_is_refused_with_limit_and_size(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"1" * 3000)
    with pytest.raises(ConfigError, match="x: expected at most 1,000 bytes, got 3,000 bytes"):
        read_text(tmp_path / "x", 1000)
    monkeypatch.setattr(reading, "YAML_BYTES", 1000)
    with pytest.raises(ConfigError, match="x: expected at most 1,000 bytes"):
        read_yaml(tmp_path / "x")


JSON = {
    "nested a thousand deep": ("[" * 1000 + "]" * 1000, "nested too deeply"),
    "nested a hundred thousand deep": ('{"a":' * 100_000, "nested too deeply|is not JSON"),
    "an object in a list": ('[{"a": ' * 33 + "1" + "}]" * 33, "nested too deeply; expected at most 64"),
    "NaN": ('{"a": NaN}', "NaN is no figure"),
    "infinity": ("[-Infinity]", "-Infinity is no figure"),
    "a figure that becomes infinite": ("[1e999]", "1e999 is beyond every float64"),
    "a whole number of 5,000 digits": ("[" + "9" * 5000 + "]", "a whole number of 5000 digits"),
    "a whole number of 21 digits": ("-" + "9" * 21, "a whole number of 22 digits"),
    "half a character": ('{"a": "\\ud800"}', "half of a character"),
    "half a character as a key": ('{"\\udfff": 1}', "half of a character"),
    "cut short": ('{"a": ', "is not JSON"),
    "not UTF-8": (b'"\xff"', r"not UTF-8 \(byte 1\)"),
    "nothing": ("", "is not JSON"),
}


@pytest.mark.parametrize(("text", "sentence"), JSON.values(), ids=JSON)
def test_json_that_later_code_could_not_bear_is_refused(text, sentence, tmp_path):
    (tmp_path / "x.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=rf"^x\.json:? ?.*({sentence})"):
        read_json(tmp_path / "x.json")


def test_json_within_the_limits_is_what_json_says():
    text = '{"a": [1, -2.5, null, true, "\\ud83d\\ude00"], "b": {"c": 18446744073709551615}}'
    assert parse_json(text, "x") == json.loads(text)
    assert parse_json("[" * 64 + "]" * 64, "x") == json.loads("[" * 64 + "]" * 64)
    assert parse_json("[0.0, Infinity]", "x", finite=False) == [0.0, float("inf")]


def test_a_line_of_json_is_refused_by_its_number(tmp_path):
    (tmp_path / "run.log").write_text('{"a": 1}\n\n[1e999]\n')
    with pytest.raises(ConfigError, match=r"run\.log, line 3"):
        read_json_lines(tmp_path / "run.log")


YAML = {
    "nested a thousand deep": ("[" * 1000 + "]" * 1000, "nested too deeply"),
    "nested by indentation": ("\n".join("  " * k + "a:" for k in range(300)), "nested too deeply"),
    "a billion values in nine lines": (
        "\n".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10 if k else ['x'] * 10)}]" for k in range(9)),
        "at most 1,000,000 values, references spelled out",
    ),
    "a list that holds itself": ("&a [*a]", "nested too deeply"),
    "a whole number of 5,000 digits": ("a: " + "9" * 5000, "a value cannot be read"),
    "the thirteenth month": ("a: 2020-13-01", "a value cannot be read"),
    "an object of Python": ("!!python/object/apply:os.getcwd []", "not YAML"),
    "not closed": ("[1, 2", "not YAML"),
    "half a character": ('a: "\\ud800"', "half of a character"),
    "a control character": ("a: \x01", "not YAML"),
}


@pytest.mark.parametrize(("text", "sentence"), YAML.values(), ids=YAML)
def test_yaml_that_later_code_could_not_bear_is_refused(text, sentence, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"x\.yaml: .*{sentence}"):
        read_yaml(tmp_path / "x.yaml")


def test_yaml_within_the_limits_is_what_yaml_says(tmp_path):
    (tmp_path / "x.yaml").write_text("- &a {b: 1.5}\n- *a\n- [x, null]\n")
    assert read_yaml(tmp_path / "x.yaml") == [{"b": 1.5}, {"b": 1.5}, ["x", None]]


def test_a_digest_is_that_of_the_whole_file(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()


ROW = Sample("linear", "latency_ms", 0, 1, 2, 3, 4, 5.5, "ms", "measured", None, 61.0)


def table(tmp_path, text):
    path = tmp_path / "samples.csv.gz"
    path.write_bytes(gzip.compress(text if isinstance(text, bytes) else text.encode()))
    return path


def test_samples_come_back_as_they_were_written(tmp_path):
    rows = [ROW, ROW._replace(arm='a "quoted", one', iteration=5, value=1e-300, clock=1.5)]
    (tmp_path / "samples.csv.gz").write_bytes(encode(rows))
    assert read_samples(tmp_path / "samples.csv.gz") == rows


HEAD = ",".join(Sample._fields) + "\n"
TABLES = {
    "a field of a megabyte": (HEAD + "a" * (1 << 21), "line 2: expected at most 1 MiB on a line"),
    "a field beyond that of csv": (HEAD + "a" * 200_000, "field larger than field limit"),
    "NaN": (HEAD + "a,b,0,0,0,0,0,nan,ms,m,,\n", "line 2: nan is no figure"),
    "an infinite clock": (HEAD + "a,b,0,0,0,0,0,1,ms,m,1e999,\n", "line 2: 1e999 is no figure"),
    "a negative process": (HEAD + "a,b,-1,0,0,0,0,1,ms,m,,\n", "line 2: '-1': expected a whole number"),
    "a process of a thousand digits": (HEAD + f"a,b,{'9' * 1000},0,0,0,0,1,ms,m,,\n", "nine digits"),
    "a row too short": (HEAD + "a,b\n", "line 2: not enough values"),
    "other columns": ("a,b\n", "expected the columns arm"),
    "nothing": ("", "expected the columns arm"),
    "not UTF-8": (HEAD.encode() + b"\xff\n", "line 2: not UTF-8"),
}


@pytest.mark.parametrize(("text", "sentence"), TABLES.values(), ids=TABLES)
def test_samples_that_are_no_samples_are_refused_by_their_line(text, sentence, tmp_path):
    with pytest.raises(ConfigError, match=rf"samples\.csv\.gz.*{sentence}"):
        read_samples(table(tmp_path, text))


def test_samples_that_unpack_to_more_than_the_limits_are_refused_while_they_are_read(tmp_path, monkeypatch):
    path = table(tmp_path, HEAD + "a,b,0,0,0,0,0,1,ms,m,,\n" * 5000)
    monkeypatch.setattr(samples, "MOST_ROWS", 1000)
    with pytest.raises(ConfigError, match="at most 1,000 samples, it holds more"):
        read_samples(path)
    monkeypatch.setattr(samples, "MOST_BYTES", 10_000)
    with pytest.raises(ConfigError, match="at most 10,000 bytes unpacked, it holds more"):
        read_samples(path)


@pytest.mark.parametrize("content", [b"", b"plain", gzip.compress(b"x" * 1000)[:-9]])
def test_samples_that_are_no_gzip_are_refused(content, tmp_path):
    (tmp_path / "samples.csv.gz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"samples\.csv\.gz: "):
        read_samples(tmp_path / "samples.csv.gz")
