"""kill -9 and Ctrl-C at random moments: what is left is a complete run or recognisably none."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from icd.pipeline.files import SUMS
from icd.tools.verify import verify
from tests.conftest import icd

pytestmark = pytest.mark.slow
WORDS = ["tracking=none", "model.layers=1", "hydra.run.dir=run"]


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "icd", *WORDS],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # a shell without job control starts what runs in its background with the signal ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def how_long(folder):
    begin = time.perf_counter()
    assert start(folder).wait(timeout=300) == 0
    return time.perf_counter() - begin


@pytest.fixture(scope="module")
def seconds(tmp_path_factory):
    how_long(tmp_path_factory.mktemp("first"))  # compiles
    return how_long(tmp_path_factory.mktemp("second"))


@pytest.mark.parametrize("attempt", range(10))
def test_a_kill_leaves_a_verified_run_or_nothing_that_looks_like_one(seconds, attempt, tmp_path):
    child = start(tmp_path)
    time.sleep(random.Random(attempt).uniform(0.2, 1.05) * seconds)
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()
    run = tmp_path / "run"
    if (run / SUMS).exists():
        assert verify(run) == []
    else:
        assert not run.exists() or not list(run.iterdir())
        names = {p.name.split("-")[0] for p in tmp_path.iterdir()}
        assert names <= {"run", ".run.unfinished"}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_with_130_one_sentence_and_no_leftovers(sent, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    child = start(tmp_path)
    while not any('"stage": "model"' in log.read_text() for log in tmp_path.glob(".run.unfinished*/run.log")):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(sent)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert stderr.decode().strip().splitlines()[-1].startswith("icd: interrupted")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


LOADER = """
import multiprocessing, subprocess, sys, threading, time
import torch

def load(batch_size, seq_len, seed):
    torch.manual_seed(seed)
    subprocess.Popen(["sleep", "4747"])  # holds the output of this process open
    multiprocessing.Process(target=time.sleep, args=(4747,)).start()  # is waited for at its end
    threading.Thread(target=time.sleep, args=(4747,)).start()
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
    return {"module": module, "inputs": {"input": torch.randn(2, 4, 64)}}
"""
SITES = """
- name: hidden
  size: 64
  activation: "2"
  axes:
    - {parameter: 0.weight, dim: 0}
    - {parameter: 0.bias, dim: 0}
    - {parameter: 2.weight, dim: 1}
"""


def test_processes_and_threads_of_a_users_loader_hold_no_run(tmp_path):
    (tmp_path / "mine.py").write_text(LOADER)
    (tmp_path / "sites.yaml").write_text(SITES)
    words = ["model=custom", "model.loader=mine:load", "model.sites=sites.yaml", "quality=none"]
    words += ["graph=weights", "transform.score=magnitude", "measure=smoke", *WORDS[::2]]
    done = icd(*words, cwd=tmp_path, timeout=280)
    assert done.returncode == 0, done.stderr
    assert verify(tmp_path / "run") == []
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 4747" not in left.splitlines()
