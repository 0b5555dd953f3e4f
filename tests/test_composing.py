"""A file of the user's own folder is code by the user's will, and sets no more of Hydra than a sweep may."""

from __future__ import annotations

import pytest

from icd.composing import check_cell
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
