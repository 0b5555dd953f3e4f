"""Figures hidden behind a reason, arms, processes, allocations and rounds left out, iterations hidden."""

from __future__ import annotations

import json

import pytest

from icd.stats.width import stopped
from tests.tools.forge import Forgeries, check, edit, lock, log, put, samples
from tests.tools.test_verify import by_ncu, decided, made_again

forgery = Forgeries()
METRICS = "metrics.json"
ENERGY = ("energy_j", "watts", "idle_watts", "energy_block_ms")


def to_match(run):
    """Everything that follows from samples, env.json and ncu.json, as icd itself would compute it."""
    from icd.pipeline.tags import tags
    from icd.tools.recheck.figures import settings
    from icd.tools.recheck.recorded import load

    found = load(run)
    metrics = json.loads((run / METRICS).read_text())
    metrics["derivation"] = {
        **settings(found, found.env["measured"], found.ncu),
        "objective": metrics["derivation"]["objective"],
    }
    told = [p for p in metrics["protocol"]["stopped"] if p["process"] < len(found.env["measured"])]
    metrics["protocol"]["stopped"] = stopped(told, found.samples, list(metrics["arms"]))
    made_again(metrics, run)
    decided(metrics, run)
    metrics["tags"] = tags(metrics, found.env)
    (run / METRICS).write_text(json.dumps(metrics))


def no_energy(run, reason, *, readings=False):
    """No sample and no reading of energy, and ``reason`` in every process."""
    samples(run, lambda rows: [s for s in rows if s.metric not in ENERGY])
    if not readings:
        head = (run / "power.csv").read_text().splitlines()[0]
        (run / "power.csv").write_text(head + "\n")
    edit(run, "env.json", lambda env: [p.update(no_energy=reason) for p in env["measured"]] and None)
    to_match(run)


@forgery(r"env\.json: measured\[0\]\.no_energy: 'it was not looked at' is no reason that icd gives")
def energy_hidden_behind_a_reason(run):
    no_energy(run, "it was not looked at")


@forgery(r"env\.json: measured\[0\]\.no_energy: 'MIG is on")
def energy_hidden_behind_a_sliced_device(run):
    from icd.pipeline.energy import SLICED

    no_energy(run, SLICED)


@forgery(r"env\.json: measured\[0\]\.no_energy: 'measure\.power_enable=false' is no reason")
def energy_hidden_behind_a_setting(run):
    no_energy(run, "measure.power_enable=false")


@forgery(r"env\.json: measured\[0\]\.no_energy: .*the device is a CPU")
def energy_hidden_behind_a_CPU(run):
    no_energy(run, "the device is a CPU: energy is read from an NVIDIA GPU's counter")


@forgery(r"power\.csv: process 0 has readings, and no_energy says 'the energy counter did not move")
def energy_hidden_behind_a_counter_whose_readings_are_there(run):
    no_energy(run, "the energy counter did not move for 2 s", readings=True)


@forgery(
    r"env\.json: measured\[0\]\.no_cold: None, and the lock and the device give 'measure\.cold_rounds=0'"
)
def no_word_of_cold_latency(run):
    edit(run, "env.json", lambda env: [p.update(no_cold=None) for p in env["measured"]] and None)
    to_match(run)


def no_cache(run, reason, **more):
    """No sample and no counter of the cache, and ``reason``."""

    def change(ncu):
        ncu.update(runs=[], kernels=[], reason=reason, kernels_reason=reason, **more)

    edit(run, "ncu.json", change)
    samples(run, lambda rows: [s for s in rows if not by_ncu(s)])
    meta = {"runs": 0, "reason": reason}
    log(run, lambda line: {**line, "meta": meta} if line["stage"] == "profile" else line)
    to_match(run)


@forgery(r"ncu\.json: reason: 'nobody asked' is no reason that icd gives before anything was profiled")
def cache_hidden_behind_a_reason(run):
    no_cache(run, "nobody asked", processes=[])


@forgery(r"ncu\.json: reason: 'measure\.ncu_enable=false' is no reason")
def cache_hidden_behind_a_setting(run):
    no_cache(run, "measure.ncu_enable=false", processes=[])


@forgery(r"ncu\.json: reason: 'ncu \(Nsight Compute\) is not on PATH.* is no reason")
def cache_hidden_behind_a_tool_that_told_its_version(run):
    from icd.pipeline.underncu import NOT_FOUND

    no_cache(run, NOT_FOUND, processes=[], version="Version 2025.3.1.0")


@forgery(r"ncu\.json: reason: repetition 0 failed 1 times of 3")
def cache_hidden_behind_one_attempt(run):
    ncu = json.loads((run / "ncu.json").read_text())
    first = ncu["processes"][0]
    first["attempts"] = [{"ok": False, "reason": "ncu wrote nothing", "seconds": 1.0}]
    no_cache(run, "ncu wrote nothing", processes=[first])


@forgery(r"ncu\.json: reason: null, and nothing was profiled")
def cache_hidden_without_a_reason(run):
    no_cache(run, None, processes=[])


@forgery(r"metrics\.json: arms\.\w+\.quality: null \('not evaluated'\), and the model has probes")
def quality_hidden_behind_a_reason(run):
    def change(metrics):
        for arm in metrics["arms"].values():
            arm["quality"] = {"metric": None, "value": None, "source": None, "reason": "not evaluated"}

    edit(run, METRICS, change)


@forgery(r"metrics\.json: arms\.\w+\.quality: .*quality=none was asked for")
def quality_that_was_not_asked_for(run):
    lock(run, "quality", value={"_target_": "icd.quality.none.NoQuality"})
    lock(run, "choices", "quality", value="none")


@forgery(r"metrics\.json: arms\.iterative\.quality\.value: 1\.5 is no cosine")
def quality_beyond_what_there_is(run):
    put(run, METRICS, "arms", "iterative", "quality", "value", value=1.5)


def without_arm(run, name):
    """An arm taken out of every part of the record."""

    def change(metrics):
        del metrics["arms"][name]
        metrics["compare"] = {k: v for k, v in metrics["compare"].items() if name not in k}
        metrics["equivalence"]["layouts"].pop(name, None)
        for row in metrics["sites"]:
            row["cost"].pop(name, None)

    edit(run, METRICS, change)
    samples(run, lambda rows: [s for s in rows if s.arm != name])

    def uncounted(ncu):
        ncu["runs"] = [entry for entry in ncu["runs"] if entry["arm"] != name]
        for process in ncu["processes"]:
            process["arms"] = [arm for arm in process["arms"] if arm != name]

    edit(run, "ncu.json", uncounted)


@forgery(r"metrics\.json: arms: ", on="simulated")
def sliced_left_out_of_the_record(run):
    without_arm(run, "sliced")


@forgery(r"samples\.csv\.gz: arms, allocations or their order are not those of the lock", on="simulated")
def sliced_left_out_of_record_and_lock(run):
    without_arm(run, "sliced")
    lock(run, "pipeline", "arms", value=["dense", "linear", "iterative", "shuffle", "aa"])


@forgery(r"samples\.csv\.gz: .*: arms or their order are not those of the design")
def sliced_left_out_of_a_measured_record_and_lock(run):
    without_arm(run, "sliced")
    lock(run, "pipeline", "arms", value=["dense", "linear", "iterative", "shuffle", "aa"])


@forgery(r"env\.json: built of process 0")
def sliced_left_out_and_not_built_otherwise(run):
    sliced_left_out_of_a_measured_record_and_lock(run)


@forgery(r"metrics\.json: arms: |metrics\.json: derivation")
def the_control_left_out(run):
    without_arm(run, "aa")


@forgery(r"samples\.csv\.gz: latency_ms of process 0, allocation 0, round 1 is missing")
def the_last_round_left_out(run):
    samples(run, lambda rows: [s for s in rows if s.metric != "latency_ms" or s.round != 1])
    edit(
        run,
        "env.json",
        lambda env: [b.update(rounds=1) for p in env["measured"] for b in p["blocks"]] and None,
    )
    to_match(run)


@forgery(r"samples\.csv\.gz: latency_ms of process 0, allocation 1, round 0 is missing")
def the_last_allocation_left_out(run):
    samples(run, lambda rows: [s for s in rows if s.allocation != 1])

    def change(env):
        for process in env["measured"]:
            process["blocks"] = [block for block in process["blocks"] if block["allocation"] != 1]
            process["built"] = process["built"][:1]

    edit(run, "env.json", change)
    edit(
        run,
        METRICS,
        lambda m: [p.update(allocations=p["allocations"][:1]) for p in m["protocol"]["stopped"]] and None,
    )
    to_match(run)


def without_process(run, number):
    """A process taken out of every file but the lock, the later ones renamed."""

    def earlier(rows):
        kept = [s for s in rows if by_ncu(s) or s.process != number]
        return [s if by_ncu(s) or s.process < number else s._replace(process=s.process - 1) for s in kept]

    samples(run, earlier)
    lines = (run / "power.csv").read_text().splitlines()
    rows = [line.split(",", 1) for line in lines[1:]]
    kept = [f"{int(p) - (int(p) > number)},{rest}" for p, rest in rows if int(p) != number]
    (run / "power.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    edit(run, "env.json", lambda env: env["measured"].pop(number) and None)

    def change(line):
        if line["stage"] != "measure":
            return line
        at = line["meta"]["process"]
        return None if at == number else {**line, "meta": {"process": at - (at > number), "of": 2}}

    log(run, change)


@forgery(r"samples\.csv\.gz: processes")
def the_last_process_left_out(run):
    without_process(run, 2)
    to_match(run)


@forgery(r"samples\.csv\.gz: processes")
def a_process_between_left_out_and_the_next_renamed(run):
    without_process(run, 1)
    to_match(run)


@forgery(r"env\.json: built of process 1|samples\.csv\.gz: .*not those of the design")
def a_process_between_left_out_of_the_lock_as_well(run):
    """What the next one measured is not in the order of the one whose number it takes."""
    without_process(run, 1)
    lock(run, "measure", "processes", value=2)
    to_match(run)


@forgery(r"samples\.csv\.gz: .* is missing|metrics\.json: protocol")
def the_energy_round_left_out(run):
    samples(run, lambda rows: [s for s in rows if s.metric not in ENERGY])
    to_match(run)


@forgery(r"samples\.csv\.gz: latency_ms of aa, allocation 0: not that of linear", on="simulated")
def another_figure_of_the_simulated_control(run):
    samples(run, lambda rows: [
        s._replace(value=s.value * 1.01) if (s.arm, s.metric) == ("aa", "latency_ms") else s for s in rows
    ])  # fmt: skip


@forgery(r"samples\.csv\.gz: metrics: ", on="simulated")
def a_metric_of_the_simulated_device_left_out(run):
    samples(run, lambda rows: [s for s in rows if s.metric != "energy_j"])


@forgery(r"run\.log: re-permute: ")
def a_rejected_iteration_hidden_in_the_record(run):
    hidden(run)


def hidden(run):
    found = json.loads((run / METRICS).read_text())["iterations"]
    assert found[-1]["accepted"] is False

    def change(metrics):
        last = metrics["iterations"].pop()
        metrics["solver"]["seconds"] -= last["elapsed_s"]

    edit(run, METRICS, change)
    to_match(run)


@forgery(r"metrics\.json: iterations: 1, the last one kept, and pipeline\.max_iters is 3")
def a_rejected_iteration_hidden_in_record_and_log(run):
    hidden(run)
    log(run, lambda line: None if line["stage"] == "re-permute" and not line["ok"] else line)


@forgery(r"metrics\.json: iterations\[2\]")
def a_rejected_iteration_kept(run):
    put(run, METRICS, "iterations", 2, "accepted", value=True)


@forgery(r"run\.log: re-permute\[0\]\[1\]")
def another_reason_in_the_log(run):
    def change(line):
        return {**line, "meta": {"message": "T fell by 99.00 %"}} if line["stage"] == "re-permute" else line

    log(run, change)


@forgery(r"metrics\.json: iterations: one follows another that was not kept")
def an_iteration_behind_the_end(run):
    edit(run, METRICS, lambda metrics: metrics["iterations"].append(metrics["iterations"][-1]))


@pytest.mark.usefixtures("rendered_once")
@pytest.mark.parametrize("case", **forgery.cases())
def test_a_figure_left_out_or_hidden_is_found(case, bases, tmp_path, capsys, monkeypatch):
    check(case, bases, tmp_path, capsys, monkeypatch)
