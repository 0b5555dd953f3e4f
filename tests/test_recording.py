"""What a record tells: no login, no token, no folder of this machine, and every other text as it was."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
from omegaconf import OmegaConf

from icd.pipeline.run import RunLog
from icd.recording import digests, escaped, hidden, interpolates, recorded, spoken, told, without_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://user:password@host:5000", "http://host:5000"),
        ("https://user:p@ss:w@host/x?token=abc&b=c", "https://host/x?token=***&b=***"),
        ("https://host/x#secret", "https://host/x#***"),
        ("postgresql+psycopg://u:p@db.example/ml", "postgresql+psycopg://db.example/ml"),
        ("sqlite:////home/somebody/ml.db", "sqlite:///ml.db"),
        ("sqlite+pysqlite:////home/somebody/ml.db?mode=ro", "sqlite+pysqlite:///ml.db?mode=***"),
        ("file:///home/somebody/art", "file:///art"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("http://localhost:5000/a/b", "http://localhost:5000/a/b"),
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("mlartifacts", "mlartifacts"),
        ("see https://x.org/?a=b for more", "see https://x.org/?a=b for more"),
    ],
)
def test_an_address_is_told_without_secrets_and_local_folders(address, shown):
    assert without_secrets(address) == shown
    tree = recorded({"tracking": {"uri": address}})
    assert tree["tracking"]["uri"] == shown and (tree["masked"] == ["tracking.uri"]) is (shown != address)


def test_a_message_hides_the_secrets_of_its_addresses_and_keeps_its_punctuation():
    text = "no answer (http://u:pw@h:1/x?t=s): see /home/somebody/a b, or sqlite:////srv/x/ml.db."
    assert told(text) == "no answer (http://h:1/x?t=***): see a b, or sqlite:///ml.db."
    assert hidden("https://a.b/c, then") == "https://a.b/c, then"
    assert told({"a": ["http://u:p@h", 1, None]}) == {"a": ["http://h", 1, None]}


def test_the_log_holds_neither_secret_nor_folder(tmp_path):
    RunLog(tmp_path / "run.log").write("failed", message="at http://u:pw@h in /srv/somebody/runs/x")
    line = json.loads((tmp_path / "run.log").read_text())
    assert line["meta"] == {"message": "at http://h in x"}


def test_absolute_paths_are_named_and_digested_and_texts_of_prompts_are_no_paths(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("hello")
    digest = hashlib.sha256(b"hello").hexdigest()
    tree = recorded(
        {"model": {"path": str(file), "prompts": ["/etc/hosts?", "http://u:p@h"], "sites": [str(file)]}}
    )
    assert tree["model"]["path"] == f"a.txt#sha256:{digest}" == tree["model"]["sites"][0]
    assert tree["model"]["prompts"] == ["/etc/hosts?", "http://u:p@h"]
    assert tree["masked"] == ["model.path", "model.sites"]


def test_files_named_by_relative_paths_are_digested_and_words_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "s.yaml").write_text("a")
    (tmp_path / "wanda").write_text("b")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.json").write_text("{}")
    tree = {
        "model": {"sites": "sub/s.yaml", "name": "wanda", "weights": "w", "list": ["sub/s.yaml", "no.txt"]},
        "transform": {"score": "wanda"},
        "tracking": {"uri": "sub/s.yaml"},
    }
    sha = hashlib.sha256(b"a").hexdigest()
    folder = hashlib.sha256(f"{hashlib.sha256(b'{}').hexdigest()}  config.json\n".encode()).hexdigest()
    assert digests(tree) == {"model.sites": sha, "model.weights": folder, "model.list.0": sha}


def test_a_recorded_text_is_what_omegaconf_resolves_to_the_text_itself():
    rng = random.Random(3)
    for _ in range(500):
        text = "".join(rng.choices(["\\", "${", "$", "{", "}", "a", "'", " "], k=rng.randint(0, 8)))
        assert OmegaConf.to_container(OmegaConf.create({"a": escaped(text)}), resolve=True) == {"a": text}
        assert spoken(escaped(text)) == text and not interpolates(escaped(text))
        assert interpolates(text) or "${" not in text or "\\${" in text
