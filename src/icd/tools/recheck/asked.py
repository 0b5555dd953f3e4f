"""What the record says was measured (model, shape, share removed, graphs) against the lock, the log and the
live channels. A model, transform or graph of the user's own says of itself what it likes.
"""

from __future__ import annotations

from typing import Any

from icd.pipeline.prepare import RANDOM
from icd.pipeline.solved import KEPT
from icd.reading import read_json_lines
from icd.tools.recheck.recorded import Recorded, differ
from icd.transform.channel import share_note

NO_BRIDGE = {"value": None, "reason": "bridge=none"}
SEARCH = ("tile", "louvain")  # solvers of many candidates; the others have one, of their own name
ALWAYS = {
    "icd.model.mock.Mock": "planted",
    "icd.model.minilm.MiniLM": "pretrained",
}  # models of one kind of weights


def asked(run: Recorded) -> list[str]:
    """Everything that was chosen in the lock and is told again elsewhere."""
    return [
        *model(run),
        *shape(run),
        *removed(run),
        *told(run),
        *solved(run),
        *differ(run.metrics["bridge"], NO_BRIDGE, "bridge"),
    ]


def model(run: Recorded) -> list[str]:
    """Name, kind of weights and what must be said of random ones, which the log said as well."""
    found, lock = run.metrics["model"], run.lock["model"]
    out = []
    if "name" in lock:
        out += differ(found["name"], lock["name"], "model.name")
    said = RANDOM.format(found["name"])
    random = found["weights"] == "random"
    out += differ(found["notice"], said if random else None, "model.notice")
    lines = read_json_lines(run.folder / "run.log")
    logged = said in [line["meta"].get("message") for line in lines if line["stage"] == "notice"]
    out += differ(logged, random, "run.log: a notice of random weights")
    if lock["_target_"] in ALWAYS:
        out += differ(found["weights"], ALWAYS[lock["_target_"]], "model.weights")
    wanted = lock.get("weights") if _own(lock) else None
    if wanted is not None:
        kinds = ["random"] if wanted == "random" else ["pretrained"]
        if found["weights"] not in (["random", "pretrained"] if wanted == "auto" else kinds):
            out.append(f"model.weights: {found['weights']}, and {wanted} was asked for")
        out += differ(found["sha256"] is None, random, "model.sha256: none, and weights are random")
    tags = set(found["tags"])
    out += differ("simulated" in tags, run.simulated, "model.tags: simulated")
    if _own(lock) and "scan" in lock:
        out += differ("reference-scan" in tags, lock["scan"] == "reference", "model.tags: reference-scan")
    return out


def shape(run: Recorded) -> list[str]:
    """Batch and length that were asked for; prompts bring their own, and so do a user's loader."""
    config, lock = run.metrics["config"], run.lock["model"]
    batch, seq_len, tokens = config["batch_size"], config["seq_len"], run.metrics["inputs"]["tokens"]
    if seq_len is None:  # sequences of different lengths: no number of tokens that all have
        out = differ(tokens % batch != 0, True, "config.seq_len: null")
    else:
        out = differ(batch * seq_len, tokens, "config: batch x seq_len")
    if not _own(lock) or lock.get("prompts") is not None:
        return out
    for key in ("batch_size", "seq_len"):
        wanted = lock.get(key) or lock.get(f"default_{key}")
        if wanted is not None and f"default_{key}" in lock:  # else a loader is told, and does as it likes
            out += differ(config[key], wanted, f"config.{key}")
    return out


def removed(run: Recorded) -> list[str]:
    """As many live channels of every site as the share asked for leaves, and a word where it cannot."""
    lock, kind = run.lock["transform"], run.lock["transform"]["_target_"].rpartition(".")[2]
    if not _own(lock):
        return []
    pruned = kind == "Channel" and "linear" in run.metrics["arms"]  # else nothing is transformed
    dead, out = [], []
    for row in run.metrics["sites"]:
        here = pruned and row["group"] in lock["groups"]
        gone = min(round(lock["sparsity"] * row["channels"]), row["channels"] - 1) if here else 0
        out += differ(row["live"], row["channels"] - gone, f"sites.{row['site']}.live")
        dead += [(row["group"], row["channels"], gone)] if here else []
    if pruned:
        again = share_note(lock["sparsity"], dead).get("share")
        out += differ(run.metrics["transform"].get("share"), again, "transform.share")
    return out


def told(run: Recorded) -> list[str]:
    """What the transform says it was asked for, and of what the graphs were made."""
    lock, found, out = run.lock["transform"], run.metrics["transform"], []
    if _own(lock) and "linear" in run.metrics["arms"]:
        for key in ("attention", "recover"):
            if key in lock:
                again: Any = {"asked": lock[key]}
                out += differ({"asked": found.get(key, {}).get("asked")}, again, f"transform.{key}")
    if "order" in found and "order" in lock:
        out += differ(found["order"]["asked"], lock["order"], "transform.order.asked")
    graph = run.lock["graph"]
    if _own(graph):
        own = graph["_target_"].split(".")[-2]
        sources = sorted({row["graph"]["source"].partition(",")[0] for row in run.metrics["sites"]})
        out += differ(sources, [own] if sources else [], "sites: source of the graphs")
    return out


def solved(run: Recorded) -> list[str]:
    """Candidates that the solver asked for would try, and no more iterations than were asked for."""
    out, own = [], run.metrics["config"]["solver"]
    tried = {
        name
        for row in run.metrics["sites"]
        for when in ("before", "after")
        for name in (row["solver"].get(when) or {}).get("candidates", ())
    }
    strange = tried & {*SEARCH, "shuffle"} - {own} if own in SEARCH else tried - {own, KEPT}
    if _own(run.lock["solver"]) and strange:
        out.append(f"sites: solver: {', '.join(sorted(tried))} were tried, and {own} was asked for")
    again = run.metrics["rollback"]["first"] is not None  # which adds a step
    if len(run.metrics["iterations"]) - again > run.lock["pipeline"]["max_iters"] + 1:
        out.append("iterations: more than pipeline.max_iters")
    return out


def _own(group: Any) -> bool:
    """Whether what the lock chose is icd's."""
    return str(group["_target_"]).startswith("icd.")
