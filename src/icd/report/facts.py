"""Nested records as name and value, for the parts of a report that only list what was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icd.report.folder import Run, dig
from icd.report.numbers import DASH, is_number, number
from icd.report.phrases import named, no_device

Facts = list[tuple[str, str]]
CONFIG = (
    *("pipeline", "transform", "sparsity", "precision", "seq_len", "batch_size", "seed"),
    *("measure", "engine", "solver"),
)

COUNTS = {
    "processes": "processes",
    "allocations": "allocations a process",
    "rounds": "rounds an allocation",
    "unit": "statistical unit",
    "stop": "stop",
}
ASKED = {"repeats": "iterations a block", "warmup_iter": "warm-up iterations"}


def flatten(value: Any, prefix: str = "") -> Facts:
    """``[("cpu.cores", "2"), ...]``; lists of plain values on one line."""
    if isinstance(value, Mapping):
        return [
            fact
            for key, below in value.items()
            for fact in flatten(below, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list) and any(isinstance(v, Mapping | list) for v in value):
        return [fact for i, below in enumerate(value) for fact in flatten(below, f"{prefix}[{i}]")]
    return [(prefix, plain(value))]


def plain(value: Any) -> str:
    """One recorded value as text."""
    if value is None or value == [] or value == {}:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(v) for v in value)
    return str(value)


def executed(metrics: Mapping[str, Any]) -> list[tuple[str, Facts]]:
    """What ran in each arm, but for its plan; the channels of its sites summed by group."""
    groups = {str(s.get("site")): str(s.get("group")) for s in metrics.get("sites") or ()}
    out = []
    for arm, block in (metrics.get("arms") or {}).items():
        found = dict(block.get("executed") or {})
        found.pop("plan", None)  # a table of its own
        widths = found.pop("sites", None) or {}
        sums: dict[str, list[int]] = {}
        for site, width in widths.items():
            if isinstance(width, list) and len(width) == 2 and all(is_number(w) for w in width):
                total = sums.setdefault(groups.get(site, "channels"), [0, 0])
                total[0] += width[0]
                total[1] += width[1]
        shown = flatten(found)
        shown += [(f"{g}", f"{a:,} of {b:,}") for g, (a, b) in sums.items()]
        out.append((arm, shown))
    return out


def identity(metrics: Mapping[str, Any]) -> Facts:
    """Which model, in which configuration, where: the head of the report."""
    model, config = metrics.get("model") or {}, metrics.get("config") or {}
    said = {key: plain(value) for key, value in config.items()}
    said = {**dict.fromkeys(CONFIG, DASH), **said}
    digest = model.get("sha256")
    origin = [plain(model.get("weights")), plain(model.get("source"))]
    origin += [plain(model.get("licence"))] if model.get("licence") else []
    origin += [f"SHA-256 {str(digest)[:16]}…"] if digest else []
    parameters = number(model.get("params"))
    shape = f"{said['batch_size']} × {said['seq_len']}"
    compressed = f"transform {said['transform']}"
    if config.get("sparsity") is not None:
        compressed += f", sparsity {said['sparsity']}"
    return [
        ("run", plain(metrics.get("run_id"))),
        ("date", plain(metrics.get("created"))),
        ("model", f"{plain(model.get('name'))} ({plain(model.get('family'))}, {parameters} parameters)"),
        ("weights", "; ".join(origin)),
        *([("notice", plain(model["notice"]))] if model.get("notice") else []),
        ("pipeline", f"{said['pipeline']}; {compressed}"),
        ("execution", f"{said['precision']}, engine {said['engine']}, batch × tokens {shape}"),
        ("method", f"solver {said['solver']}, measure {said['measure']}, seed {said['seed']}"),
    ]


def device(run: Run) -> str:
    """The device in words: the GPU's or CPU's name, or that it was simulated."""
    asked = plain(dig(run.metrics, "config", "device"))
    if no_device(run.metrics):
        return f"simulated ({plain(dig(run.lock, 'hardware', 'name'))}), run on {asked}"
    names = [m.get("name") for m in run.env.get("measured") or () if isinstance(m, Mapping) and m.get("name")]
    if asked.startswith("cuda"):
        return f"{asked}: {names[0] if names else 'GPU of unrecorded name'}"
    cpu = run.env.get("cpu") or {}
    return f"{asked}: {plain(cpu.get('model'))}, {plain(cpu.get('cores'))} cores"


def protocol(run: Run) -> Facts:
    """How it was measured: processes, allocations, rounds, unit; what was not measured is left out."""
    found, asked = run.metrics.get("protocol") or {}, run.lock.get("measure") or {}
    energy, l2, wall = (found.get(part) or {} for part in ("energy", "l2", "wall"))
    out = [(words, plain(found.get(key))) for key, words in COUNTS.items() if key in found]
    out += [(words, plain(asked[key])) for key, words in ASKED.items() if key in asked]
    out += [("samples", f"{len(run.samples):,}")]
    out += [("tokens a forward", plain(dig(run.metrics, "inputs", "tokens")))]
    out += [(f"process {p['process']} ended by", stop(p)) for p in found.get("stopped") or ()]
    if energy.get("rounds"):
        out += [("energy rounds", f"{energy['rounds']}; {energy.get('note')}")]
    if l2.get("repetitions"):
        said = f"{l2['repetitions']}; {plain(l2.get('regimes'))}, {l2.get('launches')} forwards each"
        out += [("L2 profiles", f"{said}; {l2.get('note')}")]
    if wall.get("vs_events_pct"):
        by_arm = (f"{arm} {number(pct, 3)} %" for arm, pct in wall["vs_events_pct"].items())
        out += [("host clock above GPU events", ", ".join(by_arm))]
    return out


def unit(metrics: Mapping[str, Any]) -> str:
    """How samples became units, and units changes."""
    rest = (
        "n counts processes. Changes are 100 (exp(mean of the units) − 1); the interval is a paired t "
        "interval on the units."
    )
    if not named(metrics):
        earlier = "log ratios of block medians, averaged over rounds, then over allocations"
        return f"The unit is the process: {earlier}. {rest}"
    return (
        "The unit is the process. For latency it is the median of its rounds' log ratios of block medians, "
        "in which every allocation weighs the same, so that a few disturbed rounds do not carry it; the mean "
        "beside it is of every iteration, round and allocation. For energy, a sum over a window, and for L2 "
        f"and DRAM, which are counted, it is the mean over rounds, then over allocations. {rest}"
    )


def stop(process: Mapping[str, Any]) -> str:
    """What ended a process's latency rounds: ``width after 24 rounds, widest interval 0.93 %``."""
    width = process.get("width_pct")
    said = f"widest interval over rounds {number(width, 3)} %" if is_number(width) else process.get("reason")
    criterion = str(process.get("criterion")).replace("_", " ")
    return f"{criterion} after {process.get('rounds')} rounds; {said}"


def checks(metrics: Mapping[str, Any]) -> Facts:
    """Equivalence in float64 and the worst engine check."""
    found = metrics.get("equivalence") or {}
    holds = "holds" if found.get("ok") else "does not hold"
    worst = f"largest relative error {number(found.get('max_rel_err'), 2)} in {plain(found.get('dtype'))}"
    out = [("equivalence", f"{worst}: {holds}")]
    out += [(f"equivalence, {arm}", number(error, 2)) for arm, error in (found.get("layouts") or {}).items()]
    out += [("π then its inverse", plain(found.get("round_trip")))]
    return out


def overrides(run: Run) -> list[str]:
    """The command line in short: the groups chosen, where the lock has them, and the scalars."""
    config = run.metrics.get("config") or {}
    groups = dict(run.lock.get("choices") or {})
    if not groups:
        groups = {k: config.get(k) for k in ("pipeline", "transform", "precision", "measure")}
    named = {"model": dig(run.metrics, "model", "name"), **groups}
    named |= {k: config.get(k) for k in ("sparsity", "seq_len", "batch_size", "seed")}
    return [f"{key}={value}" for key, value in named.items() if value is not None]
