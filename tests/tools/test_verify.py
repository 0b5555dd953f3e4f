"""icd verify: a figure that was changed by hand is found, however well sums and table were made to fit.

What cannot be computed again is named in `NOT_COMPUTED`, and nothing else.
"""

from __future__ import annotations

import copy
import json
import re
import shutil

import pytest
import yaml

from icd.errors import Exit
from icd.measure.l2 import READ, Kernel, Profile, Rates, rates
from icd.pipeline.files import check_sums, write_sums
from icd.pipeline.profiling import SUFFIX, samples_of
from icd.pipeline.record import protocol
from icd.pipeline.solved import break_even
from icd.report.csv import encode as table
from icd.samples import encode, read_samples
from icd.stats.derive import derive
from icd.stats.gates import Gate
from icd.stats.rollback import decide
from icd.stats.roofline import roofline
from icd.stats.width import stopped
from icd.tools import verify as tool
from icd.tools.recheck import choices, figures, graphs, layouts, recorded, scores
from icd.tools.recheck.designed import ENERGY
from icd.tools.recheck.recorded import read_json
from icd.tools.verify import verify
from tests.pipeline.fake_run import go

# numbers of metrics.json that no other file of the run says anything of
NOT_COMPUTED = (
    r"elapsed_s",  # the clock of the run
    r"model\.params",  # the model itself
    r"inputs\.(calibration_tokens|shape\..*)",
    r"equivalence\.sequences",
    r"sites\.\d+\.(repeat|nets)",
    r"sites\.\d+\.solver\..*",  # what the solver says of its own work
    r"arms\.\w+\.(roofline\.parts\.\d+\.calls|executed\.cuda_graph)",
    r"iterations\.\d+\.[CQ]",  # of a step that was not kept
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run that was measured, with energy and counters of the cache."""
    words = ("measure.rounds=2", "measure.power_rounds=1")
    return go(tmp_path_factory.mktemp("measured") / "run", 0.8, 0.7, *words, gpu=True)[0]


def leaves(node, path=()):
    """The path of every number and truth value below ``node``."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, (*path, key))
    elif isinstance(node, bool | int | float):
        yield path


def changed(node, path):
    """A copy of ``node`` with another number at ``path``."""
    out = copy.copy(node)
    if len(path) > 1:
        out[path[0]] = changed(node[path[0]], path[1:])
    else:
        value = node[path[0]]
        out[path[0]] = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else (
            value * 1.01 + 0.001
        )  # fmt: skip
    return out


def what_terms_need(run, row, old):
    return json.dumps([row[k] for k in ("site", "block", "line")] + [*row["cost"], run.metrics["derivation"]])


def graphs_once(monkeypatch, once, base):
    """Graphs are read, looked at and judged once."""
    held = {row["site"]: base.graph(row["site"]) for row in base.metrics["sites"]}
    monkeypatch.setattr(recorded.Recorded, "graph", lambda run, site: held[site])
    monkeypatch.setattr(
        graphs,
        "read",
        once(graphs.read, lambda path, row: (path.name, row["channels"], row["graph"].get("nnz"))),
    )
    monkeypatch.setattr(
        graphs, "unlike", once(graphs.unlike, lambda found, size, asked: (id(found["data"]), size))
    )
    monkeypatch.setattr(
        scores, "live_graph", once(scores.live_graph, lambda W, live: (id(W.W), live.tobytes()))
    )
    monkeypatch.setattr(scores, "evaluate", once(scores.evaluate, what_was_judged))


def what_was_judged(W, nets, pi, *, block, line, previous, objective):
    """Graphs are kept, so their ids are theirs alone."""
    return (id(W), pi.tobytes(), block, line, None if previous is None else previous.tobytes(), objective)


def unnoticed(folder, monkeypatch):
    """The numbers of ``metrics.json`` that can be changed, one at a time, with sums and table made to fit."""
    base = recorded.load(folder)
    memo = {}

    def once(function, key):
        """``function`` computed once for each ``key`` of its arguments: most changes touch none of them."""

        def cached(*args, **kwargs):
            at = (function, key(*args, **kwargs))
            if at not in memo:
                memo[at] = function(*args, **kwargs)
            return copy.copy(memo[at])

        return cached

    def noticed(metrics):
        run = recorded.Recorded(folder, metrics, base.lock, base.env)
        for name in ("samples", "ncu", "before", "after"):
            run.__dict__[name] = getattr(base, name)
        for check in likely_first:
            if tool.ask(check, run):
                likely_first.remove(check)  # what finds a number mostly finds the next one as well
                likely_first.insert(0, check)
                return True
        return False

    slow = (tool.raw, tool.stops, tool.logged)
    likely_first = [*(check for check in tool.CHECKS if check not in slow), *slow]
    monkeypatch.setattr(choices, "encode", lambda metrics: (folder / "report.csv").read_text())
    monkeypatch.setattr(
        figures, "derive", once(figures.derive, lambda samples, names, **k: json.dumps([names, k]))
    )
    monkeypatch.setattr(layouts, "site_terms", once(layouts.site_terms, what_terms_need))
    graphs_once(monkeypatch, once, base)
    assert not noticed(base.metrics)
    found = (path for path in leaves(base.metrics) if not noticed(changed(base.metrics, path)))
    return [".".join(map(str, path)) for path in found]


def check_list(found):
    """That what was not noticed is what is said to be, and that no more is said to be than is."""
    assert [path for path in found if not any(re.fullmatch(p, path) for p in NOT_COMPUTED)] == []
    assert [p for p in NOT_COMPUTED if not any(re.fullmatch(p, path) for path in found)] == []


def test_every_number_of_a_measured_record_is_found_when_it_is_changed(measured, monkeypatch):
    check_list(unnoticed(measured, monkeypatch))


def test_every_number_of_a_simulated_record_is_found_when_it_is_changed(mock_run, monkeypatch):
    check_list(unnoticed(mock_run, monkeypatch))


def forged(folder, tmp_path, change, *, graphs=True):
    """What verify says of a copy in which ``change(metrics, copy)`` was made, table and sums made to fit."""
    out = shutil.copytree(folder, tmp_path / "copy")
    metrics = json.loads((out / "metrics.json").read_text())
    change(metrics, out)
    (out / "metrics.json").write_text(json.dumps(metrics))
    (out / "report.csv").write_text(table(metrics))
    write_sums(out)
    assert check_sums(out) == []
    return verify(out, graphs=graphs)


def gate_made_easy(metrics, folder):
    """A lower threshold, and every outcome computed again from it."""
    spec = {
        **metrics["gates"]["strict"]["spec"],
        "latency_pct": -1.0,
        "l2_pp": -99.0,
        "quality_loss_pp": None,
    }
    metrics["gates"]["strict"] = {**Gate(**spec).evaluate(metrics), "spec": spec}
    assert metrics["gates"]["strict"]["pass"]


def cost_made_better(metrics, folder):
    metrics["compare"]["iterative_vs_linear"]["cost"]["C_delta_pct"] = -90.0
    metrics["gates"] |= {
        name: {**Gate(**gate["spec"]).evaluate(metrics), "spec": gate["spec"]}
        for name, gate in metrics["gates"].items()
    }


def made_again(metrics, folder):
    """Everything that follows from samples, computed again from what the file now holds."""
    samples, asked = read_samples(folder / "samples.csv.gz"), metrics["derivation"]
    keys = ("device", "tokens", "l2_metric", "regime", "reasons", "summary")
    found = json.loads(json.dumps(derive(samples, list(metrics["arms"]), **{k: asked[k] for k in keys})))
    for part in ("arms", "compare"):
        for name, block in found[part].items():
            metrics[part][name] |= block
    for arm in metrics["arms"].values():
        arm["roofline"] = roofline(arm["roofline"]["parts"], metrics["hardware"], arm["latency_ms"])
    metrics["solver"] |= break_even(metrics["solver"]["seconds"], metrics["arms"])
    stopped, runs = metrics["protocol"]["stopped"], read_json(folder / "ncu.json")["runs"]
    lock = read_json(folder / "config.lock.json")["measure"]
    metrics["protocol"] = json.loads(json.dumps(protocol(lock, samples, stopped, runs)))


def by_the_mean(metrics, folder):
    """A record that names another summary than the one that icd takes, with what follows from it."""
    metrics["derivation"]["summary"] = "mean"
    made_again(metrics, folder)
    decided(metrics, folder)


def without(keep):
    def change(metrics, folder):
        path = folder / "samples.csv.gz"
        path.write_bytes(encode([s for s in read_samples(path) if keep(s)]))
        made_again(metrics, folder)

    return change


def sample(of, /, **changes):
    """The first sample of a metric with other fields, and nothing else."""

    def change(metrics, folder):
        path = folder / "samples.csv.gz"
        rows = read_samples(path)
        k = next(k for k, s in enumerate(rows) if s.metric == of)
        rows[k] = rows[k]._replace(**changes)
        path.write_bytes(encode(rows))

    return change


def counter(of, factor, *, made=False):
    """The DRAM reads ``of`` one launch by ``factor``; with ``made`` its sums, figures and samples as well."""

    def change(metrics, folder):
        ncu = read_json(folder / "ncu.json")
        launch = ncu["runs"][0]["launches"][0]
        launch[of][READ] *= factor
        if made:
            old = dict(launch)
            launch["sums"][READ] = launch["profiled"][READ] - launch["subtracted"][READ]
            launch |= vars(rates(Profile((Kernel("", launch["sums"]),)), metrics["inputs"]["tokens"], 1e9))
            path, suffix = folder / "samples.csv.gz", SUFFIX[ncu["runs"][0]["regime"]]
            rows = read_samples(path)
            for metric in Rates.__dataclass_fields__:
                k = next(k for k, s in enumerate(rows) if (s.arm, s.process, s.metric, s.iteration) == (
                    ncu["runs"][0]["arm"], ncu["runs"][0]["repetition"], metric + suffix, 0
                ))  # fmt: skip
                assert rows[k].value == pytest.approx(old[metric])
                rows[k] = rows[k]._replace(value=launch[metric])
            path.write_bytes(encode(rows))
            made_again(metrics, folder)
        (folder / "ncu.json").write_text(json.dumps(ncu))

    return change


def recounted(change):
    """``change(ncu)`` in ncu.json, and samples and figures to match."""

    def forge(metrics, folder):
        ncu = read_json(folder / "ncu.json")
        change(ncu)
        (folder / "ncu.json").write_text(json.dumps(ncu))
        order = {p["repetition"]: p["arms"] for p in ncu["processes"] if p["profiled"] == "as timed"}
        rows = [s for s in read_samples(folder / "samples.csv.gz") if not by_ncu(s)]
        for entry in ncu["runs"]:
            rows += samples_of(entry, order[entry["repetition"]].index(entry["arm"]))
        (folder / "samples.csv.gz").write_bytes(encode(rows))
        made_again(metrics, folder)

    return forge


def every_run(change, **fields):
    """``change(run)`` of every run of ncu.json whose ``fields`` are these, all else to match."""

    def forge(ncu):
        for run in ncu["runs"]:
            if all(run[key] == value for key, value in fields.items()):
                change(run)

    return recounted(forge)


def subtracts_more(run):
    """Reads that no other graph counted, off each launch; its own profiles of the smaller graph to match."""
    for launch in run["launches"]:
        launch["subtracted"] = {**launch["subtracted"], READ: launch["subtracted"][READ] + 1000}
        launch["sums"][READ] = launch["profiled"][READ] - launch["subtracted"][READ]
        launch |= vars(rates(Profile((Kernel("", launch["sums"]),)), 128, 1e9))
    run["base"] = [{**sums, READ: sums[READ] + 1000} for sums in run["base"]]


def no_difference(run):
    """As records were before differences were taken."""
    del run["graphs"], run["base"]
    for launch in run["launches"]:
        del launch["profiled"], launch["subtracted"]


def last_repetition_alone(ncu):
    """The last repetition that was timed loses its figures."""
    last = ncu["processes"][-1]["repetition"]
    ncu["runs"] = [run for run in ncu["runs"] if run["repetition"] != last]


def uncounted(metrics, folder):
    """One run of ncu.json as if it had been profiled before differences were taken."""
    ncu = read_json(folder / "ncu.json")
    del ncu["runs"][0]["graphs"]
    for launch in ncu["runs"][0]["launches"]:
        del launch["profiled"], launch["subtracted"]
    (folder / "ncu.json").write_text(json.dumps(ncu))


def readings(change):
    """``change(samples)`` of samples.csv.gz, and every figure, width and decision to match."""

    def forge(metrics, folder):
        path = folder / "samples.csv.gz"
        rows = change(read_samples(path))
        path.write_bytes(encode(rows))
        metrics["protocol"]["stopped"] = stopped(metrics["protocol"]["stopped"], rows, list(metrics["arms"]))
        made_again(metrics, folder)
        decided(metrics, folder)

    return forge


def decided(metrics, folder):
    """Rollback and gates again from what the file now holds."""
    found = decide(metrics["compare"], metrics["iterations"], metrics["derivation"]["device"], enabled=True)
    metrics["rollback"] |= json.loads(json.dumps(found))
    for name, gate in metrics["gates"].items():
        metrics["gates"][name] = {**Gate(**gate["spec"]).evaluate(metrics), "spec": gate["spec"]}


def of_first_process(rows):
    """Every process took what the first one took."""
    first = {s._replace(process=0, value=0.0, order=0): s.value for s in rows if s.process == 0}
    keys = (s._replace(process=0, value=0.0, order=0) for s in rows)
    return [
        s._replace(value=first[key]) if s.metric == "latency_ms" else s
        for s, key in zip(rows, keys, strict=True)
    ]


def of_first_repetition(ncu):
    first = {(run["arm"], run["regime"]): run for run in ncu["runs"] if run["repetition"] == 0}
    for run in ncu["runs"]:
        run |= {key: first[run["arm"], run["regime"]][key] for key in ("launches", "base")}


def half_the_power(rows):
    """Of iterative, by the counter alone."""
    return [
        s._replace(value=s.value / 2) if s.arm == "iterative" and s.metric in ("watts", "energy_j") else s
        for s in rows
    ]


def locked(*path, value):
    """Another value in both forms of the lock."""

    def change(metrics, folder):
        lock = read_json(folder / "config.lock.json")
        put(*path, value=value)(lock, folder)
        (folder / "config.lock.json").write_text(json.dumps(lock))
        (folder / "config.lock.yaml").write_text(yaml.safe_dump(lock))

    return change


def together(*changes):
    return lambda metrics, folder: [change(metrics, folder) for change in changes]


def one_place_untold(metrics, folder):
    env = read_json(folder / "env.json")
    del env["measured"][1]["built"]
    (folder / "env.json").write_text(json.dumps(env))


def other_places(metrics, folder):
    env = read_json(folder / "env.json")
    env["measured"][1]["built"][0].reverse()
    (folder / "env.json").write_text(json.dumps(env))


def text(file, old, new):
    def change(metrics, folder):
        before = (folder / file).read_text()
        assert old in before
        (folder / file).write_text(before.replace(old, new, 1))

    return change


def put(*path, value):
    def change(metrics, folder):
        node = metrics
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return change


def exchanged(file, key):
    """Two channels of a site's layout, or the first live one for a dead one."""

    def change(metrics, folder):
        found = json.loads((folder / file).read_text())
        values = next(iter(found[key].values()))
        if key == "layouts":
            values[0], values[-1] = values[-1], values[0]
        else:
            values[0] = next(c for c in range(999) if c not in values)
        (folder / file).write_text(json.dumps(found))

    return change


def broken(file):
    def change(metrics, folder):
        path = folder / file
        path.write_bytes(path.read_bytes()[:40] + b"broken")

    return change


def by_ncu(s):
    return s.metric.startswith(("l2_", "dram_"))


HEAD = ("compare", "iterative_vs_linear")
FORGERIES = {
    "an easier gate, outcomes to match": gate_made_easy,
    "a better cost, gates to match": cost_made_better,
    "a process left out, all figures to match": without(lambda s: s.process != 1 or by_ncu(s)),
    "a repetition left out, all figures to match": without(lambda s: s.process != 1 or not by_ncu(s)),
    "the energy left out, all figures to match": without(lambda s: s.metric not in ENERGY),
    "the cache left out, all figures to match": lambda metrics, folder: [
        (folder / "ncu.json").write_text(
            json.dumps({**read_json(folder / "ncu.json"), "runs": [], "kernels": []})
        ),
        without(lambda s: not by_ncu(s))(metrics, folder),
    ],
    "a round left out, all figures to match": without(lambda s: s.metric != "latency_ms" or s.round != 1),
    "an arm left out": lambda metrics, folder: [metrics["arms"].pop("aa"), metrics["compare"].pop("aa")],
    "a figure added": put(*HEAD, "latency", "speedup", value=9.0),
    "rounds by their mean, all figures to match": by_the_mean,
    "a summary of one figure": put(*HEAD, "latency", "summary", value="mean"),
    "a summary that does not exist": put("derivation", "summary", value="mode"),
    "a mean beside the median": put(*HEAD, "latency", "mean_delta_pct", value=-20.0),
    "a verdict": put(*HEAD, "latency", "verdict", value="AMBIGUOUS"),
    "a source": put("arms", "linear", "latency_ms", "source", value="simulated"),
    "what was executed": put("arms", "linear", "executed", "source", value="simulated"),
    "a reason": put("arms", "linear", "latency_cold_ms", "reason", value="it rained"),
    "a reason for nothing": put("derivation", "reasons", "energy_j", value="no counter"),
    "the device": put("derivation", "device", value="cpu"),
    "tags": put("tags", value=[]),
    "the reason of an iteration": put("iterations", 1, "reason", value="T fell by 99.00 %"),
    "the reason of no rollback": put("rollback", "reason", value="0 of 3 known figures worse"),
    "the precision": put("config", "precision", value="fp8"),
    "the engine": put("arms", "iterative", "engine", value="masked"),
    "the weights' quality": put("arms", "iterative", "quality", "value", value=1.0),
    "what stopped a process": put("protocol", "stopped", 0, "criterion", value="width"),
    "no process stopped": put("protocol", "stopped", value=[]),
    "a seed": text("config.lock.json", '"seed": 0,\n "device"', '"seed": 1,\n "device"'),
    "the lock as YAML": text("config.lock.yaml", "processes: 3", "processes: 30"),
    "a lock that cannot be read": text("config.lock.yaml", "graph:", "graph: ["),
    "a log of other processes": text("run.log", '"of": 3', '"of": 5'),
    "a log without a process": lambda metrics, folder: (folder / "run.log").write_text("".join(
        line for line in (folder / "run.log").read_text().splitlines(True) if '"process": 2' not in line)),
    "a log of nothing profiled": text("run.log", '"stage": "profile", "ok": true, "meta": {"runs": 36',
        '"stage": "profile", "ok": true, "meta": {"runs": 0'),
    "a counter of ncu": text("ncu.json", '"dram__bytes_read.sum": ', '"dram__bytes_read.sum": 1'),
    "a counter that was profiled": counter("profiled", 1.5),
    "a counter that was subtracted": counter("subtracted", 0.5),
    "a counter that was subtracted, figures and samples to match": counter("subtracted", 0.5, made=True),
    "more subtracted than was profiled": counter("subtracted", 9.0),
    "a run without what was subtracted": uncounted,
    "an arm left out of ncu.json": recounted(
        lambda ncu: ncu.update(runs=[run for run in ncu["runs"] if run["arm"] != "aa"])
    ),
    "a regime left out of ncu.json": recounted(
        lambda ncu: ncu.update(runs=[run for run in ncu["runs"] if run["regime"] != "cold"])
    ),
    "the launches of an arm that suit": every_run(lambda run: run["launches"].pop(), arm="iterative"),
    "other graphs": every_run(lambda run: run.update(graphs=["XFF", "X"]), regime="cold"),
    "warm subtracts what cold did not profile": every_run(subtracts_more, arm="iterative", regime="warm"),
    "cold subtracts no median of profiles": every_run(lambda run: run["base"][0].update({READ: 9e9}) or
        run["base"][1].update({READ: 9e9}), arm="iterative", regime="cold"),
    "profiles of the smaller graph left out": every_run(lambda run: run.pop("base")),
    "no differences": every_run(no_difference),
    "counters of another schema": recounted(lambda ncu: ncu.update(schema="icd.ncu/9")),
    "counters without a schema": recounted(lambda ncu: ncu.pop("schema")),
    "figures of a process that failed": recounted(lambda ncu: ncu["processes"][0].update(
        attempts=[{"ok": False, "reason": "x", "seconds": 1.0}])),
    "another engine was profiled": every_run(lambda run: run["executed"].update(engine="other")),
    "the last repetition left out": recounted(last_repetition_alone),
    "a figure of ncu": text("ncu.json", '"l2_served_pct": ', '"l2_served_pct": 1'),
    "a reading of no block": text("power.csv", ",linear,", ",nobody,"),
    "no readings of power": lambda metrics, folder: (folder / "power.csv").write_text(
        "process,arm,round,time_s,watts\n"),
    "no readings of a block": lambda metrics, folder: (folder / "power.csv").write_text("".join(
        line for line in (folder / "power.csv").read_text().splitlines(True) if "1,iterative," not in line)),
    "readings of one moment": lambda metrics, folder: (folder / "power.csv").write_text(re.sub(
        r"(?m)^(1,iterative,\d+),[^,]+,", r"\1,7.0,", (folder / "power.csv").read_text())),
    "iterations of a block": text("env.json", '"iterations": 1', '"iterations": 2'),
    "rounds of a process": text("env.json", '"rounds": 2', '"rounds": 3'),
    "arms built in another order": other_places,
    "a process that does not tell where its arms lie": one_place_untold,
    "a process three times, figures, widths and decisions to match": readings(of_first_process),
    "a repetition three times, all to match": together(recounted(of_first_repetition), decided),
    "half the energy, and power read as before": readings(half_the_power),
    "profiled with other flags": recounted(lambda ncu: ncu.update(flags=["--cache-control", "all"])),
    "another model": put("model", "name", value="bert"),
    "trained weights": put("model", "weights", value="pretrained"),
    "random weights that nothing is said of": put("model", "weights", value="random"),
    "a notice that the log does not hold": put("model", "notice", value="trained on all of it"),
    "a model that is called simulated": put("model", "tags", value=["simulated"]),
    "a share that was not removed": together(
        locked("transform", "sparsity", value=0.3), put("config", "sparsity", value=0.3)),
    "another batch": together(
        put("config", "batch_size", value=4), put("config", "seq_len", value=8),
        put("inputs", "shape", value={"x": [4, 8, 64]})),
    "a length in the lock": locked("model", "default_seq_len", value=8),
    "a recovery": put("transform", "recover", value={"asked": "lstsq", "method": "lstsq"}),
    "a recovery that the lock forbids": together(
        locked("transform", "recover", value="none"), put("transform", "recover", "method", value="lstsq"),
        put("transform", "recover", "asked", value="none")),
    "a recovery of nothing": put("transform", "recover", "method", value="lstsq"),
    "another order of rounding": put("transform", "order", "asked", value="precision_first"),
    "no word of recovery": put("transform", value={}),
    "a share that sites could not lose": put("transform", "share", value={"asked": 0.5}),
    "graphs of something else": put("sites", 0, "graph", "source", value="activation"),
    "another solver": together(
        locked("solver", "_target_", value="icd.solver.identity.Identity"),
        put("config", "solver", value="identity")),
    "more iterations than were asked for": locked("pipeline", "max_iters", value=1),
    "a bridge": put("bridge", value={"value": 2.0}),
    "blocks that no process tells of": text("env.json", '"blocks"', '"bricks"'),
    "a latency": sample("latency_ms", value=9.0),
    "the order of a round": sample("latency_ms", order=5),
    "an iteration": sample("latency_ms", iteration=1),
    "the unit of a block": sample("energy_block_ms", unit="s"),
    "a block's time": sample("energy_block_ms", value=9.0),
    "idle power": sample("idle_watts", value=9.0),
    "a metric that nobody reads": sample("latency_ms", metric="latency_s"),
    "no number": sample("latency_ms", value=float("nan")),
    "no finite number": sample("energy_j", value=float("inf")),
    "a latency below zero": sample("latency_ms", value=-1.0),
    "channels before": exchanged("perm_before.json", "layouts"),
    "channels after": exchanged("perm_after.json", "layouts"),
    "live channels": exchanged("perm_after.json", "live"),
    "samples that cannot be read": broken("samples.csv.gz"),
    "a graph that cannot be read": broken("W/layers.0.neurons.npz"),
    "no graph": lambda metrics, folder: (folder / "W" / "layers.0.neurons.npz").unlink(),
    "a site of another name": put("sites", 0, "site", value="../../elsewhere"),
    "a check that a gate does not make": put("gates", "mock", "spec", "require", value=["latency"]),
    "a gate less": lambda metrics, folder: metrics["gates"].pop("strict"),
}  # fmt: skip


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forgery_is_found(measured, tmp_path, change):
    assert forged(measured, tmp_path, change)


def test_an_archive_without_graphs_verifies_when_asked_for_and_says_what_it_takes_as_recorded(
    measured, tmp_path, capsys
):
    out = shutil.copytree(measured, tmp_path / "copy")
    graphs = sorted((out / "W").iterdir())
    graphs[0].unlink()
    assert tool.main([str(out)]) == Exit.VERIFICATION_FAILED
    assert tool.main(["--without-graphs", str(out)]) == Exit.DONE
    shutil.rmtree(out / "W")
    assert tool.main(["--without-graphs", str(out)]) == Exit.DONE
    assert "C, Q and J taken as recorded" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in FORGERIES if "graph" not in name])
def test_without_graphs_a_forgery_is_still_found(measured, tmp_path, name):
    small = shutil.copytree(measured, tmp_path / "small", ignore=shutil.ignore_patterns("W"))
    assert forged(small, tmp_path, FORGERIES[name], graphs=False)


def test_a_table_that_says_something_else_is_found_and_every_difference_exits_6(measured, tmp_path, capsys):
    out = shutil.copytree(measured, tmp_path / "copy")
    assert tool.main([str(out)]) == Exit.DONE
    text("report.csv", "iterative_vs_linear", "iterative_vs_nothing")(None, out)
    write_sums(out)
    assert tool.main([str(out)]) == Exit.VERIFICATION_FAILED
    broken("metrics.json")(None, out)
    assert tool.main([str(out)]) == Exit.VERIFICATION_FAILED
    assert "the record cannot be read" in capsys.readouterr().out
