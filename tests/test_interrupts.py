"""SIGTERM and SIGHUP are Ctrl-C by another name, once, and only where nobody else wants them."""

from __future__ import annotations

import os
import signal
import time

import pytest

from icd.cli import main
from icd.interrupts import Interrupted, like_ctrl_c


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.2)  # until it is delivered


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_the_block_once_and_is_as_before_after_it(name):
    number = getattr(signal, name)
    with pytest.raises(Interrupted, match=name), like_ctrl_c():
        try:
            send(number)
        finally:
            send(number)  # while the first is tidied up
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with like_ctrl_c():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_command_ends_with_the_documented_code_and_names_the_signal(name, monkeypatch, capsys):
    monkeypatch.setattr("icd.cli.dispatch", lambda words: send(getattr(signal, name)))
    with pytest.raises(SystemExit) as ended:
        main(["seed=1"])
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith(f"icd: interrupted by {name}; nothing of the unfinished run")
