"""What was chosen and decided: configuration, checks, gates, tags and the table, from lock and record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields

from icd.choices import conf_dir, published
from icd.own import named_class
from icd.pipeline.checks import LIMIT
from icd.pipeline.record import SCHEMA, configuration
from icd.pipeline.tags import tags
from icd.reading import read_text
from icd.recording import leaves
from icd.report.csv import encode
from icd.stats.gates import Gate, name_in_record
from icd.tools.recheck.recorded import Recorded, differ

KEYS = (
    "schema", "run_id", "created", "model", "config", "hardware", "arms", "compare", "equivalence",
    "iterations", "rollback", "solver", "transform", "static_scales", "sites", "bridge", "protocol",
    "derivation", "inputs", "tags", "gates", "elapsed_s",
)  # fmt: skip
PUBLISHED = ("mock", "smoke", "strict")
SAME = ("torch", "name", "l2_bytes", "sm_count", "cpu_capability")  # in all processes of a run
TOLD = {"choices", "files", "masked"}  # of a lock, beside settings
ENGINES = {"icd.runtime.compact.Compact": "compact", "icd.runtime.masked.Masked": "masked"}
PLAIN = re.compile(r"\w+/[\w-]+")
HEX = re.compile(r"[0-9a-f]{16,64}")
MODEL_TAGS = {"simulated", "reference-scan", "extended-positions"}


def configured(run: Recorded) -> list[str]:
    """``config`` and the names of the arms, from the lock; the schema, and that nothing was added to it."""
    metrics, lock = run.metrics, run.lock
    config = metrics["config"]
    formats = {arm["executed"]["format"] for name, arm in metrics["arms"].items() if name != "dense_bf16"}
    again = configuration(lock, metrics["inputs"], config["precision"], run.env["measured"][0]["device"])
    if "masked" not in lock and config["measure"] != "paper":  # earlier: a preset changed kept its name
        again |= {"measure": lock["measure"]["name"]}
    if config["transform"] == "nothing":  # so it was called once
        again |= {"transform": "nothing", "sparsity": lock["sparsity"]}
    out = [
        *differ(metrics["schema"], SCHEMA, "schema"),
        *differ(sorted(metrics), sorted(KEYS), "keys"),
        *differ(config, again, "config"),
        *differ(sorted(formats), [config["precision"]], "config.precision"),
        *differ([name for name in metrics["arms"] if name != "dense_bf16"], lock["pipeline"]["arms"], "arms"),
        *differ({process["device"] for process in run.env["measured"]} == {config["device"]}, True, "device"),
    ]
    if lock["runtime"]["_target_"] in ENGINES:
        own = ENGINES[lock["runtime"]["_target_"]]
        engines = {name: arm["engine"] for name, arm in metrics["arms"].items()}
        out += differ(engines, dict.fromkeys(engines, own), "arms.engine")
    out += one_machine(run)
    asked = lock["precision"].get("format")
    if asked not in (None, "auto"):
        out += differ(config["precision"], asked, "config.precision")
    return out


def one_machine(run: Recorded) -> list[str]:
    """Every process ran on the same device, with the torch that the run began with."""
    own, first = str(run.env["packages"].get("torch")).partition("+")[0], run.env["measured"][0]
    out = []
    for number, process in enumerate(run.env["measured"]):
        where = f"env.json: measured[{number}]"
        out += differ({k: process.get(k) for k in SAME}, {k: first.get(k) for k in SAME}, where)
        if process.get("torch") is not None and str(process["torch"]).partition("+")[0] != own:
            out.append(f"{where}.torch: {process['torch']}, and packages.torch is {own}")
    return out


def chosen(run: Recorded) -> list[str]:
    """``choices`` of the lock name what its groups hold: the report's command line is made of them."""
    import yaml

    out = []
    for group, name in run.lock["choices"].items():
        path = conf_dir() / str(group) / f"{name}.yaml"
        if (
            name is None
            or group not in run.lock
            or not PLAIN.fullmatch(f"{group}/{name}")
            or not path.is_file()
        ):
            continue  # a choice of the user's own
        published = yaml.safe_load(path.read_text("utf-8")) or {}
        again = {key: published[key] for key in ("_target_",) if key in published}
        found = {key: run.lock[group].get(key) for key in again}
        out += differ(found, again, f"config.lock.json: choices.{group}={name}")
    return [*out, *settings(run), *identified(run)]


def settings(run: Recorded) -> list[str]:
    """The lock holds no setting that there is none of: the report shows all of it."""
    import yaml

    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()}
    top = set(yaml.safe_load((conf_dir() / "config.yaml").read_text("utf-8"))) - {"defaults", "hydra"}
    out = [
        f"config.lock.json: {key}: there is no such setting"
        for key in sorted(set(run.lock) - groups - top - TOLD)
    ]
    keys = {key for key, _ in leaves({k: v for k, v in run.lock.items() if k not in TOLD})}
    named = (*run.lock.get("masked", ()), *(re.sub(r"\.\d+$", "", key) for key in run.lock.get("files", ())))
    out += [f"config.lock.json: masked or files: {k} is no setting" for k in sorted(set(named) - keys)]
    out += [
        f"config.lock.json: files.{key}: {value!r} is no digest"
        for key, value in run.lock.get("files", {}).items()
        if not (HEX.fullmatch(str(value)) and len(value) == 64)
    ]
    for group, held in run.lock.items():
        target = held.get("_target_") if isinstance(held, Mapping) else None
        if str(target).startswith("icd."):
            known = {field.name for field in fields(named_class(group, target))}
            strange = sorted(set(held) - known - {"_target_"})
            out += [f"config.lock.json: {group}.{key}: there is no such setting" for key in strange]
    return out


def identified(run: Recorded) -> list[str]:
    """Ids and digests are of their form, and the model's tags are those that its kind may have."""
    metrics, lock, out = run.metrics, run.lock["model"], []
    model = metrics["model"]
    if not HEX.fullmatch(str(metrics["run_id"])) or len(metrics["run_id"]) != 32:
        out.append(f"run_id: {metrics['run_id']!r}; expected 32 hexadecimal digits")
    if not HEX.fullmatch(str(metrics["inputs"]["sha256"])):
        out.append(f"inputs.sha256: {metrics['inputs']['sha256']!r} is no digest")
    if model["sha256"] is not None and not HEX.fullmatch(str(model["sha256"])):
        out.append(f"model.sha256: {model['sha256']!r} is no digest")
    if not str(lock["_target_"]).startswith("icd."):
        return out
    strange = set(model["tags"]) - MODEL_TAGS
    if not lock.get("extend_positions"):
        strange |= set(model["tags"]) & {"extended-positions"}
    out += [f"model.tags: {tag!r} is none that this model can have" for tag in sorted(strange)]
    drawn = model["weights"] in ("random", "planted") and "seed" in lock and "loader" not in lock
    if drawn and str(model["source"]).removeprefix("generated trace, ") != f"seed {lock['seed']}":
        out.append(f"model.source: {model['source']!r}, and model.seed is {lock['seed']}")
    return out


def checked(run: Recorded) -> list[str]:
    """Equivalence and engine checks: a run that did not pass them is no result."""
    proof = run.metrics["equivalence"]
    again = {"max_rel_err": max(proof["layouts"].values(), default=0.0), "dtype": "float64", "ok": True}
    again |= {"round_trip": "bit for bit"}
    out = differ({key: proof[key] for key in again}, again, "equivalence")
    if not proof["max_rel_err"] <= LIMIT:
        out.append(f"equivalence.max_rel_err: {proof['max_rel_err']:g} is above {LIMIT:g}")
    proved = [arm for arm in run.metrics["arms"] if arm in ("linear", "sliced", "iterative")]
    out += differ(sorted(proof["layouts"]), sorted(proved), "equivalence.layouts")
    measured = [("", run.metrics), ("rollback.first.", run.metrics["rollback"]["first"] or {"arms": {}})]
    for where, record in measured:
        for name, arm in record["arms"].items():
            check = arm["engine_check"]
            limit = tolerance(run, name)
            if limit is not None:
                out += differ(check["tolerance"], limit, f"{where}arms.{name}.engine_check.tolerance")
            if check["ok"] is not True or not 0 <= check["max_rel_err"] <= check["tolerance"]:
                out.append(f"{where}arms.{name}.engine_check: it did not pass")
    return out


def tolerance(run: Recorded, arm: str) -> float | None:
    """What the precision of an arm allows its engine check; None for a precision of the user's own."""
    fields = {**run.lock["precision"]}
    target = fields.pop("_target_")
    if not target.startswith("icd."):
        return None
    if arm == "dense_bf16":
        fields["format"] = "bf16"
    return float(named_class("precision", target)(**fields).tolerance(run.metrics["config"]["device"]))


def gated(run: Recorded) -> list[str]:
    """Every gate again, and its thresholds against the lock and those that icd publishes."""
    recorded = run.metrics["gates"]
    asked = {key: value for key, value in run.lock["gate"].items() if key != "_target_"}
    own = name_in_record(asked, published("gate", asked["name"]))
    names = {*PUBLISHED, own} - {"none"}
    out = [f"gates: {name} is missing" for name in sorted(names - set(recorded))]
    for name, gate in recorded.items():
        spec = asked if name == own else published("gate", name)
        if spec is None:
            out.append(f"gates.{name}: neither published nor the one that was asked for")
            continue
        found = Gate(**spec).evaluate(run.metrics)
        out += differ(gate, {**found, "spec": spec}, f"gates.{name}")
    return out


def tagged(run: Recorded) -> list[str]:
    """``tags`` and ``report.csv``."""
    out = differ(run.metrics["tags"], tags(run.metrics, run.env), "tags")
    if read_text(run.folder / "report.csv") != encode(run.metrics):
        out.append("report.csv: not the table of metrics.json; icd report writes it again")
    return out
