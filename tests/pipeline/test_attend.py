"""Every wait for a child ends when the child is gone, and says how it went."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time

import pytest

from icd.errors import MeasurementError
from icd.pipeline import attend, isolate
from icd.pipeline.attend import ending


def left(words):
    return words in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout.splitlines()


@pytest.fixture(params=["announced", "looked for"])
def ends(request, monkeypatch):
    """The end of a child announced by the system, and where the system does not."""
    if request.param == "looked for":
        monkeypatch.delattr("os.pidfd_open", raising=False)


def run(folder, script, listen=print, **more):
    return isolate.run_child("profile", {}, folder, listen, prefix=("sh", "-c", script), **more)


def test_a_process_that_holds_the_childs_output_does_not_hold_the_parent(ends, tmp_path):
    start = time.monotonic()
    with pytest.raises(MeasurementError, match=r"ended with code 3 and no result; it last wrote: bye"):
        run(tmp_path, "sleep 47.21 & echo bye; exit 3")
    assert time.monotonic() - start < 20 and not left("sleep 47.21")


def test_a_child_that_closed_its_output_is_waited_for(ends, tmp_path):
    start = time.monotonic()
    with pytest.raises(MeasurementError, match="ended with code 5"):
        run(tmp_path, "exec >&-; sleep 0.6; exit 5")
    assert time.monotonic() - start >= 0.6


@pytest.mark.parametrize("name", ["SEGV", "KILL", "ABRT", "BUS"])
def test_a_child_that_a_signal_ended_is_told_by_the_signals_name(name, tmp_path):
    with pytest.raises(MeasurementError, match=rf"the profile process was ended by SIG{name} \(.*no result"):
        run(tmp_path, f"ulimit -c 0; kill -{name} $$")


def test_an_unknown_signal_is_a_number():
    assert ending(-200) == "was ended by signal 200" and ending(2) == "ended with code 2"


def test_lines_are_heard_whole_whatever_pieces_they_come_in(ends, tmp_path):
    heard = []
    long = "x" * 300_000
    script = f"""{sys.executable} -c "
import sys, time
sys.stdout.write('{{\\"event\\": \\"a'); sys.stdout.flush(); time.sleep(0.2)
print('b\\"}}'); print('no event'); print('{{\\"event\\": \\"' + 'x' * 300000 + '\\"}}', end='')" """
    with pytest.raises(MeasurementError, match="it last wrote: no event"):
        run(tmp_path, script, heard.append)
    assert heard == [{"event": "ab"}, {"event": long}]


def test_a_listener_that_fails_ends_the_child(tmp_path):
    def fail(event):
        raise KeyError(event["event"])

    with pytest.raises(KeyError, match="first"):
        run(tmp_path, """echo '{"event": "first"}'; sleep 47.31""", fail)
    assert not left("sleep 47.31")


def fake_python(folder, after):
    """A program in the interpreter's place that leaves a result and then does ``after``."""
    program = folder / "python"
    tell = json.dumps({"event": isolate.LEFT})
    program.write_text(
        f"#!{sys.executable}\nimport pickle, sys, time\nfrom pathlib import Path\n"
        "Path(sys.argv[-1]).with_suffix('.result').write_bytes(pickle.dumps(('ok', 42)))\n"
        f"print({tell!r}, flush=True)\n{after}\n"
    )
    program.chmod(0o755)
    return str(program)


def test_a_result_counts_although_the_child_cannot_end(tmp_path, monkeypatch):
    monkeypatch.setattr(isolate.sys, "executable", fake_python(tmp_path, "time.sleep(600)"))
    monkeypatch.setattr(isolate, "GRACE_OTHERS_S", 0.3)
    start = time.monotonic()
    assert isolate.run_child("measure", {}, tmp_path, print) == 42
    assert time.monotonic() - start < 60


def test_a_child_that_never_gets_through_its_imports_is_ended(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 47.41\n")
    program.chmod(0o755)
    monkeypatch.setattr(isolate.sys, "executable", str(program))
    monkeypatch.setattr(isolate, "BEGIN_S", 0.3)
    with pytest.raises(MeasurementError, match=r"ended after 0\.3 s in which it did not import its packages"):
        isolate.run_child("measure", {}, tmp_path, print)
    assert not left("sleep 47.41")


def test_a_child_that_began_has_all_the_time_it_takes(tmp_path, monkeypatch):
    program = fake_python(tmp_path, "")
    text = (tmp_path / "python").read_text()
    begun = f"print({json.dumps({'event': isolate.BEGUN})!r}, flush=True)\ntime.sleep(0.8)\n"
    (tmp_path / "python").write_text(text.replace("Path(sys.argv", begun + "Path(sys.argv", 1))
    monkeypatch.setattr(isolate.sys, "executable", program)
    monkeypatch.setattr(isolate, "BEGIN_S", 20.0)
    watch = isolate.Watch("measure", None)
    watch.event("stage")
    assert watch.limit() is None
    assert isolate.run_child("measure", {}, tmp_path, print) == 42


def test_what_nothing_foresaw_comes_with_its_traceback_and_without_folders(tmp_path):
    with pytest.raises(isolate.Unforeseen, match="the dance process failed: ValueError: no stage") as caught:
        isolate.run_child("dance", {}, tmp_path, print)
    assert 'File "icd/pipeline/isolate.py", line' in caught.value.trace and "/work" not in caught.value.trace
    assert pickle.dumps(str(caught.value)) and attend.POLL_S < 1
