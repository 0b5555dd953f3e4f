"""Whatever is raised anywhere, no command ends with a traceback or with the code of a failed gate."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from icd.cli import main
from icd.commands import WORDS
from icd.errors import Exit, Unforeseen
from icd.lastresort import named, told, trace
from icd.sweeping import run_cell, sweep_code

UNFORESEEN = [
    RuntimeError("the disk\nis on fire"),
    KeyError("pi"),
    RecursionError("too deep"),
    MemoryError(),
    UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"),
    OSError("no such thing"),
    AssertionError(),
    SystemExit(1),
    SystemExit("a plug-in gave up"),
]


def ended(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda e: type(e).__name__)
def test_a_run_ends_with_4_and_one_sentence(error, monkeypatch, capsys):
    def fail(words):
        raise error

    monkeypatch.setattr("icd.cli.dispatch", fail)
    code, said = ended(["seed=1"], capsys)
    assert code == Exit.MEASUREMENT_FAILED and said.startswith("icd: ") and said.count("\n") == 1
    assert type(error).__name__ in said and "cli.py, line" in said


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_reserved_word_ends_with_4_and_one_sentence(word, monkeypatch, capsys):
    def fail(words):
        raise ZeroDivisionError("of nothing")

    serving = SimpleNamespace(main=fail)
    monkeypatch.setattr("icd.replaying.overrides_of", fail)
    monkeypatch.setattr("importlib.import_module", lambda name: serving)
    code, said = ended([word, "x"], capsys)
    assert code == Exit.MEASUREMENT_FAILED and "ZeroDivisionError: of nothing" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("error", UNFORESEEN[:2], ids=lambda e: type(e).__name__)
def test_a_cell_of_a_sweep_ends_with_4_and_the_sweep_goes_on_to_7(error, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr("hydra.core.hydra_config.HydraConfig.get", fail)
    codes = [run_cell({}), 0]
    assert codes[0] == Exit.MEASUREMENT_FAILED and sweep_code(codes) == Exit.CELLS_FAILED
    assert capsys.readouterr().err.count("\n") == 1


def test_an_ordinary_end_by_somebody_elses_exit_is_no_failure(monkeypatch):
    def leave(words):
        raise SystemExit(0)

    monkeypatch.setattr("icd.cli.dispatch", leave)
    with pytest.raises(SystemExit) as caught:
        main(["seed=1"])
    assert caught.value.code == Exit.DONE


def test_the_traceback_is_shown_where_it_is_asked_for(monkeypatch, capsys):
    def fail(words):
        raise KeyError("pi")

    monkeypatch.setattr("icd.cli.dispatch", fail)
    monkeypatch.setenv("ICD_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in ended(["seed=1"], capsys)[1]


def test_a_traceback_names_the_package_and_no_folder_of_this_machine():
    try:
        json.loads((lambda: (_ for _ in ()).throw(ValueError("of /home/someone/secret/file.txt")))())
    except ValueError as error:
        text, sentence = trace(error), told(error)
    assert "/home" not in text and "/" + "work" not in text and 'File "' in text
    assert "file.txt" in sentence and "secret" not in sentence
    try:
        from icd.pipeline.files import jsonable

        jsonable(float("nan"))
    except ValueError as error:
        assert 'File "icd/pipeline/files.py", line' in trace(error)
        assert "icd/pipeline/files.py, line" in told(error) and isinstance(named(error), Unforeseen)


def test_words_of_an_exception_that_go_on_and_on_are_cut():
    assert len(told(ValueError("x" * 1_000_000))) < 1000
