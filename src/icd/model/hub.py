"""The hub that publishes trained weights, and its cache on this machine.

Which cache: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, then TRANSFORMERS_CACHE (the library gave it
up; it still counts here, after HF_HOME), else XDG_CACHE_HOME or ~/.cache with huggingface/hub in it. Where
HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, nothing here opens a connection.

A hub that says nothing ends a download: no file grew for ``silence_s``. Files come whole or not at all, the
weights last, so that a folder which holds all its weight files also holds a tokenizer.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Any
from urllib.parse import urlsplit

from icd.model.watched import watched

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
)
CACHES = (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub"), ("TRANSFORMERS_CACHE", ""))
GIB = 1 << 30


class HubError(Exception):
    """Why nothing came from the hub: a clause without paths, for the record."""


@dataclass(frozen=True)
class Published:
    """What the hub says of a repository; ``sizes`` (bytes) and ``sha256`` only of files that it tells of."""

    revision: str | None
    licence: str | None
    files: tuple[str, ...]
    sizes: Mapping[str, int]
    sha256: Mapping[str, str]

    def wanted(self) -> list[str]:
        """Configuration and tokenizer, then the weights: one file, or the index and its shards."""
        weights = [SINGLE] if SINGLE in self.files else []
        if not weights and INDEX in self.files:
            shards = [f for f in self.files if f.startswith("model-") and f.endswith(".safetensors")]
            weights = [INDEX, *shards]
        if CONFIG not in self.files or not weights:
            raise HubError(f"the repository does not publish {CONFIG} and safetensors")
        return [CONFIG, *(name for name in TOKENIZER if name in self.files), *weights]


def offline() -> str | None:
    """The variable that forbids the network, if one does."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() not in ("", "0", "OFF", "NO", "FALSE"):
            return name
    return None


def endpoint() -> str:
    """Address of the hub."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def host() -> str:
    """The hub's host for messages: without user or path, and the variable that names it if one does."""
    address = endpoint().partition("://")[2] or endpoint()
    name = address.partition("/")[0].rpartition("@")[2]
    return f"{name}{' (HF_ENDPOINT)' if os.environ.get('HF_ENDPOINT') else ''}"


def cache_name() -> str:
    """The cache's directory as the variable that names it, for messages and records."""
    for name, below in CACHES:
        if os.environ.get(name):
            return f"{name}/{below}".rstrip("/")
    return f"{'XDG_CACHE_HOME' if os.environ.get('XDG_CACHE_HOME') else '~/.cache'}/huggingface/hub"


def cache_dir() -> Path:
    """The directory that `cache_name` names."""
    head, _, below = cache_name().partition("/")
    base = os.environ.get(head) or "~"
    return Path(os.path.expandvars(os.path.expanduser(base))) / below


def cached(repo: str) -> Path | None:
    """The snapshot of ``repo`` in the cache that its branch main points to, however much of it is there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo, CONFIG, cache_dir=cache_dir())
    return Path(path).parent if isinstance(path, str) else None


def download(repo: str, folder: Path | None, silence_s: float) -> tuple[Path, Published]:
    """Configuration, tokenizer and weights of ``repo`` in ``folder``, or (None) in the cache.

    Raises `HubError` where that did not come to pass, in any case ``silence_s`` after the last sign of life.
    """
    name = offline()
    if name:
        raise HubError(f"{name} is set")
    grows = folder or cache_dir() / f"models--{repo.replace('/', '--')}"
    try:
        return watched(lambda: _download(repo, folder, silence_s), grows, silence_s)
    except TimeoutError as error:
        raise HubError(f"the hub was silent for {silence_s:g} s") from error


def _download(repo: str, folder: Path | None, silence_s: float) -> tuple[Path, Published]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    transport: Any = HfHubHTTPError.__bases__[0]  # HTTPError of the client that this version uses
    hub, cache = endpoint(), cache_dir()
    logging.getLogger("huggingface_hub").setLevel(
        logging.ERROR
    )  # what is tried again is told once, by whoever catches the error
    try:
        known = published(repo, silence_s)
        names = known.wanted()
        _check_space(known, names, folder or cache)
        paths = [
            hf_hub_download(
                repo,
                file,
                endpoint=hub,
                etag_timeout=silence_s,
                cache_dir=cache,
                local_dir=folder,
            )
            for file in names
        ]
    except RepositoryNotFoundError as error:
        raise HubError(f"the hub knows no repository {repo}, or wants a login for it") from error
    except (OSError, ValueError, transport) as error:
        said = getattr(error, "strerror", None)
        raise HubError(f"{type(error).__name__}{f': {said}' if said else ''}") from error
    return Path(paths[0]).parent, known


def published(repo: str, timeout_s: float) -> Published:
    """One request to the hub."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=endpoint()).model_info(repo, timeout=timeout_s, files_metadata=True)
    files = info.siblings or []
    return Published(
        revision=info.sha,
        licence=info.card_data.get("license") if info.card_data else None,
        files=tuple(f.rfilename for f in files),
        sizes={f.rfilename: f.size for f in files if f.size is not None},
        sha256={f.rfilename: f.lfs.sha256 for f in files if f.lfs is not None},
    )


def _check_space(known: Published, names: Sequence[str], folder: Path) -> None:
    need = sum(known.sizes.get(name, 0) for name in names)
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = disk_usage(there).free
    if need > free:
        raise HubError(
            f"{need / GIB:.1f} GiB are to be fetched and {free / GIB:.1f} GiB of the disk are free"
        )


def hub_answers(timeout_s: float) -> bool:
    """Whether the hub accepts a connection within ``timeout_s``; taken for granted behind a proxy."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    url = urlsplit(endpoint())
    port = url.port or (80 if url.scheme == "http" else 443)
    try:
        with socket.create_connection((url.hostname, port), timeout=timeout_s):
            return True
    except OSError:
        return False
