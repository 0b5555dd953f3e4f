"""A rerun: the same lock without overrides, overrides that reach everything, and a record that is data."""

from __future__ import annotations

import hashlib
import json
import random

import pytest

from icd import replaying
from icd.cli import compose_cell
from icd.config import GROUPS, check, conf_dir
from icd.errors import ConfigError, MissingResource, VerificationError
from icd.pipeline.run import write_lock
from icd.recording import recorded
from icd.replaying import overrides_of

LOCK = "config.lock.json"
OWN = """
from dataclasses import dataclass, field

@dataclass(frozen=True)
class Notes:
    one: str = ""
    many: list[str] = field(default_factory=list)
    keyed: dict[str, str] = field(default_factory=dict)
    number: int = 0
"""


def composed(words):
    """The experiment of a command line, and its choices."""
    cfg = compose_cell(conf_dir(), list(words))
    return check(cfg), {group: cfg.hydra.runtime.choices[group] for group in GROUPS}


def run(folder, *words):
    """A run directory that holds a lock alone, and the lock."""
    folder.mkdir()
    write_lock(folder, *composed(words))
    return folder, (folder / LOCK).read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The lock of a small run with everything else at its default."""
    return run(tmp_path_factory.mktemp("small") / "first", *SMALL)[1]


@pytest.fixture(scope="module", autouse=True)
def _explicit_once():
    """Which choices bring the others with them is found once for each record: it takes many compositions."""
    plain, memo = replaying.explicit, {}

    def cached(conf, search, choices):
        key = repr((conf, search, sorted(choices.items())))
        if key not in memo:
            memo[key] = plain(conf, search, choices)
        return dict(memo[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replaying, "explicit", cached)
        yield


def again(folder, source, *overrides):
    """The lock of a rerun of ``source``."""
    return run(folder, *overrides_of([str(source), *overrides]))


SMALL = ("measure=smoke", "tracking=none")
COMMANDS = {
    "defaults": (),
    "settings": (*SMALL, "model.layers=2", "solver.max_proposals=7", "transform.groups=[neurons]"),
    "own_seed": (*SMALL, "transform.seed=3", "graph.per_row=5", "precision=int8", "precision.group_size=32"),
    "no_transform": (*SMALL, "transform=none", "graph=synthetic", "hardware=h200", "pipeline=linear"),
    "trace": (*SMALL, "model=trace", "gate=mock", "hardware=mock"),
    "left_out": (*SMALL, "~transform.recover", "+precision.group_size=64", "seed=5", "sparsity=0.25"),
    "mamba": (*SMALL, "model=mamba_tiny", "batch_size=3", "model.seq_len=32"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_rerun_without_overrides_has_the_same_lock_byte_for_byte(name, tmp_path):
    first, lock = run(tmp_path / "first", *COMMANDS[name])
    assert again(tmp_path / "second", first)[1] == lock


@pytest.mark.parametrize(
    "override",
    [
        "sparsity=0.8", "seq_len=16", "batch_size=2", "seed=7", "device=cpu", "on_missing=fail",
        "solver=louvain", "precision=fp8", "model=trace",
    ],
)  # fmt: skip
def test_an_override_reaches_what_the_same_word_would_reach_on_the_first_command_line(
    override, source, tmp_path
):
    """Of a rerun, as of the first run; ``wanted`` is composed by Hydra alone."""
    words = () if override.startswith("solver=") else ("solver.alpha=0.5",)
    _, wanted = run(tmp_path / "wanted", "tracking=none", *words, override)
    assert again(tmp_path / "got", source, override)[1] == wanted


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run that was run again once."""
    folder = tmp_path_factory.mktemp("source")
    first, _ = run(folder / "first", "tracking=none", "solver.alpha=0.5")
    return again(folder / "second", first)[0]


def test_several_overrides_at_once_change_every_leaf_that_follows_and_nothing_else(tmp_path):
    source, lock = run(tmp_path / "first", *SMALL, "model.layers=2")
    _, got = again(tmp_path / "got", source, "seed=7", "sparsity=0.8", "batch_size=2", "seq_len=16")
    before, after = json.loads(lock), json.loads(got)
    assert (after["seed"], after["solver"]["seed"], after["transform"]["seed"], after["model"]["seed"]) == (
        7, 7, 7, 7
    )  # fmt: skip
    assert after["sparsity"] == after["transform"]["sparsity"] == 0.8
    assert (after["batch_size"], after["model"]["batch_size"]) == (2, 2)
    assert (after["seq_len"], after["model"]["seq_len"]) == (16, 16)
    for group in ("graph", "measure", "hardware", "pipeline", "gate", "choices"):
        assert after[group] == before[group]
    assert after["model"]["layers"] == 2


def test_a_leaf_that_was_set_apart_stays_apart(tmp_path):
    source, _ = run(tmp_path / "first", *SMALL, "transform.seed=3")
    _, got = again(tmp_path / "got", source, "seed=7")
    assert json.loads(got)["transform"]["seed"] == 3 and json.loads(got)["solver"]["seed"] == 7


def test_the_values_of_a_choice_go_with_it_and_those_of_others_stay(tmp_path):
    source, _ = run(tmp_path / "first", *SMALL, "model.layers=2", "graph.per_row=5", "solver.mu=0.25")
    _, got = again(tmp_path / "got", source, "model=distilbert")
    found = json.loads(got)
    assert found["choices"]["graph"] == "activation" and found["choices"]["hardware"] == "auto"
    assert found["graph"]["per_row"] == 64 and found["solver"]["mu"] == 0.25
    _, same = again(tmp_path / "same", source, "model=mock")
    assert json.loads(same)["model"]["layers"] == 2
    with pytest.raises(ConfigError, match="rerun once for each choice"):
        overrides_of([str(source), "-m", "model=mock,distilbert"])


def texts(count=150):
    """Texts that a grammar of overrides, of YAML or of interpolations could misread."""
    rng = random.Random(0)
    pieces = [*"\\'\"{}[],:=$}# \n\t\u2029é字😀a1*&~%@|-", "${", "/x"]
    known = [
        "",
        " ",
        "  x ",
        "null",
        "true",
        "1",
        "1.0",
        "1e5",
        "nan",
        "~",
        "\\frac{a}{b}",
        "it's",
        '"q"',
        "a,b",
    ]
    known += ["{a: b}", "[1]", "${seed}", "\\${seed}", "\\\\${oc.env:HOME}", "${]", "$", "\\", "'\\", "\\'"]
    known += [
        "#x",
        "x\n",
        "\n",
        "!!python/x",
        "a=b",
        "ﬁ\u0301",
        "<b>",
        "0x10",
        "1_000",
        "#sha256:" + "0" * 64,
    ]
    return known + ["".join(rng.choices(pieces, k=rng.randint(1, 9))) for _ in range(count)]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A configuration folder with a group's choice whose fields hold any text."""
    (tmp_path / "own_notes.py").write_text(OWN)
    (tmp_path / "conf" / "bridge").mkdir(parents=True)
    (tmp_path / "conf" / "bridge" / "notes.yaml").write_text(
        "_target_: own_notes.Notes\none: a\nnumber: ${seed}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"hydra.searchpath=[file://{tmp_path / 'conf'}]"


def test_any_text_comes_back_as_it_was_recorded_in_values_lists_and_keys(own, tmp_path):
    source, lock = run(tmp_path / "first", own, "bridge=notes", *SMALL)
    values = texts()
    told = {"one": "'\\", "many": values, "keyed": {text: text for text in values}, "number": 0}
    tree = json.loads(lock)
    tree["bridge"] |= recorded({"bridge": told})["bridge"]
    tree["bridge"]["keyed"] = {
        key: value for key, value in tree["bridge"]["keyed"].items() if "${" not in key
    }
    (source / LOCK).write_text(json.dumps(tree, indent=1) + "\n")
    words = overrides_of([str(source), own])
    experiment, _ = composed(words)
    # what begins with / or is an address is masked where it is no prompt
    kept = [text for text in values if recorded({"bridge": {"one": text}})["masked"] == []]
    assert len(kept) > 150 and [text for text in experiment.bridge.many if text in kept] == kept
    assert experiment.bridge.one == "'\\" and experiment.bridge.number == 0
    assert {key for key, value in experiment.bridge.keyed.items() if value == key} >= {
        text for text in kept if "${" not in text
    }
    assert run(tmp_path / "again", *words)[1] == (source / LOCK).read_bytes()


FOREIGN = {
    "+hydra.callbacks.x": lambda t: t["choices"].update({"+hydra.callbacks.x": "{_target_:sympy.sympify}"}),
    "hydra/callbacks": lambda t: t["choices"].update({"hydra/callbacks": "x"}),
    "'hydra'": lambda t: t.update(hydra={"callbacks": {"x": {"_target_": "sympy.sympify"}}}),
    "'sweeps'": lambda t: t["choices"].update(sweeps="precision_grid"),
    "'+seed'": lambda t: t.update({"+seed": 1}),
    "choices.model": lambda t: t["choices"].update(model="mock hydra.mode=MULTIRUN"),
    "choices.graph": lambda t: t["choices"].update(graph="../model/mock"),
    "choices.gate": lambda t: t["choices"].update(gate=["none"]),
    "model.name: expected a literal": lambda t: t["model"].update(name="${oc.env:HOME}"),
    "model.weights: expected a literal": lambda t: t["model"].update(weights="a\\\\${oc.env:HOME}"),
    "pipeline.arms.0: expected a literal": lambda t: t["pipeline"].update(arms=["${seed}"]),
    "seed: expected a literal": lambda t: t.update(seed="${oc.decode:7}"),
    "hardware.tflops._target_": lambda t: t["hardware"]["tflops"].update(_target_="os.system"),
    "solver._partial_": lambda t: t["solver"].update(_partial_=True),
    "solver._target_": lambda t: t["solver"].update(_target_="sympy.sympify"),
    "'model.depth'": lambda t: t["model"].update(depth=3),
    "solver: expected its keys": lambda t: t.update(solver="${model}"),
    "seed: expected one value": lambda t: t.update(seed={"_target_": "os.getpid"}),
    "model.name='bert'": lambda t: t["model"].update(name="bert"),
    "measure.rounds='2'": lambda t: t["measure"].update(rounds="2"),
    "model=nothing": lambda t: t["choices"].update(model="nothing"),
    "masked: expected": lambda t: t.update(masked={"a": 1}),
    "files: expected": lambda t: t.update(files=["a"]),
    "masked: 'model' is no text": lambda t: t.update(masked=["model"]),
    "masked: 'seed.x' is no text": lambda t: t.update(masked=["seed.x"]),
    "masked: '' is no text": lambda t: t.update(masked=[""]),
    "the record does not fit its choices": lambda t: t["hardware"].update(tflops=[1]),
    "seed: expected a literal value, got ???": lambda t: t.update(seed="???"),
    "arms.1: expected a literal value, got ???": lambda t: t["pipeline"].update(arms=["dense", "???"]),
    "choices.solver: expected the name": lambda t: t["choices"].update(solver="s" * 10**5),
    "choices lacks gate": lambda t: t["choices"].pop("gate"),
    "model.name: expected no path from the root": lambda t: t["model"].update(name="/etc/hostname"),
    "the lock lacks solver": lambda t: t.pop("solver"),
    "the lock lacks seed, sparsity": lambda t: (t.pop("seed"), t.pop("sparsity")),
}


@pytest.mark.parametrize("named", FOREIGN)
def test_a_record_that_is_more_than_data_is_refused_by_name_and_runs_nothing(
    named, small, tmp_path, monkeypatch
):
    tree = json.loads(small)
    FOREIGN[named](tree)
    (tmp_path / LOCK).write_text(json.dumps(tree))
    monkeypatch.setattr("sympy.sympify", lambda *a, **k: pytest.fail("code of a record was called"))
    with pytest.raises(ConfigError) as caught:
        composed(overrides_of([str(tmp_path)]))
    assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[1]",
        "null",
        "{}",
        '{"a": NaN, "choices": {}}',
        '{"choices": {"model": 1}}',
        "[" * 10**5,
        '{"choices": {}}',
        '{"choices": {}, "choices": {}}',
        '{"seed": ' + "9" * 5000 + "}",
        '{"a": 1e999}',
    ],
)
def test_a_lock_that_is_none_costs_a_sentence(text, tmp_path):
    (tmp_path / LOCK).write_text(text)
    with pytest.raises(ConfigError) as caught:
        overrides_of([str(tmp_path)])
    assert len(str(caught.value)) < 400


def test_a_class_that_the_user_names_himself_is_his_will(tmp_path):
    source, _ = run(tmp_path / "first", *SMALL, "solver=tile", "solver._target_=icd.solver.degree.Degree")
    with pytest.raises(ConfigError, match=r"solver\._target_: the record names 'icd.solver.degree.Degree'"):
        overrides_of([str(source)])
    experiment, _ = composed(overrides_of([str(source), "solver._target_=icd.solver.degree.Degree"]))
    assert type(experiment.solver).__name__ == "Degree"


# --- files -----------------------------------------------------------------------------------------

TRACE = "".join(f'{{"src": {k % 7}, "dst": {(3 * k + 1) % 7}}}\n' for k in range(50))


@pytest.mark.parametrize("below_data_dir", [False, True])
def test_a_file_that_was_changed_after_the_run_is_refused_unless_it_is_named(
    below_data_dir, tmp_path, monkeypatch
):
    (tmp_path / "data").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path / "data"))
    file = (tmp_path / "data" if below_data_dir else tmp_path / "here") / "reads.jsonl"
    file.write_text(TRACE)
    source, lock = run(tmp_path / "first", *SMALL, "model=trace", "model.path=reads.jsonl")
    assert json.loads(lock)["files"] == {"model.path": hashlib.sha256(TRACE.encode()).hexdigest()}
    assert again(tmp_path / "same", source)[1] == lock
    file.write_text(TRACE + '{"src": 1, "dst": 2}\n')
    with pytest.raises(VerificationError, match=r"model.path='reads.jsonl': the file was changed"):
        overrides_of([str(source)])
    _, named = again(tmp_path / "named", source, "model.path=reads.jsonl")
    assert json.loads(named)["files"] != json.loads(lock)["files"]
    (file.parent / "sub").mkdir()
    (file.parent / "sub" / "reads.jsonl").write_text(TRACE)
    below, _ = run(tmp_path / "below", *SMALL, "model=trace", "model.path=sub/reads.jsonl")
    (file.parent / "sub" / "reads.jsonl").write_text(TRACE * 2)
    with pytest.raises(VerificationError, match=r"name it: model\.path=sub/reads\.jsonl$"):
        overrides_of([str(below)])
    file.unlink()
    with pytest.raises(MissingResource, match=r"model\.path='reads\.jsonl'"):
        overrides_of([str(source)])
    assert overrides_of([str(source), "model=mock"])


def test_a_changed_text_of_an_earlier_record_is_found_by_its_metrics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reads.jsonl").write_text(TRACE)
    source, lock = run(tmp_path / "first", *SMALL, "model=trace", "model.path=reads.jsonl")
    tree = json.loads(lock)
    del tree["files"], tree["masked"]
    (source / LOCK).write_text(json.dumps(tree))
    text = {"file": "reads.jsonl", "sha256": hashlib.sha256(TRACE.encode()).hexdigest()}
    (source / "metrics.json").write_text(json.dumps({"inputs": {"texts": {"path": text}}}))
    assert overrides_of([str(source)])
    (tmp_path / "reads.jsonl").write_text(TRACE * 2)
    with pytest.raises(VerificationError, match="the file was changed"):
        overrides_of([str(source)])


def test_what_a_record_does_not_tell_must_be_given_again(tmp_path):
    uri = "tracking.uri='http://somebody:secret@127.0.0.1:9/?token=hidden'"
    (tmp_path / "reads.jsonl").write_text(TRACE)
    path = f"model.path={tmp_path / 'reads.jsonl'}"
    source, lock = run(tmp_path / "first", "measure=smoke", "model=trace", path, uri)
    assert b"secret" not in lock and b"hidden" not in lock and str(tmp_path).encode() not in lock
    assert json.loads(lock)["masked"] == ["model.path", "tracking.uri"]
    with pytest.raises(ConfigError, match=r"model\.path was reads\.jsonl, tracking\.uri was http://127"):
        overrides_of([str(source)])
    with pytest.raises(ConfigError, match=r"give it again: tracking\.uri=VALUE, or tracking=none"):
        overrides_of([str(source), path])
    assert again(tmp_path / "again", source, path, uri)[1] == lock
    assert overrides_of([str(source), path, "tracking=none"])
