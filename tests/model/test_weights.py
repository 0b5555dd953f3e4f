"""Where weights are found: directories, the data folder, a hub that publishes one file or shards."""

import json

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from icd.errors import ConfigError, MissingResource
from icd.model import weights

INDEX = json.dumps({"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors"}})
SINGLE = {"config.json": "{}", "model.safetensors": "x", "tokenizer.json": "{}"}
SHARDED = {
    "config.json": "{}",
    "model.safetensors.index.json": INDEX,
    "model-1.safetensors": "1",
    "model-2.safetensors": "2",
}


def write(folder, files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that publishes the files it is given into a cache that starts empty."""
    published, cache = {}, tmp_path / "cache"

    def download(repo, name, etag_timeout):
        if name not in published:
            raise LocalEntryNotFoundError(name)
        cache.mkdir(exist_ok=True)
        (cache / name).write_text(published[name])
        return str(cache / name)

    monkeypatch.delenv("ICD_DATA_DIR", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(weights, "hub_answers", lambda timeout_s: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, name: None)
    return published


@pytest.mark.parametrize("files", [SINGLE, SHARDED], ids=["one file", "shards"])
def test_the_hub_s_files_are_all_fetched(hub, files):
    hub.update(files)
    folder = weights.find("some/model", "auto", 1.0)
    assert {p.name for p in folder.iterdir()} == set(files) and weights.lacking(folder) == []


def test_a_hub_that_lacks_a_shard_gives_random_weights_or_a_sentence(hub):
    hub.update({k: v for k, v in SHARDED.items() if k != "model-2.safetensors"})
    assert weights.find("some/model", "auto", 1.0) is None
    with pytest.raises(MissingResource, match="no trained weights of some/model in the hub"):
        weights.find("some/model", "pretrained", 1.0)


def test_a_directory_that_lacks_a_shard_is_refused_by_name(tmp_path):
    folder = write(tmp_path / "m", SHARDED)
    weights.check_weights(str(folder))
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"the directory 'm' lacks model-2\.safetensors"):
        weights.check_weights(str(folder))


def test_the_data_folder_comes_before_the_hub(hub, tmp_path, monkeypatch):
    folder = write(tmp_path / "data" / "models" / "model", SHARDED)
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path / "data"))
    assert weights.find("some/model", "auto", 1.0) == folder


def test_the_digest_covers_every_shard(tmp_path):
    folder = write(tmp_path / "m", SHARDED)
    before = weights.digest(folder)
    (folder / "model-2.safetensors").write_text("other")
    assert weights.digest(folder) != before
