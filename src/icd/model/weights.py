"""Where trained weights are found: a named directory, ICD_DATA_DIR, the hub's cache, the hub.

Weights are safetensors only, in one file or in shards with an index. ``auto`` never waits long: where no
trained weights can be had within seconds, the caller builds random ones and says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from icd.errors import ConfigError, MissingResource

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


def check_weights(value: str) -> None:
    """ConfigError unless ``value`` is auto, pretrained, random or a directory that holds a model."""
    if value in ("auto", "pretrained", "random"):
        return
    folder = Path(value)
    if not folder.is_dir():
        raise ConfigError(
            f"model.weights={value!r}: expected auto, pretrained, random or a directory "
            f"with {CONFIG} and {SINGLE}"
        )
    missing = lacking(folder)
    if missing:
        raise ConfigError(f"model.weights: the directory {folder.name!r} lacks {' and '.join(missing)}")


def lacking(folder: Path) -> list[str]:
    """The files that ``folder`` would need to hold a model and does not."""
    needed = [CONFIG, *(weight_files(folder) or [SINGLE])]
    return [name for name in needed if not (folder / name).is_file()]


def weight_files(folder: Path) -> list[str]:
    """Names of the weight files of ``folder``: the one, or the shards that the index lists; else none."""
    if (folder / SINGLE).is_file():
        return [SINGLE]
    if not (folder / INDEX).is_file():
        return []
    return shards(folder / INDEX)


def shards(index: Path) -> list[str]:
    """Names of the shards that an index file lists."""
    return sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))


def digest(folder: Path) -> str:
    """SHA-256 over the weight files of ``folder``, in the order of their names."""
    total = hashlib.sha256()
    for name in weight_files(folder):
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 24):
                total.update(block)
    return total.hexdigest()


def find(repo: str | None, weights: str, timeout_s: float) -> Path | None:
    """The directory of the trained weights of ``repo``, or None where ``weights`` allows random ones.

    ``repo`` None: no trained weights of this shape are published.

    Raises `MissingResource` for ``pretrained`` weights that are nowhere.
    """
    if weights == "random":
        return None
    if weights not in ("auto", "pretrained"):
        return Path(weights)
    if repo is None:
        if weights == "auto":
            return None
        raise MissingResource(
            "model.weights=pretrained: no trained weights of this shape are published; "
            "name a directory with model.weights=DIR, or use model.weights=random"
        )
    name = repo.rpartition("/")[2]
    looked = []
    if "ICD_DATA_DIR" in os.environ:
        folder = Path(os.environ["ICD_DATA_DIR"]) / "models" / name
        if folder.is_dir() and not lacking(folder):
            return folder
        looked.append(f"ICD_DATA_DIR/models/{name}")
    found, reason = _from_hub(repo, timeout_s)
    if found is not None or weights == "auto":
        return found
    looked.append(f"the hub and its cache ({reason})")
    raise MissingResource(
        f"model.weights=pretrained: no trained weights of {repo} in {' or '.join(looked)}; "
        "name a directory with model.weights=DIR, or use model.weights=random"
    )


def _from_hub(repo: str, timeout_s: float) -> tuple[Path | None, str]:
    """The cached snapshot, filled from the hub where it answers within ``timeout_s``."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repo, CONFIG)
    if isinstance(cached, str) and not lacking(Path(cached).parent):
        return Path(cached).parent, ""
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return None, "HF_HUB_OFFLINE is set"
    if not hub_answers(timeout_s):
        return None, f"the hub did not answer within {timeout_s:g} s"

    def download(name: str) -> Path:
        return Path(hf_hub_download(repo, name, etag_timeout=timeout_s))

    try:
        folder = download(CONFIG).parent
        for name in _published_weights(download):
            download(name)
    except (OSError, ValueError) as error:
        return None, f"{type(error).__name__}: the hub did not answer"
    for name in TOKENIZER:
        try:
            download(name)
        except (OSError, ValueError):  # a tokenizer has some of these files
            continue
    return folder, ""


def _published_weights(download: Callable[[str], Path]) -> list[str]:
    """Names of the weight files of a repository: its shards where it has an index, else the one file."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return shards(download(INDEX))
    except EntryNotFoundError:
        return [SINGLE]


def hub_answers(timeout_s: float) -> bool:
    """Whether the hub accepts a connection within ``timeout_s``; taken for granted behind a proxy.

    Its client retries for half a minute where there is no network, which is no way to find that out.
    """
    from huggingface_hub.constants import ENDPOINT

    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    url = urlsplit(ENDPOINT)
    try:
        with socket.create_connection((url.hostname, url.port or 443), timeout=timeout_s):
            return True
    except OSError:
        return False
