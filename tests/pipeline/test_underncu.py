"""A whole process under an ``ncu`` found on PATH, which fails as the real one does before it succeeds."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from icd.measure.l2 import READ, UNITS, WRITE
from icd.measure.protocol import Protocol
from icd.pipeline.arms import Arm, Prepared
from icd.pipeline.ncunames import absent, check_names
from icd.pipeline.profiling import profile_arms
from icd.pipeline.underncu import find_ncu

RECORDED = Path(__file__).parents[1] / "measure" / "ncu"
# stands for ncu and for the child that it starts: how each attempt goes is in the file `attempts`
NCU = """#!{python}
import json, os, pickle, sys
from pathlib import Path
here = Path(__file__).parent
words = sys.argv[1:]
if words == ["--version"]:
    print("Version 2025.3.1.0 (build 1)")
    sys.exit(0)
if words == ["--query-metrics"]:
    print((here / "metrics").read_text())
    sys.exit(0)
left = (here / "attempts").read_text().split()
(here / "attempts").write_text(" ".join(left[1:]))
log, job = Path(words[words.index("--log-file") + 1]), Path(words[-1])
assert words[-3:-1] == ["-m", "icd.pipeline.isolate"] and os.environ["LC_ALL"] == "C"
if left[0] == "failed":
    log.write_text(Path("{recorded}/failed.csv").read_text())
    print("warming up", file=sys.stderr)
    sys.exit(9)
if left[0] == "unnamed":
    print("==ERROR== Failed to find metric regex:^dram__bytes_read.sum$")
    sys.exit(1)
if left[0] == "old":
    print("==ERROR== unrecognised option '--graph-profiling'. Use --help for further details.")
    sys.exit(1)
asked = pickle.loads(job.read_bytes())
whose = [[a, g] for a in asked["arms"] for g in asked["graphs"] for _ in range(asked["launches"])]
print(json.dumps(dict(event="progress", what="profiling", done=1, total=1)), flush=True)
executed = {{a: dict(source="measured") for a in asked["arms"]}}
done = dict(executed=executed, profiled=whose, refused=None)
job.with_suffix(".result").write_bytes(pickle.dumps(("ok", done)))
table = ['"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"']
for k in range(2 * len(whose)):
    name = "graph" if k % 2 else "at::cuda::spin_kernel(long)"
    for metric in words[words.index("--metrics") + 1].split(","):
        unit, value = ("byte", 32000) if "bytes" in metric else ("sector", 2000)
        value *= len(whose[k // 2][1])  # letters of the graph: what is done in it
        table.append(f'"{{k}}","{{name}}","{{metric}}","{{unit}}","{{value}}"')
log.write_text("==PROF== Connected\\n" + "\\n".join(table) + "\\n==PROF== Disconnected")
"""


@pytest.fixture
def ncu(tmp_path, monkeypatch):
    """Puts it on PATH; call it with how the attempts go."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ncu"
    program.write_text(NCU.format(python=sys.executable, recorded=RECORDED))
    program.chmod(0o755)
    write_names(folder, UNITS)
    monkeypatch.setenv("PATH", str(folder) + os.pathsep + os.environ["PATH"])
    return lambda *attempts: (folder / "attempts").write_text(" ".join(attempts))


def write_names(folder, metrics):
    """What ``ncu --query-metrics`` prints of a GPU that has ``metrics``."""
    rows = [f"{metric.removesuffix('.sum'):<60}Counter   # of something" for metric in metrics]
    head = ["Device NVIDIA H200 (GH100)", "-" * 80, "Metric Name      Metric Type   Metric Unit"]
    (folder / "metrics").write_text("\n".join([*head, *rows]))


def profiled(tmp_path, heard, repetitions=1):
    protocol = Protocol(
        "test", 1, 1, 1, "auto", 0, ncu_enable=True, power_enable=False, ncu_repetitions=repetitions
    )
    experiment = SimpleNamespace(model=SimpleNamespace(simulated=False), measure=protocol, seed=0)
    arms = (Arm("linear", "dense", {}), Arm("iterative", "dense", {}))
    facts = {"device": "cuda:0", "tokens": 128, "card": SimpleNamespace(params=1_000_000)}
    prepared = Prepared(model=None, arms=arms, live={}, files={}, facts=facts)
    work = tmp_path / "work"
    work.mkdir()
    return profile_arms(experiment, prepared, work, heard)


def test_an_ncu_that_fails_once_is_started_again_and_its_figures_are_read(tmp_path, ncu):
    ncu("failed", "good", "good")
    heard = []
    record = profiled(tmp_path, heard.append, repetitions=2)
    assert record.missing is None and record.version == "Version 2025.3.1.0 (build 1)"
    first, second = (process["attempts"] for process in record.processes)
    assert [a["ok"] for a in first] == [False, True] and [a["ok"] for a in second] == [True]
    assert first[0]["reason"] == (
        'ncu: Failed to profile "triton_per_fused_add_native_l..." (the profile process ended with code 9 '
        "and no result; it last wrote: warming up)"
    )
    served = {s.value for s in record.samples if s.metric.startswith("l2_served_pct")}
    assert served == {75.0} and len(record.samples) == 2 * 2 * 2 * 3 * 3
    assert [event["what"] for event in heard] == ["profiling"] * 2
    assert str(tmp_path) not in str(record.as_json())


def test_an_old_ncu_is_started_once_and_the_sentence_says_what_to_install(tmp_path, ncu):
    ncu("old", "good")
    record = profiled(tmp_path, print)
    assert len(record.processes[0]["attempts"]) == 1 and "newer Nsight Compute" in record.missing


def test_names_that_the_gpu_has_are_recorded_before_the_first_visit(tmp_path, ncu):
    ncu("good")
    written = profiled(tmp_path, print).as_json()
    assert list(written["metrics"]) == list(UNITS) and written["metrics_reason"] is None


def test_a_gpu_that_lacks_a_metric_is_not_profiled_and_the_sentence_names_it(tmp_path, ncu):
    ncu("good")
    write_names(tmp_path / "bin", [name for name in UNITS if name != READ])
    record = profiled(tmp_path, print)
    assert record.processes == [] and record.samples == [] and record.metrics is None
    assert record.missing == record.no_kernels == f"this GPU or this ncu does not have {READ}"


def test_a_longer_name_does_not_stand_for_a_metric():
    assert absent("dram__bytes_read_pct  Ratio\n  dram__bytes_write  Counter\n", (READ, WRITE)) == [READ]


def test_a_list_that_is_not_understood_stops_nothing_and_is_recorded(tmp_path, ncu):
    ncu("good")
    write_names(tmp_path / "bin", [])
    record = profiled(tmp_path, print)
    assert record.missing is None and record.samples and record.metrics is None
    assert "none of the metrics" in record.unchecked


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("echo '==ERROR== no device in /opt/x/y'; exit 3", "exit code 3: no device in y"),
        ("exec sleep 30", "more than 0.5 s"),
    ],
)
def test_a_query_that_fails_leaves_the_names_unchecked(tmp_path, body, sentence):
    program = tmp_path / "ncu"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    found = check_names(str(program), 0.5)
    assert found.found is None and sentence in found.reason
    assert check_names(str(tmp_path / "none")).found is None


def test_a_metric_that_ncu_does_not_find_is_asked_for_once(tmp_path, ncu):
    ncu("unnamed", "good")
    record = profiled(tmp_path, print, repetitions=3)
    assert len(record.processes) == 1 and len(record.processes[0]["attempts"]) == 1
    assert "does not have a metric" in record.missing


def test_the_one_on_path_is_found_first(tmp_path, ncu, monkeypatch):
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert find_ncu() == str(tmp_path / "bin" / "ncu")
