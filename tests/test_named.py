"""A published name stands for what is published under it."""

from __future__ import annotations

import json

import pytest

from icd.choices import published
from icd.cli import compose_cell, main
from icd.config import check, conf_dir
from icd.errors import ConfigError
from icd.named import check_texts
from icd.own import with_own_conf
from icd.pipeline.record import preset


@pytest.mark.parametrize(
    "words",
    [
        ["measure=smoke", "measure.name=paper"], ["measure=paper", "measure.name=x"],
        ["gate=smoke", "gate.name=strict"], ["gate.name=smoke"],
        ["pipeline=dense", "pipeline.name=iterative"], ["hardware.name=h200"],
        ["model.name=bert"], ["model=distilbert", "model.name=mine"],
    ],
)  # fmt: skip
def test_a_choice_cannot_call_itself_otherwise(words):
    with pytest.raises(ConfigError, match=r"\.name='.*is called"):
        check(compose_cell(conf_dir(), ["tracking=none", *words]))


@pytest.mark.parametrize("name", ["paper", "quick", "smoke"])
def test_a_preset_of_which_any_field_differs_is_recorded_as_its_own(name):
    node = {"_target_": "icd.measure.protocol.Protocol", **published("measure", name)}
    assert preset("measure", node) == name
    for key, value in published("measure", name).items():
        if key != "name":
            other = {**node, key: "x" if value != "x" else "y"}
            assert preset("measure", other) == f"{name}-own", key


def test_a_file_of_ones_own_that_takes_a_published_name_is_recorded_as_its_own():
    assert preset("measure", {**published("measure", "smoke"), "name": "paper"}) == "paper-own"
    assert preset("measure", {**published("measure", "smoke"), "name": "mine"}) == "mine"


@pytest.mark.parametrize(("source", "fits"), [("mock", True), ("trace", False)])
def test_a_model_of_ones_own_may_keep_the_name_of_the_one_that_it_is_a_variant_of(source, fits, tmp_path):
    (tmp_path / "model").mkdir()
    text = (conf_dir() / "model" / f"{source}.yaml").read_text()
    (tmp_path / "model" / "mine.yaml").write_text(text.replace(f"name: {source}", "name: mock"))
    words = with_own_conf(conf_dir(), ["tracking=none", "model=mine"], str(tmp_path))
    if fits:
        assert check(compose_cell(conf_dir(), words)).model.name == "mock"
    else:
        with pytest.raises(ConfigError, match="that is a model of icd's; give yours a name of its own"):
            check(compose_cell(conf_dir(), words))


@pytest.mark.parametrize("value", ["a\0b", "\ud800", {"\udc80": 1}, {"a": ["x", "\udfff"]}])
def test_a_text_that_no_file_could_hold_is_refused(value):
    with pytest.raises(ConfigError, match=r"NUL|not UTF-8"):
        check_texts(value, "key")


@pytest.mark.parametrize("word", ["model.loader=x\udcff", "hydra.run.dir=\udc80", "seed=1\0"])
def test_a_word_that_is_no_text_exits_2(word, capsys):
    with pytest.raises(SystemExit) as ended:
        main([word, "tracking=none"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("icd: the command line: the text ")
    assert json.dumps(said).isascii()


def test_a_changed_preset_has_a_badge_and_a_caveat_of_its_own():
    from icd.report.caveats import badges, caveats
    from tests.report.build import metrics

    record = {**metrics(), "tags": ["measure-paper-own"]}
    assert badges(record) == [
        ("measure-paper-own", "measure=paper with settings of its own: not that preset")
    ]
    assert any("differ from the preset's" in text for text in caveats(record, {}))
    assert not any(
        "differ from the preset's" in t for t in caveats({**record, "tags": ["measure-quick"]}, {})
    )
