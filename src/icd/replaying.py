"""The command line that repeats a record, with the user's overrides on top.

A lock holds resolved values. Those that follow from others (``${seed}``, a model's own graph) are left to
follow, so that an override reaches all that depends on it; the rest is merged as literals before the
overrides are applied, through a node that no override grammar has to spell.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from icd.choices import conf_dir
from icd.composing import compose_cell
from icd.config import GROUPS, SCALARS, plain
from icd.errors import ConfigError
from icd.own import named_class, with_own_conf
from icd.recording import leaves, spoken
from icd.refusals import sentence, unreadable
from icd.sweeping import expand
from icd.tools.rerun import Record, check_files, read

if TYPE_CHECKING:
    from omegaconf import DictConfig

Key = tuple[str, ...]
Literals = dict[Key, Any]
NODE = ("icd_record", "lock")  # group and name of what the record adds to the composition


def overrides_of(words: Sequence[str]) -> list[str]:
    """The command line that repeats the run directory ``words[0]``; later words override it.

    ConfigError for a record that is more than data or keeps to itself what must be given again,
    MissingResource and VerificationError for files that are not those that the run read.
    """
    from icd.cli import arguments

    if not words or words[0].startswith("-"):
        raise ConfigError("usage: icd rerun RUN [overrides]; expected a run directory first")
    record, extra = read(Path(words[0]), {*GROUPS}, {*SCALARS}), list(words[1:])
    args = arguments(extra)
    conf = conf_dir()
    asked = with_own_conf(conf, args.overrides, args.config_dir)
    search = [word for word in asked if word.startswith("hydra.searchpath=")]
    chosen = explicit(conf, search, record.choices)
    base = compose_cell(conf, [*search, *spelled(chosen)])
    check_targets(record, base, asked)
    masked = {tuple(key.split(".")) for key in record.masked}
    literals, absent = told(record.tree, base, masked)
    given = parsed(asked)
    kept = {group: choice for group, choice in chosen.items() if group not in given}
    changed = other_choices(conf, [*spelled(kept), *asked], bool(args.multirun), record.choices, given)
    check_again(record, {*given, *changed})
    check_files(record, {*given, *changed})
    literals = {
        key: value
        for key, value in literals.items()
        if key[0] not in changed and given.get(".".join(key)) != "add"
    }
    taken = [f"~{'.'.join(key)}" for key in absent if key[0] not in changed and ".".join(key) not in given]
    return [*spelled(kept), *stored(literals), *taken, *extra]


def parsed(overrides: Sequence[str]) -> dict[str, str]:
    """``add``, ``delete`` or ``change`` by the key of each override."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        found = OverridesParser.create().parse_overrides(list(overrides))
    except unreadable() as error:
        raise ConfigError(sentence(error)) from error
    return {o.key_or_group: "add" if o.is_add() else "delete" if o.is_delete() else "change" for o in found}


def spelled(choices: Mapping[str, str]) -> list[str]:
    """Choices as words of a command line."""
    return [f"{group}={choice}" for group, choice in choices.items()]


def explicit(conf: Path, search: Sequence[str], choices: Mapping[str, str]) -> dict[str, str]:
    """As few of ``choices`` as bring the others with them: those of a model are not asked for again."""

    def off(words: Mapping[str, str]) -> list[str]:
        found = compose_cell(conf, [*search, *spelled(words)]).hydra.runtime.choices
        return [group for group, choice in choices.items() if found.get(group) != choice]

    needed: dict[str, str] = {}
    while missing := [group for group in off(needed) if group not in needed]:
        needed |= {group: choices[group] for group in missing}
    for group in sorted(needed, key=lambda group: group == "model"):
        fewer = {key: choice for key, choice in needed.items() if key != group}
        if not off(fewer):
            needed = fewer
    return needed


def check_targets(record: Record, base: DictConfig, overrides: Sequence[str]) -> None:
    """ConfigError where a group names another class than its choice does."""
    given = parsed(overrides)
    for group in (g for g in GROUPS if g in record.tree):
        key, ours, theirs = (
            f"{group}._target_",
            base[group].get("_target_"),
            record.tree[group].get("_target_"),
        )
        if theirs != ours and key not in given and group not in given:
            raise ConfigError(
                f"{key}: the record names {theirs!r:.80} and {group}={record.choices.get(group)} is {ours}; "
                f"if you trust it, say so: {key}=..."
            )


def told(tree: Mapping[str, Any], base: DictConfig, masked: set[Key]) -> tuple[Literals, list[Key]]:
    """What of a record's ``tree`` does not follow from ``base``, its choices composed; and the keys of
    ``base`` that the record does not have. Keys in ``masked`` are left out.
    """
    from omegaconf import DictConfig, OmegaConf

    without_hydra = OmegaConf.masked_copy(base, [str(k) for k in base if k != "hydra"])
    raw = cast("dict[str, Any]", OmegaConf.to_container(without_hydra, resolve=False))
    wanted = {key: value for key, value in flat(tree) if key[1:] != ("_target_",) and key not in masked}
    absent = [key for key, _ in flat(raw) if lacks(tree, key) and not required(raw, key)]
    here = dict(flat(raw))
    literals = {
        key: value
        for key, value in wanted.items()
        if key not in here or not (same(here[key], value) or followed(here[key]))
    }
    while True:
        trial = OmegaConf.create(raw)
        assert isinstance(trial, DictConfig)
        for key in absent:
            drop(trial, key)
        try:
            merged = DictConfig(OmegaConf.merge(trial, nested({**blank(masked), **literals})))
        except unreadable() as error:
            raise ConfigError(f"the record does not fit its choices: {sentence(error)}") from error
        got = dict(flat(plain(merged)))
        wrong = {k: v for k, v in wanted.items() if k not in literals and not same(got.get(k), unspelled(v))}
        if not wrong:
            return literals, absent
        literals |= wrong


def flat(tree: Any, prefix: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Keys and values; a list and an empty mapping are one value."""
    if not isinstance(tree, Mapping) or not tree:
        yield prefix, tree
        return
    for key, value in tree.items():
        yield from flat(value, (*prefix, key))


def nested(literals: Mapping[Key, Any]) -> dict[str, Any]:
    """The mapping of mappings that `flat` takes apart."""
    out: dict[str, Any] = {}
    for key, value in literals.items():
        at = out
        for name in key[:-1]:
            at = at.setdefault(name, {})
        at[key[-1]] = value
    return out


def blank(masked: set[Key]) -> Literals:
    """Values to compose with where the record has none."""
    return dict.fromkeys(masked)


def same(one: Any, other: Any) -> bool:
    """Whether two values are one in JSON: 1 is neither 1.0 nor true."""
    return json.dumps(one) == json.dumps(other)


def followed(value: Any) -> bool:
    """Whether a value of a YAML is made from others."""
    return isinstance(value, str) and "${" in value


def unspelled(value: Any) -> Any:
    """A recorded value as it was."""
    if isinstance(value, list):
        return [unspelled(v) for v in value]
    if isinstance(value, Mapping):
        return {k: unspelled(v) for k, v in value.items()}
    return spoken(value) if isinstance(value, str) else value


def lacks(tree: Any, key: Key) -> bool:
    """Whether a mapping of ``tree`` on the way to ``key`` does not have the next name."""
    for name in key:
        if not isinstance(tree, Mapping):
            return False
        if name not in tree:
            return True
        tree = tree[name]
    return False


def required(raw: Mapping[str, Any], key: Key) -> bool:
    """Whether a key may not be left out: scalars, classes, and fields without a default."""
    if len(key) < 2 or key[1] == "_target_":
        return True
    fields = dataclasses.fields(named_class(key[0], raw[key[0]]["_target_"]))
    return len(key) == 2 and any(
        f.name == key[1] and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        for f in fields
    )


def drop(tree: DictConfig, key: Key) -> None:
    """Take ``key`` out."""
    at = tree
    for name in key[:-1]:
        at = at[name]
    del at[key[-1]]


def other_choices(
    conf: Path, overrides: list[str], multirun: bool, choices: Mapping[str, str], given: Mapping[str, str]
) -> set[str]:
    """Groups whose choice is another than in the record, by ``overrides`` or by what these bring along.

    ConfigError where they are not the same in every cell of a sweep: a record's values belong to its choice.
    """
    if all("." in key or key in SCALARS for key in given):
        return set()
    found = []
    for cell in expand(conf, overrides, multirun):
        now = compose_cell(conf, cell).hydra.runtime.choices
        found.append({group for group, choice in choices.items() if now.get(group) != choice})
    for groups in found[1:]:
        if groups != found[0]:
            which = ", ".join(sorted(groups ^ found[0]))
            raise ConfigError(
                f"a rerun keeps the values of a choice, and the cells differ in {which} from the record; "
                "rerun once for each choice"
            )
    return found[0] if found else set()


def check_again(record: Record, given: set[str]) -> None:
    """ConfigError for values that the record does not tell and nobody gave."""

    def is_given(key: str) -> bool:
        parts = key.split(".")
        return any(".".join(parts[:k]) in given for k in range(1, len(parts) + 1))

    values = dict(leaves(record.tree))
    missing = [key for key in record.masked if not is_given(key)]
    if not missing:
        return
    told = [
        f"{key} was {value.partition('#')[0] if isinstance(value, str) else 'a list'}"
        for key, value in ((key, values.get(key)) for key in missing)
    ]
    also = ", or tracking=none" if all(key.startswith("tracking.") for key in missing) else ""
    raise ConfigError(
        f"{', '.join(told)}: a record holds neither folders nor secrets; give it again: "
        f"{' '.join(f'{key}=VALUE' for key in missing)}{also}"
    )


def stored(literals: Literals) -> list[str]:
    """Keep ``literals`` where Hydra composes from, in this process and its launchers'; the word for it."""
    from hydra.core.config_store import ConfigStore

    if not literals:
        return []
    group, name = NODE
    ConfigStore.instance().store(group=group, name=name, node=nested(literals), package="_global_")
    return [f"+{group}={name}"]
