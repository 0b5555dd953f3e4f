"""Where trained weights are found: a named directory, ICD_DATA_DIR, the hub's cache, the hub.

Weights are safetensors only, in one file or in shards with an index. ``auto`` never waits long: where no
trained weights can be had within seconds, the caller builds random ones and says so.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from icd.errors import ConfigError, MissingResource, first_line
from icd.model.hub import CONFIG, INDEX, SINGLE, HubError, cache_name, cached, download

MANIFEST = "icd-manifest.json"  # what `icd fetch` writes beside a model


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
    try:
        needed = [CONFIG, *(weight_files(folder) or [SINGLE])]
    except BrokenIndex as error:
        return [f"a sound {INDEX} ({error})"]
    out = [name for name in needed if not (folder / name).is_file()]
    return out or [f"the end of {name}" for name in needed[1:] if cut_short(folder / name)]


def cut_short(file: Path) -> bool:
    """Whether a safetensors file is shorter than its header says: a download that broke off, or a pointer.

    The format: eight bytes with the header's length, a JSON header with ``data_offsets``, the tensors.
    """
    with file.open("rb") as data:
        length = int.from_bytes(data.read(8), "little")
        size = file.stat().st_size
        if 8 + length > size:
            return True
        try:
            header = json.loads(data.read(length))
            ends = [int(t["data_offsets"][1]) for k, t in header.items() if k != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError):
            return True
    return 8 + length + max(ends, default=0) > size


def weight_files(folder: Path) -> list[str]:
    """Names of the weight files of ``folder``: the one, or the shards that the index lists; else none.

    BrokenIndex where the index cannot be read.
    """
    if (folder / SINGLE).is_file():
        return [SINGLE]
    if not (folder / INDEX).is_file():
        return []
    return shards(folder / INDEX)


def shape_of(weights: str, shape: Mapping[str, int]) -> dict[str, int]:
    """``shape``, or what the configuration in the directory ``weights`` says of a model."""
    if weights in ("auto", "pretrained", "random"):
        return dict(shape)
    given = configuration(Path(weights))
    return {**shape, **{key: value for key, value in given.items() if isinstance(value, int)}}


def configuration(folder: Path) -> dict[str, Any]:
    """What the model in ``folder`` says of itself; ConfigError where that is no JSON object."""
    try:
        return dict(json.loads((folder / CONFIG).read_text("utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"model.weights: {CONFIG} in the directory {folder.name!r} is no JSON") from error


class BrokenIndex(ConfigError):
    """Why an index file lists no shards: a clause, which whoever catches it completes."""


def shards(index: Path) -> list[str]:
    """Names of the shards that an index file lists, all of them below the index's own folder."""
    try:
        given = json.loads(index.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BrokenIndex(f"it is no JSON: {first_line(error)}") from error
    listed = given.get("weight_map") if isinstance(given, dict) else None
    if not isinstance(listed, dict) or not listed:
        raise BrokenIndex("it has no weight_map that maps tensors to files")
    for tensor, name in listed.items():
        if not isinstance(name, str) or not name.endswith(".safetensors"):
            raise BrokenIndex(f"{tensor} is in {repr(name)[:60]}, which names no safetensors file")
        if (
            "\\" in name
            or "\0" in name
            or PurePosixPath(name).is_absolute()
            or ".." in PurePosixPath(name).parts
        ):
            raise BrokenIndex(f"{tensor} is in {name[:60]!r}, which leaves the directory")
    return sorted(set(listed.values()))


def digest(folder: Path) -> str:
    """SHA-256 over the weight files of ``folder``, in the order of their names."""
    return sha256(folder / name for name in weight_files(folder))


def sha256(files: Iterable[Path]) -> str:
    """Hex digest of the contents of ``files``, one behind the other."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                total.update(block)
    return total.hexdigest()


def data_folder(repo: str) -> Path | None:
    """Where ICD_DATA_DIR keeps the model of ``repo``; None without that variable."""
    base = os.environ.get("ICD_DATA_DIR")
    return Path(base) / "models" / repo.rpartition("/")[2] if base else None


def here(repo: str) -> tuple[Path | None, list[str]]:
    """The directory on this machine that holds all of ``repo``'s model, or None; and where it was looked for.

    ICD_DATA_DIR first, then the hub's cache; the places as the variables that name them.
    """
    places = [(data_folder(repo), f"ICD_DATA_DIR/models/{repo.rpartition('/')[2]}")]
    places.append((cached(repo), cache_name()))
    if places[0][0] is None:
        del places[0]
    for folder, _ in places:
        if folder is not None and folder.is_dir() and not lacking(folder):
            return folder, []
    return None, [
        f"{name} (incomplete: it lacks {' and '.join(lacking(folder))})"
        if folder is not None and folder.is_dir()
        else name
        for folder, name in places
    ]


def origin(folder: Path, repo: str | None, licences: Mapping[str, str]) -> tuple[str, str | None]:
    """Whose weights ``folder`` holds, and their licence: what its manifest says, or that they lie where
    those of ``repo`` do. ``licences`` may know what the manifest does not. Of any other directory its name
    alone is known.
    """
    try:
        known = json.loads((folder / MANIFEST).read_text("utf-8"))
        return str(known["repository"]), known["licence"] or licences.get(known["repository"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    if repo is not None and folder in (data_folder(repo), cached(repo)):
        return repo, licences.get(repo)
    return folder.resolve().name, None


def find(repo: str | None, weights: str, timeout_s: float, model: str) -> Path | None:
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
    folder, looked = here(repo)
    if folder is not None:
        return folder
    try:
        folder, _ = download(repo, None, timeout_s)
        if not lacking(folder):
            return folder
        reason = f"it lacks {' and '.join(lacking(folder))}"
    except HubError as error:
        reason = str(error)
    if weights == "auto":
        return None
    raise MissingResource(
        f"model.weights=pretrained: no trained weights of {repo} in {', in '.join(looked)}, or from the hub "
        f"({reason}); fetch them where there is a network: icd fetch model={model}; "
        "or name a directory with model.weights=DIR, or use model.weights=random"
    )
