"""From a composed Hydra configuration to frozen dataclasses."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from icd.choices import conf_dir as conf_dir
from icd.choices import did_you_mean as did_you_mean
from icd.errors import ConfigError, IcdError
from icd.named import check_names, check_texts
from icd.own import named_class
from icd.pipeline.experiment import Experiment
from icd.ranges import check_ranges

SCALARS: dict[str, str] = {
    "sparsity": "a number from 0 to 0.95",
    "seq_len": "null or a whole number from 1 to 1048576",
    "batch_size": "null or a whole number from 1 to 65536",
    "seed": "a whole number from 0 to 2147483647",
    "device": "auto, cpu, cuda or cuda:N",
    "on_missing": "fail or simulate",
}
LARGEST = sys.float_info.max
GROUPS = (
    "model",
    "graph",
    "solver",
    "transform",
    "precision",
    "runtime",
    "measure",
    "quality",
    "hardware",
    "pipeline",
    "gate",
    "tracking",
    "bridge",
)


def check(cfg: DictConfig) -> Experiment:
    """The experiment that ``cfg`` describes, after every key, type, range and combination was checked.

    Imports no framework and builds no model. Raises `ConfigError` for what cannot be run as written
    and `MissingResource` for a package or model that is not there.
    """
    tree = plain(cfg)
    check_texts(tree)
    _check_keys(tree)
    _check_scalars(tree)
    for group in GROUPS:
        _check_node(group, tree[group])
    check_names(tree, _chosen(cfg))
    experiment = build(cfg)
    for group in GROUPS:
        check_ranges(group, tree[group])
    experiment.check()
    return experiment


def _chosen(cfg: DictConfig) -> Mapping[str, Any]:
    """The choice of every group; empty without Hydra's own node, as in a cell that was checked before."""
    return cfg.hydra.runtime.choices if "hydra" in cfg else {}


def plain(cfg: DictConfig) -> dict[str, Any]:
    """``cfg`` resolved to builtin containers, without Hydra's own node."""
    with_hydra_left_out = OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k != "hydra"])
    try:
        tree = OmegaConf.to_container(with_hydra_left_out, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key} has no value; give it one: {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"the configuration does not resolve: {str(error).splitlines()[0]}") from error
    return typing.cast("dict[str, Any]", tree)


def build(cfg: DictConfig) -> Experiment:
    """Build every group's dataclass; expects a configuration that `check` has seen."""
    tree = plain(cfg)
    parts = {group: built(group, tree[group]) for group in GROUPS}
    return Experiment(**parts, gates=load_gates(), lock=tree, **{key: tree[key] for key in SCALARS})


def built(group: str, node: Mapping[str, Any]) -> Any:
    """The dataclass that a group's node names, of the node's values as they are.

    Hydra's ``instantiate`` would resolve them once more, and a text may hold a literal ``${``.
    """
    fields = {key: value for key, value in node.items() if key != "_target_"}
    try:
        return named_class(group, node["_target_"])(**fields)
    except IcdError:
        raise
    except Exception as error:  # a class of the user's own, which may raise anything
        check_ranges(group, node)  # or a number that the class divides by
        raise ConfigError(f"{group}: {type(error).__name__}: {error}") from error


def load_gates() -> dict[str, Any]:
    """Every gate of ``conf/gate`` by name: all are evaluated, ``gate=`` only decides the exit code."""
    files = sorted((conf_dir() / "gate").glob("*.yaml"))
    nodes = {file.stem: OmegaConf.to_container(OmegaConf.load(file), resolve=True) for file in files}
    return {name: built("gate", typing.cast("dict[str, Any]", node)) for name, node in nodes.items()}


def _check_keys(tree: Mapping[str, Any]) -> None:
    known = {*SCALARS, *GROUPS}
    for key in tree:
        if key not in known:
            raise ConfigError(
                f"unknown key {key!r}.{did_you_mean(key, known)} `python -m icd --cfg job` lists all"
            )
    missing = sorted(known - set(tree))
    if missing:
        raise ConfigError(f"the configuration lacks {', '.join(missing)}")


def _check_scalars(tree: Mapping[str, Any]) -> None:
    def whole(value: Any, low: int, high: int) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    def is_device(value: Any) -> bool:
        head, _, tail = str(value).partition(":")
        return value in ("auto", "cpu", "cuda") or (head == "cuda" and tail.isdigit())

    number = isinstance(tree["sparsity"], (int, float)) and not isinstance(tree["sparsity"], bool)
    fine = {
        "sparsity": number and 0 <= tree["sparsity"] <= 0.95,
        "seq_len": tree["seq_len"] is None or whole(tree["seq_len"], 1, 2**20),
        "batch_size": tree["batch_size"] is None or whole(tree["batch_size"], 1, 2**16),
        "seed": whole(tree["seed"], 0, 2**31 - 1),
        "device": is_device(tree["device"]),
        "on_missing": tree["on_missing"] in ("fail", "simulate"),
    }
    for key, ok in fine.items():
        if not ok:
            raise ConfigError(f"{key}={tree[key]!r:.200}: expected {SCALARS[key]}")


def _check_node(group: str, node: Any) -> None:
    """Compare one group's node with the fields of the dataclass that it names."""
    if isinstance(node, Mapping) and "_target_" not in node:
        raise ConfigError(
            f"{group}: its YAML lacks the key _target_, which names a dataclass; got {sorted(node)}"
        )
    if not isinstance(node, Mapping):
        raise ConfigError(f"{group}: expected one of {_choices(group)}, got {node!r}")
    cls = named_class(group, node["_target_"])
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls)
    for key, value in node.items():
        if key == "_target_":
            continue
        if key not in fields:
            known = f"{group} knows: {', '.join(fields)}" if fields else f"The chosen {group} has no keys"
            raise ConfigError(f"unknown key '{group}.{key}'.{did_you_mean(key, fields)} {known}")
        if not fits(value, hints[key]):
            raise ConfigError(f"{group}.{key}={value!r:.200}: expected {spell(hints[key])}")
    for key, spec in fields.items():
        no_default = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        if key not in node and no_default:
            raise ConfigError(f"{group}.{key} is missing: expected {spell(hints[key])}")


def _choices(group: str) -> str:
    return ", ".join(sorted(file.stem for file in (conf_dir() / group).glob("*.yaml")))


def fits(value: Any, hint: Any) -> bool:
    """Whether a value read from YAML may stand in a field annotated ``hint``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is typing.Literal:
        return value in args
    if hint is type(None):
        return value is None
    if origin in (tuple, list):
        return isinstance(value, (list, tuple)) and all(fits(item, args[0]) for item in value)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            fits(k, args[0]) and fits(v, args[1]) for k, v in value.items()
        )
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and abs(value) <= LARGEST  # neither infinite nor NaN
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def spell(hint: Any) -> str:
    """A field's annotation in words."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(spell(arg) for arg in args)
    if origin is typing.Literal:
        return "one of " + ", ".join(str(arg) for arg in args)
    if origin in (tuple, list):
        return f"a list of which each entry is {spell(args[0])}"
    if origin is not None:
        return "a mapping"
    words = {
        int: "a whole number",
        float: "a finite number",
        str: "a text",
        bool: "true or false",
        type(None): "null",
    }
    return words.get(hint, str(hint))
