"""Profiling with a child that writes what ncu would: retries, final refusals, samples, no paths."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from icd.contracts import Missing
from icd.errors import MeasurementError
from icd.measure.l2 import ALL, ALL_HIT, COLUMNS, HIT, MISS, READ, UNITS, WRITE
from icd.measure.protocol import Protocol
from icd.pipeline.arms import Arm, Prepared
from icd.pipeline.files import jsonable
from icd.pipeline.profiling import LAUNCHES, profile_arms
from icd.pipeline.underncu import ATTEMPTS, TIMEOUT_S
from icd.recording import without_paths
from icd.stats.derive import derive

RECORDED = Path(__file__).parents[1] / "measure" / "ncu"
ARMS = ("linear", "iterative")


def experiment(repetitions=1, simulated=False, ncu_enable=True, kernels=False):
    protocol = Protocol(
        "test", 1, 1, 1, "auto", 0, ncu_enable, False, ncu_repetitions=repetitions, ncu_kernels=kernels
    )
    return SimpleNamespace(model=SimpleNamespace(simulated=simulated), measure=protocol, seed=0)


def prepared(device="cuda:0"):
    arms = tuple(Arm(name, "dense", {}) for name in ARMS)
    return Prepared(model=None, arms=arms, live={}, files={}, facts={"device": device, "tokens": 128})


def counted(graph: str, served: float, cold: float | None = None) -> dict[str, int]:
    """What one result of a graph counts: a flush more than any forward, the first forward what no other does.

    ``served``: of a forward behind a forward; ``cold``: of one behind a flush, the same if not said.
    """
    forward = {HIT: 600, MISS: 400, ALL: 1200, ALL_HIT: 700, WRITE: 640}
    flush = {HIT: 7, MISS: 9000, ALL: 9007, ALL_HIT: 7, WRITE: 96, READ: 288_000}
    total = dict.fromkeys(UNITS, 0)
    for before, part in itertools.pairwise(" " + graph):
        share = {"F": served, "X": served if cold is None else cold, " ": 0.01}[before]
        own = flush if part == "X" else {**forward, READ: round(32_000 * (1 - share))}
        total = {metric: total[metric] + own[metric] for metric in UNITS}
    return total


def written(
    graphs: Sequence[str],
    kernels: int = 2,
    served: float | Sequence[float] = 0.5,
    cold: float | None = None,
) -> str:
    """What ncu writes of ``graphs``: for each a marker and ``kernels`` results; ``served``: of each."""
    lines = ["==PROF== Connected to process 7 (/opt/env/bin/python3)"]
    lines.append(",".join(f'"{name}"' for name in COLUMNS))
    number = 0
    shares = [served] * len(graphs) if isinstance(served, float) else served
    for graph, share in zip(graphs, shares, strict=True):
        values = counted(graph, share, cold)
        for name in ("at::<unnamed>::spin_kernel(long)", *(f"gemm_{k}" for k in range(kernels))):
            lines += [f'"{number}","{name}","{m}","{UNITS[m]}","{v:,}"' for m, v in values.items()]
            number += 1
    return "\n".join([*lines, "==PROF== Disconnected from process 7"])


def asked(arguments):
    """Whose graphs stand between markers, in order."""
    return [
        [arm, graph]
        for arm in arguments["arms"]
        for graph in arguments["graphs"]
        for _ in range(arguments["launches"])
    ]


def child(*outcomes):
    """A child that leaves one output after the other: ``good``, a recorded one; an exception is raised."""
    left = list(outcomes)
    calls = []

    def run(stage, arguments, folder, listen, *, prefix, timeout_s):
        calls.append(arguments)
        outcome = left.pop(0) if len(left) > 1 else left[0]
        name, died = outcome if isinstance(outcome, tuple) else (outcome, None)
        whose = asked(arguments)
        graphs = [graph for _, graph in whose]
        log = Path(prefix[prefix.index("--log-file") + 1])
        if name == "good":
            log.write_text(written(graphs, cold=0.25))
        elif name == "short":
            log.write_text(written(graphs[:-1]))
        elif name == "swapped":
            log.write_text(written([{"XF": "XFF", "XFF": "XF"}.get(graph, graph) for graph in graphs]))
        elif name and name != "refused":
            log.write_text((RECORDED / f"{name}.csv").read_text())
        if died:
            raise died
        executed = {
            arm: {"source": "measured", "cuda_graph": arguments["captured"]} for arm in arguments["arms"]
        }
        refused = "linear: it cannot be captured, says /opt/x/y.py" if name == "refused" else None
        return {"executed": executed, "profiled": [] if refused else whose, "refused": refused}

    run.calls = calls
    return run


def profiled(tmp_path, run, **changes):
    return profile_arms(
        experiment(**changes), prepared(), tmp_path, lambda event: None, child=run, find=lambda: "ncu"
    )


def test_every_repetition_of_every_arm_gives_three_figures_warm_and_cold(tmp_path):
    run = child("good")
    record = profiled(tmp_path, run, repetitions=3)
    assert record.missing is None and len(run.calls) == 3
    assert all(call["captured"] and sorted(call["arms"]) == sorted(ARMS) for call in run.calls)
    assert len(record.samples) == 3 * len(ARMS) * 2 * LAUNCHES * 3
    assert {(s.metric.removesuffix("_cold"), s.unit) for s in record.samples} == {
        ("l2_served_pct", "%"), ("l2_lookup_hit_pct", "%"), ("dram_bytes_per_token", "B"),
    }  # fmt: skip
    derived = derive(record.samples, ARMS, device="cuda:0", tokens=128)
    found = derived["compare"]["iterative_vs_linear"]
    for block, regime in (("l2_pp", "warm"), ("l2_cold_pp", "cold")):
        assert found[block]["n_units"] == 3 and found[block]["delta"] == 0
        assert found[block]["regime"] == regime
    assert found["dram"]["ci95"] is not None and found["dram_cold"]["ci95"] is not None
    assert derived["arms"]["linear"]["l2"]["served_pct"] == pytest.approx(50)
    assert derived["arms"]["linear"]["l2_cold"]["served_pct"] == pytest.approx(25)


def test_a_regime_is_the_difference_of_two_graphs_and_the_record_holds_both(tmp_path):
    record = profiled(tmp_path, child("good"))
    runs = {run["regime"]: run for run in record.runs if run["arm"] == "linear"}
    assert {regime: run["graphs"] for regime, run in runs.items()} == {
        "warm": ["XFF", "XF"],
        "cold": ["XF", "X"],
    }
    for regime, share in (("warm", 0.5), ("cold", 0.25)):
        (larger, smaller), launches = runs[regime]["graphs"], runs[regime]["launches"]
        assert len(launches) == LAUNCHES
        for launch in launches:
            assert launch["profiled"] == {m: 2 * v for m, v in counted(larger, 0.5, 0.25).items()}
            assert launch["subtracted"] == {m: 2 * v for m, v in counted(smaller, 0.5, 0.25).items()}
            assert launch["sums"][READ] == 2 * 32_000 * (1 - share) and launch["sums"][WRITE] == 2 * 640
            assert launch["l2_served_pct"] == pytest.approx(100 * share)
            assert launch["dram_bytes_per_token"] == pytest.approx((64_000 * (1 - share) + 1280) / 128)


def test_a_graph_that_counts_less_than_a_part_of_it_is_a_failed_attempt(tmp_path):
    record = profiled(tmp_path, child("swapped", "good"))
    (failed, good) = record.processes[0]["attempts"]
    assert not failed["ok"] and "in a graph that holds another one of" in failed["reason"]
    assert failed["reason"].split(":")[0].endswith(", warm") and good["ok"]


def test_a_forward_that_cannot_be_captured_has_no_figures_and_is_not_tried_again(tmp_path):
    run = child("refused")
    record = profiled(tmp_path, run, repetitions=3, kernels=True)
    assert len(run.calls) == 1 and record.samples == [] and record.runs == []
    assert record.missing == record.no_kernels == "linear: it cannot be captured, says y.py"


def test_one_repetition_gives_figures_and_no_interval(tmp_path):
    record = profiled(tmp_path, child("good"))
    found = derive(record.samples, ARMS, device="cuda:0", tokens=128)
    assert found["arms"]["linear"]["l2"]["served_pct"] > 0
    assert found["compare"]["iterative_vs_linear"]["l2_pp"]["ci95"] is None


def test_a_failed_attempt_is_made_again_and_stays_in_the_record(tmp_path):
    record = profiled(tmp_path, child("failed", "partial_value", "good"))
    attempts = record.processes[0]["attempts"]
    assert [a["ok"] for a in attempts] == [False, False, True]
    assert "Failed to profile" in attempts[0]["reason"]
    assert record.runs[0]["launches"][0]["results"] == 2 and record.missing is None
    text = json.dumps(jsonable(record.as_json()))
    assert "127.0.0.1" not in text and str(tmp_path) not in text


def test_a_forward_that_is_lacking_is_a_failed_attempt(tmp_path):
    record = profiled(tmp_path, child("short", "good"))
    assert record.processes[0]["attempts"][0]["reason"] == "expected 18 profiled forwards, got 17"
    assert record.missing is None


def test_kernels_are_looked_at_in_a_process_of_their_own(tmp_path):
    run = child("good")
    record = profiled(tmp_path, run, kernels=True)
    assert [call["captured"] for call in run.calls] == [True, False]
    assert sorted(run.calls[0]["graphs"]) == ["X", "XF", "XFF"]
    assert run.calls[1]["graphs"] == ["F"] and run.calls[1]["launches"] == 1
    assert [entry["arm"] for entry in record.kernels] == list(ARMS)
    assert record.kernels[0]["top_kernels"][0]["share"] == pytest.approx(0.5)
    assert profiled(tmp_path, child("good")).no_kernels == "measure.ncu_kernels=false"


def test_kernels_that_cannot_be_read_leave_the_figures(tmp_path):
    record = profiled(tmp_path, child("good", "failed"), kernels=True)
    assert record.missing is None and record.samples and "Failed to profile" in record.no_kernels


def test_a_child_that_dies_counts_as_an_attempt(tmp_path):
    run = child((None, MeasurementError("it wrote: /home/me/x.py")), "good")
    record = profiled(tmp_path, run)
    assert record.processes[0]["attempts"][0]["reason"] == "it wrote: x.py" and record.missing is None


def test_what_ncu_says_comes_before_how_the_process_ended(tmp_path):
    run = child(("failed", MeasurementError("ended with code 9")), "good")
    record = profiled(tmp_path, run)
    reason = record.processes[0]["attempts"][0]["reason"]
    assert reason.startswith('ncu: Failed to profile "triton_per') and reason.endswith("(ended with code 9)")
    assert record.missing is None


def test_a_process_that_died_with_nothing_wrong_for_ncu_says_why_it_died(tmp_path):
    record = profiled(tmp_path, child(("nothing", MeasurementError("out of memory")), "good"))
    assert record.processes[0]["attempts"][0]["reason"] == "out of memory"


def test_an_ncu_without_an_option_is_not_tried_again(tmp_path):
    died = MeasurementError("it last wrote: ==ERROR== unrecognised option '--graph-profiling'. Use --help")
    run = child((None, died))
    record = profiled(tmp_path, run, repetitions=3)
    assert len(run.calls) == 1 and "install a newer Nsight Compute" in record.missing


def test_a_process_of_a_large_model_has_more_time(tmp_path):
    limits = []

    def run(stage, arguments, folder, listen, *, prefix, timeout_s):
        limits.append(timeout_s)
        raise MeasurementError("late")

    for facts in ({}, {"card": SimpleNamespace(params=2_770_000_000)}):
        made = dataclasses.replace(prepared(), facts={**prepared().facts, **facts})
        profile_arms(experiment(), made, tmp_path, print, child=run, find=lambda: "ncu")
    assert limits[0] == TIMEOUT_S and limits[-1] == pytest.approx(TIMEOUT_S + 60 * 2 * 2.77)


def test_a_missing_permission_ends_it_at_once_with_the_remedy(tmp_path):
    run = child(("no_permission", MeasurementError("ended with code 1")))
    record = profiled(tmp_path, run, repetitions=3)
    assert len(run.calls) == 1 and record.samples == []
    assert "NVreg_RestrictProfilingToAdminUsers=0" in record.missing


def test_a_first_repetition_that_fails_every_time_ends_it(tmp_path):
    run = child("failed")
    record = profiled(tmp_path, run, repetitions=2)
    assert len(run.calls) == ATTEMPTS and "Failed to profile" in record.missing


def test_a_later_repetition_that_fails_every_time_leaves_the_first_its_figures(tmp_path):
    run = child("good", "failed", "failed", "failed")
    record = profiled(tmp_path, run, repetitions=2)
    assert len(record.runs) == 2 * len(ARMS) and record.samples and record.missing


@pytest.mark.parametrize(
    ("changes", "device", "find", "sentence"),
    [
        ({"simulated": True}, "cpu", "ncu", "simulated"),
        ({}, "cpu", "ncu", "the device is a CPU"),
        ({"ncu_enable": False}, "cuda:0", "ncu", "measure.ncu_enable=false"),
        ({"repetitions": 0}, "cuda:0", "ncu", "measure.ncu_repetitions=0"),
        ({}, "cuda:0", Missing("ncu is not there"), "ncu is not there"),
    ],
)
def test_where_nothing_is_profiled_the_reason_says_why(tmp_path, changes, device, find, sentence):
    run = child("good")
    record = profile_arms(
        experiment(**changes), prepared(device), tmp_path, print, child=run, find=lambda: find
    )
    assert run.calls == [] and record.samples == [] and sentence in record.missing


def test_paths_are_cut_to_their_last_part():
    assert without_paths('File "/opt/a/b.py", line 3; see https://x.org/y/z') == (
        'File "b.py", line 3; see https://x.org/y/z'
    )
