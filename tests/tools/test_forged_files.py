"""Files, links, times, names and choices: what a run directory holds and its parts say of one another."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from icd.pipeline.files import SUMS
from tests.tools.forge import Forgeries, check, edit, lock, log, put, text

forgery = Forgeries()
METRICS = "metrics.json"


@forgery(r"certificate\.txt: no run writes a file of this name")
def a_file_too_many(run):
    (run / "certificate.txt").write_text("verified by nobody")


@forgery(r"W/layers\.9\.neurons\.npz: no run writes")
def a_graph_too_many(run):
    shutil.copy(run / "W" / "layers.0.neurons.npz", run / "W" / "layers.9.neurons.npz")


@forgery(r"plots/better\.png: no run writes")
def a_plot_too_many(run):
    shutil.copy(run / "plots" / "ratios.png", run / "plots" / "better.png")


@forgery(r"\.hidden: no run writes")
def a_hidden_file(run):
    (run / ".hidden").write_text("x")


@forgery(rf"plots/{SUMS}: no run writes")
def sums_inside_a_folder(run):
    (run / "plots" / SUMS).write_text("")


@forgery(r"before_rollback/samples\.csv\.gz: no run writes")
def a_measurement_before_a_rollback_that_was_none(run):
    (run / "before_rollback").mkdir()
    shutil.copy(run / "samples.csv.gz", run / "before_rollback")


@forgery(r"notes: a folder without a file")
def an_empty_folder(run):
    (run / "notes").mkdir()


@forgery(r"report\.html: a link")
def a_report_elsewhere(run):
    (run / "report.html").rename(run.parent / "report.html")
    (run / "report.html").symlink_to(run.parent / "report.html")


@forgery(r"W: a link")
def graphs_elsewhere(run):
    (run / "W").rename(run.parent / "W")
    (run / "W").symlink_to(run.parent / "W", target_is_directory=True)


@forgery(r"plots/more\.png: a link")
def a_link_into_the_run(run):
    (run / "plots" / "more.png").symlink_to("ratios.png")


@forgery(r"dangling: a link")
def a_link_to_nothing(run):
    (run / "dangling").symlink_to("nowhere")


@forgery(r"pipe: neither a file nor a folder")
def a_pipe(run):
    os.mkfifo(run / "pipe")


def listed_twice(run):
    lines = (run / SUMS).read_text().splitlines()
    (run / SUMS).write_text("\n".join(["0" * 64 + lines[0][64:], *lines]) + "\n")


forgery(rf"{SUMS}: .* is listed 2 times", mend=False)(listed_twice)


@forgery(r"power\.csv: missing")
def a_file_left_out(run):
    (run / "power.csv").unlink()


@forgery(r"metrics\.json: created: 2020-01-01T00:00:00\+00:00, and run\.log begins")
def made_years_ago(run):
    put(run, METRICS, "created", value="2020-01-01T00:00:00+00:00")


@forgery(r"metrics\.json: created: 2099-")
def made_in_the_future(run):
    put(run, METRICS, "created", value="2099-01-01T00:00:00+00:00")


@forgery(r"a time without a zone")
def made_nowhere(run):
    put(run, METRICS, "created", value="2026-01-01T00:00:00")


@forgery(r"run\.log: line \d+: its ts lies before that of the line above")
def a_log_that_goes_back(run):
    def change(line):
        return {**line, "ts": "2020-01-01T00:00:00.000+00:00"} if line["stage"] == "measure" else line

    log(run, change)


@forgery(r"metrics\.json: elapsed_s: .*, and run\.log ends after")
def a_longer_run(run):
    edit(run, METRICS, lambda metrics: metrics.update(elapsed_s=metrics["elapsed_s"] + 1000))


@forgery(r"run\.log: done after \d+ s, and its time stamps span|metrics\.json: elapsed_s")
def a_log_of_a_longer_run(run):
    edit(run, METRICS, lambda metrics: metrics.update(elapsed_s=1000.0))
    log(run, lambda line: {**line, "meta": {"seconds": 1001.0}} if line["stage"] == "done" else line)


@forgery(r"run\.log: its last line")
def a_log_without_an_end(run):
    log(run, lambda line: None if line["stage"] == "done" else line)


@forgery(r"run\.log: its first line")
def a_log_of_another_model(run):
    def change(line):
        return {**line, "meta": {**line["meta"], "model": "bert"}} if line["stage"] == "start" else line

    log(run, change)


@forgery(r"run\.log: it tells of a failure")
def a_log_of_a_failure(run):
    seen = []

    def change(line):
        seen.append(line)
        return {**line, "stage": "failed"} if line["stage"] == "graph" else line

    log(run, change)


@forgery(r"run\.log: line 1: expected ts, stage, ok and meta")
def a_log_with_a_remark(run):
    log(run, lambda line: {**line, "remark": "all well"})


@forgery(r"metrics\.json: run_id: .*expected 32 hexadecimal digits")
def an_id_of_ones_own(run):
    put(run, METRICS, "run_id", value="the-best-run")


@forgery(r"metrics\.json: model\.source")
def weights_of_another_seed(run):
    put(run, METRICS, "model", "source", value="seed 7")


@forgery(r"metrics\.json: model\.sha256")
def a_digest_that_is_none(run):
    put(run, METRICS, "model", "sha256", value="trust me")


@forgery(r"metrics\.json: inputs\.sha256")
def inputs_without_a_digest(run):
    put(run, METRICS, "inputs", "sha256", value="")


@forgery(r"config\.lock\.json: choices\.transform=unstructured\._target_")
def another_choice_of_a_transform(run):
    lock(run, "choices", "transform", value="unstructured")


@forgery(r"config\.lock\.json: choices\.model=minilm\._target_")
def another_choice_of_a_model(run):
    lock(run, "choices", "model", value="minilm")


@forgery(r"config\.lock\.yaml: not the text of config\.lock\.json")
def a_comment_in_the_lock(run):
    path = run / "config.lock.yaml"
    path.write_text("# measured on an H200\n" + path.read_text())


@forgery(r"config\.lock\.yaml\.seed")
def a_lock_of_another_seed(run):
    text(run, "config.lock.yaml", r"\nseed: 0", "\nseed: 3")


@forgery(r"metrics\.json is not JSON: the key 'schema' is there twice")
def a_key_twice_in_the_record(run):
    path = run / METRICS
    path.write_text('{"schema": "icd.metrics/9", ' + path.read_text()[1:])


@forgery(r"env\.json is not JSON: the key 'python' is there twice", mend=True)
def a_key_twice_in_the_environment(run):
    path = run / "env.json"
    path.write_text('{"python": "2.7", ' + path.read_text().lstrip()[1:])


@forgery(r"config\.lock\.json: .*|the record cannot be read")
def a_lock_that_is_no_json(run):
    (run / "config.lock.json").write_text("{")


@forgery(r"ncu\.json: ")
def counters_nested_too_deep(run):
    (run / "ncu.json").write_text("[" * 100_000)


@forgery(r"metrics\.json: tags")
def an_invented_tag(run):
    edit(run, METRICS, lambda metrics: metrics["tags"].append("certified"))


@forgery(r"metrics\.json: tags")
def a_tag_left_out(run):
    edit(run, METRICS, lambda metrics: metrics["tags"].pop() and None)


@forgery(r"metrics\.json: tags")
def a_tag_twice(run):
    edit(run, METRICS, lambda metrics: metrics["tags"].append(metrics["tags"][-1]))


@forgery(r"metrics\.json: model\.tags: 'trained' is none that this model can have")
def an_invented_tag_of_the_model(run):
    def change(metrics):
        metrics["model"]["tags"].append("trained")
        metrics["tags"] = sorted([*metrics["tags"], "trained"])

    edit(run, METRICS, change)


@forgery(r"metrics\.json: model\.tags: 'extended-positions' is none that this model can have")
def positions_that_were_not_extended(run):
    def change(metrics):
        metrics["model"]["tags"].append("extended-positions")
        metrics["tags"] = sorted([*metrics["tags"], "extended-positions"])

    edit(run, METRICS, change)


@forgery(r"env\.json: measured\[1\]\.name")
def a_process_on_another_device(run):
    put(run, "env.json", "measured", 1, "name", value="NVIDIA H200")


@forgery(r"metrics\.json: hardware")
def another_device_in_the_record(run):
    put(run, METRICS, "hardware", "name", value="NVIDIA H200")


@forgery(r"env\.json: measured\[1\]\.torch")
def a_process_of_another_torch(run):
    edit(run, "env.json", lambda env: env["measured"][1].update(torch="1.0.0"))
    edit(run, "env.json", lambda env: [p.setdefault("torch", "2.0.0") for p in env["measured"]] and None)


@forgery(r"report\.csv: not the table of metrics\.json", mend=False)
def another_table(run):
    from icd.pipeline.files import write_sums

    text(run, "report.csv", "iterative_vs_linear", "iterative_vs_nothing")
    write_sums(run)


@forgery(r"metrics\.json: arms\.engine\.linear")
def another_engine_of_one_arm(run):
    def change(metrics):
        metrics["arms"]["linear"]["engine"] = metrics["arms"]["linear"]["executed"]["engine"] = "masked"

    edit(run, METRICS, change)


@forgery(r"ncu\.json: runs: expected a list, got dict", on="simulated")
def an_object_for_the_runs_of_no_counter(run):
    put(run, "ncu.json", "runs", value={})


@forgery(r"ncu\.json: flags: expected texts", on="simulated")
def a_number_for_a_flag_that_was_never_used(run):
    put(run, "ncu.json", "flags", value=[-1])


@forgery(r"run\.log: line \d+: expected true or false for ok", on="simulated")
def a_line_of_the_log_that_went_neither_well_nor_badly(run):
    log(run, lambda line: {**line, "ok": ["yes"]})


@pytest.mark.usefixtures("rendered_once")
@pytest.mark.parametrize("case", **forgery.cases())
def test_a_forged_file_or_fact_is_found(case, bases, tmp_path, capsys, monkeypatch):
    check(case, bases, tmp_path, capsys, monkeypatch)


def test_a_stop_for_lack_of_time_needs_the_time(measured_run):
    """Else the last cycles of a process that stopped on width could be left out."""
    from icd.tools.recheck.logged import budgets
    from icd.tools.recheck.recorded import load

    run = load(measured_run)
    run.metrics["protocol"]["stopped"][1]["allocations"][0]["criterion"] = "time_budget"
    run.lock["measure"]["time_budget_s"] = 60.0

    def told(seconds):
        end = f"2026-01-01T00:00:{seconds:02d}.000+00:00"
        begin = {"ts": "2026-01-01T00:00:00.000+00:00", "stage": "equivalence", "meta": {}}
        return budgets(run, [begin, {"ts": end, "stage": "measure", "meta": {"process": 1}}])

    assert told(14) == []  # two allocations: half of 30 s, less what a clock may be set by
    (problem,) = told(12)
    assert "process 1 ended by time_budget, and run.log gives it 12 of the 60 s" in problem


def test_a_run_that_took_its_time_between_its_lines_verifies(measured_run, tmp_path):
    """A machine may sleep: more time goes by on the calendar than in the run."""
    from icd.pipeline.files import write_sums
    from icd.tools.recheck.logged import logged
    from icd.tools.recheck.recorded import load

    out = shutil.copytree(measured_run, tmp_path / "run")
    log(
        out, lambda line: {**line, "ts": "2099-01-01T00:00:00.000+00:00"} if line["stage"] == "done" else line
    )
    write_sums(out)
    assert logged(load(out)) == [] and json.loads((out / METRICS).read_text())["elapsed_s"] > 0
