"""What a fetched model is, in ``icd-manifest.json`` beside its files.

``{schema, model, repository, revision, licence, sha256, files: [{name, bytes, sha256}]}``; ``sha256`` is that
of the weight files one behind the other, as in a run's record; what is not known is null.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from icd.errors import VerificationError
from icd.model.hub import CONFIG, INDEX, TOKENIZER
from icd.model.weights import MANIFEST, digest, sha256, weight_files
from icd.pipeline.files import write_json
from icd.reading import read_json

SCHEMA = "icd.model/1"


def describe(
    folder: Path, *, model: str, repository: str, revision: str | None, licence: str | None
) -> dict[str, Any]:
    """The manifest of the model in ``folder``, which is complete."""
    names = [CONFIG, *TOKENIZER, INDEX, *weight_files(folder)]
    files = [folder / name for name in names if (folder / name).is_file()]
    return {
        "schema": SCHEMA,
        "model": model,
        "repository": repository,
        "revision": revision,
        "licence": licence,
        "sha256": digest(folder),
        "files": [{"name": f.name, "bytes": f.stat().st_size, "sha256": sha256([f])} for f in files],
    }


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Through a temporary name."""
    write_json(folder / MANIFEST, manifest)


def read(folder: Path) -> dict[str, Any]:
    """The manifest in ``folder``; VerificationError where it cannot be read."""
    try:
        manifest = read_json(folder / MANIFEST)
        if manifest["schema"] != SCHEMA or not all(is_entry(entry) for entry in manifest["files"]):
            raise ValueError(manifest["schema"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VerificationError(f"{MANIFEST} cannot be read; expected {SCHEMA} in {folder}") from error
    return dict(manifest)


def is_entry(entry: Any) -> bool:
    """Whether ``entry`` names a file of the folder itself, its bytes and its digest."""
    name, size, told = (entry.get(key) for key in ("name", "bytes", "sha256"))
    plain = isinstance(name, str) and name == Path(name).name
    return plain and isinstance(size, int) and isinstance(told, str)


def changed(folder: Path) -> list[str]:
    """What differs between the files in ``folder`` and their manifest, a clause each."""
    out = []
    for entry in read(folder)["files"]:
        path = folder / entry["name"]
        if not path.is_file():
            out.append(f"{entry['name']} vanished")
        elif path.stat().st_size != entry["bytes"] or sha256([path]) != entry["sha256"]:
            out.append(f"{entry['name']} was changed")
    return out
