"""A child and all that it started end within a second of their parent, whatever ended that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import sys
from pathlib import Path
from icd.pipeline.isolate import run_child
folder = Path(sys.argv[1])
run_child("profile", {}, folder, print, prefix=("sh", "-c", sys.argv[2]))
"""
# holds the interpreter's lock for ever, as compiled code may
BUSY = "re.match('(a+)+b', 'a' * 60)"
CHILD = """
import os, re, signal, time
from icd.pipeline import lifeline
{change}
lifeline.hold_on()
open({told!r}, "w").write(str(os.getpid()))
{work}
"""
CHANGES = {
    "kernel": ("", BUSY),
    "parent-death signal": ("import fcntl; del fcntl.F_SETSIG", BUSY),
    "thread": ("lifeline._killed_by_kernel = lambda line, parent: False", "time.sleep(600)"),
    "process": ("lifeline._is_pipe = lambda line: False", "time.sleep(600)"),
}


def gone(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def read(path):
    while not (path.is_file() and path.read_text().strip()):
        time.sleep(0.02)
    return int(path.read_text())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("means", CHANGES)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_outlives_its_parent(means, sent, tmp_path):
    change, work = CHANGES[means]
    child = tmp_path / "child.py"
    child.write_text(CHILD.format(change=change, told=str(tmp_path / "child"), work=work))
    direct = "exec" if means == "parent-death signal" else ""
    script = f"sleep 600 & echo $! > {tmp_path}/sleep; {direct} {sys.executable} {child}"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), script], env=dict(os.environ))
    processes = [read(tmp_path / "child")]
    if means != "parent-death signal":  # which the kernel sends to the child alone
        processes.append(read(tmp_path / "sleep"))
    start = time.monotonic()
    parent.send_signal(sent)
    parent.wait()
    while not all(map(gone, processes)):
        time.sleep(0.01)
        assert time.monotonic() - start < 10
    assert time.monotonic() - start < 3  # within a second on a machine that is not loaded


def test_a_parent_that_died_first_is_noticed(tmp_path):
    read_end, write_end = os.pipe()
    os.close(write_end)
    code = "from icd.pipeline.lifeline import hold_on; hold_on(); import time; time.sleep(600)"
    env = {**os.environ, "ICD_LIFELINE": f"{read_end}:1"}
    child = subprocess.Popen(
        [sys.executable, "-c", code], env=env, pass_fds=(read_end,), start_new_session=True
    )
    assert child.wait(timeout=30) == -signal.SIGKILL
    os.close(read_end)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_launchers_worker_ends_with_its_sweep(tmp_path):
    worker = "import os, time; from icd.pipeline.lifeline import end_after; end_after(os.getppid()); "
    worker += f"open({str(tmp_path / 'worker')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}])"
    parent = subprocess.Popen([sys.executable, "-c", launcher])
    process = read(tmp_path / "worker")
    time.sleep(0.1)
    assert not gone(process)
    parent.kill()
    parent.wait()
    start = time.monotonic()
    while not gone(process):
        time.sleep(0.01)
        assert time.monotonic() - start < 5
