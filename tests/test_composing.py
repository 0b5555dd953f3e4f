"""A file of the user's own folder is code by the user's will, and sets no more of Hydra than a sweep may."""

from __future__ import annotations

import pytest

from icd.cli import main
from icd.composing import check_cell, compose_cell
from icd.config import conf_dir
from icd.errors import ConfigError
from icd.own import with_own_conf
from icd.sweeping import expand

GLOBAL = "# @package _global_\n"
PARAMS = "hydra:\n  sweeper:\n    params: {seed: '1,2'}\n"
BAD = {
    "callbacks": GLOBAL + "hydra:\n  callbacks:\n    x: {_target_: sympy.sympify, a: '1'}\n",
    "job": GLOBAL + "hydra:\n  job: {env_set: {LD_PRELOAD: x}}\n",
    "run": GLOBAL + "hydra:\n  run: {dir: elsewhere}\n",
    "logging": GLOBAL + "hydra:\n  job_logging: {root: {level: ERROR}}\n",
    "sweep_and_callbacks": GLOBAL + PARAMS + "  callbacks:\n    x: {_target_: sympy.sympify, a: '1'}\n",
}


@pytest.fixture
def own(tmp_path):
    """Checks one cell of a command line with a file ``sweeps/mine.yaml`` of the user's own."""

    def check(text, *words, sweeps=False):
        (tmp_path / "own" / "sweeps").mkdir(parents=True)
        (tmp_path / "own" / "sweeps" / "mine.yaml").write_text(text)
        asked = with_own_conf(conf_dir(), ["+sweeps=mine", "tracking=none", *words], str(tmp_path / "own"))
        for cell in expand(conf_dir(), asked, sweeps):
            check_cell(conf_dir(), cell, sweeps=sweeps)

    return check


@pytest.mark.parametrize("name", BAD)
def test_a_file_of_ones_own_may_not_set_hydra(name, own):
    with pytest.raises(ConfigError, match=r"^hydra\.\w+: a file of your own configuration folder sets it"):
        own(BAD[name], sweeps="sweep" in name)


def test_a_sweep_of_ones_own_may_and_so_may_the_command_line(own, tmp_path):
    sweep = GLOBAL + PARAMS + "  sweep: {dir: mine}\n"
    own(sweep, "+hydra.job.env_set.A=b", f"hydra.sweep.dir={tmp_path / 'x'}", sweeps=True)


@pytest.mark.parametrize(
    "word", ["model=" + "m" * 5000, "+hydra.sweeper.params.seed='0,1'", "hydra.sweeper.params={seed:'0,1'}"]
)
def test_what_hydra_does_not_refuse_itself_costs_a_sentence(word):
    with pytest.raises(ConfigError, match="cannot be read: ") as caught:
        compose_cell(conf_dir(), [word])
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, r"^model/mine\.yaml: expected at most"),
        ("x: &x [*x]\n", r"^model/mine\.yaml: nested too deeply"),
        ("x: " + "[" * 3000 + "]" * 3000, r"^model/mine\.yaml: nested too deeply"),
        ("name: a\nname: b\n", r"^model/mine\.yaml: line 2: the key 'name' stands twice"),
        ("5\n", "cannot be read"), ("defaults: [mine]\n", "cannot be read"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("word", ["model=mine", "model=mock,mine"])
def test_a_file_of_ones_own_that_never_ends_costs_a_sentence(text, said, word, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        words = with_own_conf(conf_dir(), [word], str(tmp_path))
        compose_cell(conf_dir(), [words[0].replace("mock,", ""), *words[1:]])


@pytest.mark.parametrize("text", ["5\n", "defaults: [mine]\n"])
def test_showing_a_file_that_hydra_cannot_compose_costs_a_sentence(text, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["--config-dir", str(tmp_path), "model=mine", "--cfg", "job"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("icd: ") and said.count("\n") == 1


def test_a_run_directory_that_cannot_be_made_costs_a_sentence(monkeypatch, capsys):
    """As below /proc, where the folder above may be written and takes none."""

    def refused(*args, **kwargs):
        raise FileNotFoundError(2, "No such file or directory", "/proc/x")

    monkeypatch.setattr("hydra.main", lambda **kwargs: lambda task: refused)
    with pytest.raises(SystemExit) as ended:
        main(["measure=smoke", "tracking=none", "hydra.run.dir=/tmp/nothing/x"])
    said = capsys.readouterr().err
    assert ended.value.code == 3 and said.startswith("icd: x: it can be neither read nor made")
