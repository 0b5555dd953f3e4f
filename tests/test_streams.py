"""Standard streams that are closed, full, narrow or left cost no exit code and no file."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import icd

SOURCE = str(Path(icd.__file__).parents[1])
STEADY = "from icd.streams import lost_output, steady; steady(); import sys; "
LONG = "[print('x' * 70000) for _ in range(9)]; "
SAY_LOST = "told = lost_output(); print(told, file=sys.stderr); sys.exit(7)"


def shell(code, redirection="", **env):
    """What a shell gets of Python's ``code`` with its output redirected."""
    line = f"{shlex.join([sys.executable, '-c', STEADY + code])} {redirection}"
    env = {**os.environ, "PYTHONPATH": SOURCE, **env}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=env)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_takes_no_files_number(closed, tmp_path):
    file = tmp_path / "file"
    code = f"out = open({str(file)!r}, 'w'); print('a'); print('b', file=sys.stderr); sys.stderr.flush(); "
    done = shell(code + "out.close(); lost_output(); sys.exit(7)", closed)
    assert done.returncode == 7 and file.read_text() == ""
    assert ("a" in done.stdout) is (">&-" not in closed.replace("2>&-", ""))


def test_a_reader_that_leaves_is_no_failure():
    done = shell(LONG + SAY_LOST, "| head -c 1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stdout, done.stderr) == (7, "x", "None\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_below_the_output_is_said_and_raises_nothing():
    done = shell(LONG + SAY_LOST, "> /dev/full")
    assert (done.returncode, done.stderr) == (7, "No space left on device\n")


@pytest.mark.parametrize("narrow", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_what_an_encoding_lacks_is_escaped(narrow):
    done = shell("print(ascii('\\u2212 \\udce9')); print('\\u2212 \\udce9'); sys.exit(7)", **narrow)
    assert done.returncode == 7 and done.stderr == ""
    assert done.stdout.splitlines()[0] == "'\\u2212 \\udce9'" and "\\udce9" in done.stdout.splitlines()[1]


def test_streams_that_somebody_else_put_there_are_left_alone(capsys):
    from icd.streams import lost_output, steady

    before = sys.stdout, sys.stderr
    steady()
    assert (sys.stdout, sys.stderr) == before and lost_output() is None
