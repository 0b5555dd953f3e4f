"""Where weights are found: directories, the data folder, a hub that publishes one file or shards."""

import json

import pytest

from icd.errors import ConfigError, MissingResource
from icd.model import hub as hub_module
from icd.model import weights
from tests.fake_hub import COMMIT

TENSORS = json.dumps({"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}).encode()


def tensors(data=b"abc"):
    """A safetensors file of three bytes."""
    return len(TENSORS).to_bytes(8, "little") + TENSORS + data


INDEX = json.dumps({"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors"}}).encode()
SINGLE = {"config.json": b"{}", "model.safetensors": tensors(), "tokenizer.json": b"[]"}
SHARDED = {
    "config.json": b"{}",
    "tokenizer.json": b"[]",
    "model.safetensors.index.json": INDEX,
    "model-1.safetensors": tensors(),
    "model-2.safetensors": tensors(b"xyz"),
}


def write(folder, files):
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("files", [SINGLE, SHARDED], ids=["one file", "shards"])
def test_the_hub_s_files_are_all_fetched_weights_last_and_the_next_time_from_the_cache(hub, files):
    hub.repos["some/model"] = {**files, "pytorch_model.bin": b"never"}
    folder = weights.find("some/model", "auto", 5.0, "bert")
    assert {p.name for p in folder.iterdir()} == set(files) and weights.lacking(folder) == []
    assert folder.name == COMMIT and not any("pytorch_model" in path for path in hub.asked)
    order = [path.rpartition("/")[2] for path in hub.asked if path.startswith("GET /some")]
    assert order.index("tokenizer.json") < min(k for k, name in enumerate(order) if "safetensors" in name)
    asked = len(hub.asked)
    assert weights.find("some/model", "pretrained", 5.0, "bert") == folder and len(hub.asked) == asked


def test_a_hub_that_lacks_a_shard_gives_random_weights_or_a_sentence(hub):
    hub.repos["some/model"] = {k: v for k, v in SHARDED.items() if k != "model-2.safetensors"}
    assert weights.find("some/model", "auto", 5.0, "bert") is None
    with pytest.raises(MissingResource, match=r"HF_HOME/hub .incomplete: it lacks model-2\.safetensors"):
        weights.find("some/model", "pretrained", 5.0, "bert")


def test_every_place_looked_in_is_named_without_paths_and_so_is_the_command(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(MissingResource) as caught:
        weights.find("some/model", "pretrained", 5.0, "bert")
    said = str(caught.value)
    assert "in ICD_DATA_DIR/models/model, in HF_HOME/hub, or from the hub" in said
    assert "icd fetch model=bert" in said and "knows no repository some/model" in said
    assert str(tmp_path) not in said


@pytest.mark.parametrize("hangs", ["/api/", "config.json", "model.safetensors"])
def test_a_hub_that_hangs_does_not_hang_a_run(hub, hangs):
    import time

    hub.repos["some/model"], hub.hangs = SINGLE, hangs
    start = time.monotonic()
    assert weights.find("some/model", "auto", 0.5, "bert") is None
    assert time.monotonic() - start < 5


def test_a_directory_that_lacks_a_shard_is_refused_by_name(tmp_path):
    folder = write(tmp_path / "m", SHARDED)
    weights.check_weights(str(folder))
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"the directory 'm' lacks model-2\.safetensors"):
        weights.check_weights(str(folder))


@pytest.mark.parametrize(
    "data", [b"", tensors()[:-1], tensors()[:20], b"version https://git-lfs.github.com/"]
)
def test_weights_that_broke_off_never_count_as_there(tmp_path, data, hub, monkeypatch):
    folder = write(tmp_path / "data" / "models" / "model", {**SINGLE, "model.safetensors": data})
    assert weights.lacking(folder) == ["the end of model.safetensors"]
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path / "data"))
    assert weights.find("some/model", "auto", 5.0, "bert") is None


def test_the_data_folder_comes_before_the_hub(hub, tmp_path, monkeypatch):
    folder = write(tmp_path / "data" / "models" / "model", SHARDED)
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path / "data"))
    assert weights.find("some/model", "auto", 1.0, "bert") == folder and hub.asked == []


def test_the_digest_covers_every_shard(tmp_path):
    folder = write(tmp_path / "m", SHARDED)
    before = weights.digest(folder)
    (folder / "model-2.safetensors").write_bytes(tensors(b"123"))
    assert weights.digest(folder) != before


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (("HF_HUB_CACHE", "HF_HOME", "TRANSFORMERS_CACHE"), "HF_HUB_CACHE"),
        (("HF_HOME", "TRANSFORMERS_CACHE"), "HF_HOME/hub"),
        (("TRANSFORMERS_CACHE", "XDG_CACHE_HOME"), "TRANSFORMERS_CACHE"),
        (("XDG_CACHE_HOME",), "XDG_CACHE_HOME/huggingface/hub"),
        ((), "~/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_library_has_it_and_transformers_cache_still_counts(
    monkeypatch, tmp_path, given, name
):
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "TRANSFORMERS_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in given:
        monkeypatch.setenv(variable, str(tmp_path / variable))
    base = tmp_path / given[0] if given else tmp_path / "home" / ".cache"
    below = name.partition("/")[2].removeprefix(".cache/")
    assert hub_module.cache_name() == name and hub_module.cache_dir() == base / below


BROKEN = {
    "cut": (INDEX[:20], "it is no JSON: "),
    "not UTF-8": (b'{"weight_map": {"\xff": 1}}', "it is no JSON: "),
    "nested": (b"[" * 100_000, "it is no JSON: "),
    "a list": (b"[1]", "it has no weight_map that maps tensors to files"),
    "no weight_map": (b'{"metadata": {}}', "it has no weight_map that maps tensors to files"),
    "empty": (b'{"weight_map": {}}', "it has no weight_map that maps tensors to files"),
    "a weight_map of names": (b'{"weight_map": ["model-1.safetensors"]}', "it has no weight_map that maps"),
    "a shard that is a number": (b'{"weight_map": {"a": 1}}', "a is in 1, which names no safetensors file"),
    "a shard that is none": (b'{"weight_map": {"a": null}}', "a is in None, which names no safetensors file"),
    "a pickle": (b'{"weight_map": {"a": "m.bin"}}', "a is in 'm.bin', which names no safetensors file"),
    "a folder above": (b'{"weight_map": {"a": "../b.safetensors"}}', "'../b.safetensors', which leaves the"),
    "a folder above below": (b'{"weight_map": {"a": "c/../../b.safetensors"}}', "which leaves the directory"),
    "absolute": (b'{"weight_map": {"a": "/etc/b.safetensors"}}', "'/etc/b.safetensors', which leaves the"),
    "a folder above on Windows": (
        b'{"weight_map": {"a": "..\\\\b.safetensors"}}',
        "which leaves the directory",
    ),
    "a NUL": (b'{"weight_map": {"a": "\\u0000.safetensors"}}', "which leaves the directory"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_index_is_named_with_what_is_wrong_and_never_counts_as_a_model(
    tmp_path, name, hub, monkeypatch
):
    data, why = BROKEN[name]
    outside = tmp_path / "data" / "models" / "b.safetensors"
    folder = write(outside.parent / "model", {**SHARDED, "model.safetensors.index.json": data})
    outside.write_bytes(tensors())
    with pytest.raises(ConfigError) as caught:
        weights.check_weights(str(folder))
    start = "model.weights: the directory 'model' lacks a sound model.safetensors.index.json ("
    assert str(caught.value).startswith(start) and why in str(caught.value)
    assert str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path / "data"))
    assert weights.find("some/model", "auto", 1.0, "bert") is None
    with pytest.raises(MissingResource, match=r"incomplete: it lacks a sound model\.safetensors\.index"):
        weights.find("some/model", "pretrained", 1.0, "bert")


def test_shards_may_lie_in_a_folder_below(tmp_path):
    index = json.dumps({"weight_map": {"a": "parts/model-1.safetensors"}}).encode()
    folder = write(tmp_path / "m", {"config.json": b"{}", "model.safetensors.index.json": index})
    assert weights.lacking(folder) == ["parts/model-1.safetensors"]
    write(folder / "parts", {"model-1.safetensors": tensors()})
    assert weights.lacking(folder) == [] and len(weights.digest(folder)) == 64


@pytest.mark.parametrize("offsets", [[0, "x"], [0, None], [0], {}, 3, [0, 1e400]])
def test_a_shard_whose_header_makes_no_sense_does_not_count(tmp_path, offsets):
    header = json.dumps({"a": {"dtype": "U8", "shape": [3], "data_offsets": offsets}}).encode()
    folder = write(
        tmp_path / "m", {**SINGLE, "model.safetensors": len(header).to_bytes(8, "little") + header}
    )
    assert weights.lacking(folder) == ["the end of model.safetensors"]
