"""Where trained weights are found: a named directory, ICD_DATA_DIR, the hub's cache, the hub.

Weights are safetensors only. ``auto`` never waits long: where no trained weights can be had within
seconds, the caller builds random ones and says so.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from icd.errors import ConfigError, MissingResource

NEEDED = ("config.json", "model.safetensors")
WANTED = (*NEEDED, "tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


def check_weights(value: str) -> None:
    """ConfigError unless ``value`` is auto, pretrained, random or a directory that holds a model."""
    if value in ("auto", "pretrained", "random"):
        return
    folder = Path(value)
    if not folder.is_dir():
        raise ConfigError(
            f"model.weights={value!r}: expected auto, pretrained, random or a directory "
            f"with {', '.join(NEEDED)}"
        )
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"model.weights: the directory {folder.name!r} lacks {' and '.join(missing)}")


def find(repo: str, weights: str, timeout_s: float) -> Path | None:
    """The directory of the trained weights of ``repo``, or None where ``weights`` allows random ones.

    Raises `MissingResource` for ``pretrained`` weights that are nowhere.
    """
    if weights == "random":
        return None
    if weights not in ("auto", "pretrained"):
        return Path(weights)
    name = repo.rpartition("/")[2]
    looked = []
    if "ICD_DATA_DIR" in os.environ:
        folder = Path(os.environ["ICD_DATA_DIR"]) / "models" / name
        if all((folder / file).is_file() for file in NEEDED):
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

    paths = [try_to_load_from_cache(repo, name) for name in NEEDED]
    if all(isinstance(path, str) for path in paths):
        return Path(str(paths[0])).parent, ""
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return None, "HF_HUB_OFFLINE is set"
    if not hub_answers(timeout_s):
        return None, f"the hub did not answer within {timeout_s:g} s"
    folder: Path | None = None
    for name in WANTED:
        try:
            folder = Path(hf_hub_download(repo, name, etag_timeout=timeout_s)).parent
        except (OSError, ValueError) as error:
            if name in NEEDED:
                return None, f"{type(error).__name__}: the hub did not answer"
    return folder, ""


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
