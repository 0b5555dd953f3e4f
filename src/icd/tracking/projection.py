"""What of a run directory goes into a tracking store: params, metrics, tags and files, as plain values.

A figure that is null in the record is left out, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from icd import ledger
from icd.errors import ConfigError, MissingResource
from icd.ledger import is_sweep as is_sweep
from icd.reading import Unreadable, read_json

HEADLINE = "iterative_vs_linear"
SUMS = "SHA256SUMS"
FIRST_PARAMS = (
    "pipeline", "transform", "sparsity", "precision", "seq_len", "batch_size",
    "device", "seed", "measure", "solver", "engine",
)  # fmt: skip
MOST_PARAMS = 100
LONGEST_KEY = 250
LONGEST_VALUE = 500
FILES = ("report.html", "report.csv", "config.lock.yaml", "metrics.json", "env.json")
RATIOS = ("latency", "latency_cold", "ept", "dram", "dram_cold")
POINTS = ("l2_pp", "l2_cold_pp")
ARM_BLOCKS = (
    "latency_ms", "latency_cold_ms", "l2", "l2_cold", "energy", "quality", "cost", "tiles", "roofline",
)  # fmt: skip
ENDS = (("ci_lo", 0), ("ci_hi", 1))


@dataclass(frozen=True)
class Projection:
    """One cell. ``sweep`` names the sweep it belongs to, ``sweep_id`` tells it from others of that name;
    ``time_ms`` is when the run was made, ``end_ms`` when it was done.
    """

    run_id: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: tuple[Path, ...]
    sweep: str | None
    time_ms: int
    end_ms: int
    sweep_id: str | None = None


def project(folder: Path) -> Projection:
    """The projection of a run; MissingResource where it is not finished, ConfigError where it is broken."""
    finished(folder)
    record, lock, env = (_read(folder / f) for f in ("metrics.json", "config.lock.json", "env.json"))
    plots = sorted((folder / "plots").glob("*.png")) if (folder / "plots").is_dir() else []
    above = ledger.sweep_of(folder)
    start = datetime.fromisoformat(str(record["created"])).timestamp()
    return Projection(
        run_id=str(record["run_id"]),
        name=written(folder.name),
        params={key: written(value) for key, value in params(record, lock).items()},
        metrics=dict(metrics(record)),
        tags={key: written(value) for key, value in tags(record, env).items()},
        files=(*(folder / f for f in FILES if (folder / f).is_file()), *plots),
        sweep=None if above is None else sweep_name(above),
        sweep_id=None if above is None else ledger.sweep_id(above),
        time_ms=int(1000 * start),
        end_ms=int(1000 * (start + float(record.get("elapsed_s") or 0.0))),
    )


def written(text: str) -> str:
    """``text`` with what is no character (of a file's name) escaped: a database takes UTF-8 alone."""
    return text.encode("utf-8", "backslashreplace").decode()


def finished(folder: Path) -> None:
    """MissingResource where ``folder`` holds no finished run."""
    if not folder.is_dir():
        raise MissingResource(f"{folder}: there is no such run directory")
    if not (folder / SUMS).is_file() or not (folder / "metrics.json").is_file():
        raise MissingResource(f"{folder.name}: not a finished run ({SUMS} or metrics.json is missing)")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(read_json(path, f"{path.parent.name}/{path.name}"))
    except (TypeError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise ConfigError(f"{path.parent.name}/{path.name}: expected an object") from error


def sweep_name(folder: Path) -> str:
    """A sweep directory's name, with its day where runs are filed by day."""
    folder = folder.resolve()
    day = folder.parent.name
    try:
        datetime.strptime(day, "%Y-%m-%d")
    except ValueError:
        return folder.name
    return f"{day}/{folder.name}"


def params(record: Mapping[str, Any], lock: Mapping[str, Any]) -> dict[str, str]:
    """The model and the configuration by name, then the flattened lock, at most 100."""
    config = record.get("config") or {}
    out = {"model": str((record.get("model") or {}).get("name"))}
    out |= {key: str(config[key]) for key in FIRST_PARAMS if config.get(key) is not None}
    for key, value in flatten(lock):
        if len(out) == MOST_PARAMS:
            break
        if len(key) <= LONGEST_KEY and value is not None:
            out.setdefault(key, str(value)[:LONGEST_VALUE])
    return out


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``solver.seed`` -> 0, depth first; a list is one value."""
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for key, below in value.items():
        yield from flatten(below, f"{prefix}.{key}" if prefix else str(key))


def metrics(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every figure under a stable name; the headline comparison also without its prefix."""
    compared = record.get("compare") or {}
    named = [("", compared[HEADLINE])] if HEADLINE in compared else []
    for prefix, block in (*named, *((f"{name}.", block) for name, block in compared.items())):
        yield from _known((f"{prefix}{key}", value) for key, value in comparison(block))
    for name, arm in (record.get("arms") or {}).items():
        for block in ARM_BLOCKS:
            found = arm.get(block) or {}
            yield from _known((f"arm.{name}.{block}.{key}", v) for key, v in found.items() if key != "ci95")
        yield from _known([(f"arm.{name}.throughput_tok_s", arm.get("throughput_tok_s"))])
    for name, gate in (record.get("gates") or {}).items():
        if gate.get("pass") is not None:
            yield f"gate.{name}", float(gate["pass"])
    solver = record.get("solver") or {}
    alone = {f"solver.{k}": solver.get(k) for k in ("seconds", "break_even_forwards")}
    alone["equivalence.max_rel_err"] = (record.get("equivalence") or {}).get("max_rel_err")
    yield from _known({**alone, "elapsed_s": record.get("elapsed_s")}.items())


def comparison(block: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The figures of one comparison, null ones included."""
    for ratio in RATIOS:
        found = block.get(ratio) or {}
        yield f"{ratio}.delta_pct", found.get("delta_pct")
        yield f"{ratio}.mean_delta_pct", found.get("mean_delta_pct")
        yield from ((f"{ratio}.{end}", (found.get("ci95") or (None, None))[i]) for end, i in ENDS)
        yield from (
            (f"{ratio}.{key}", found.get(key)) for key in ("n_units", "floor_pct", "p_value", "p_holm")
        )
    for name in POINTS:
        points = block.get(name) or {}
        yield f"{name}.delta", points.get("delta")
        yield from ((f"{name}.{end}", (points.get("ci95") or (None, None))[i]) for end, i in ENDS)
    yield from ((key, (block.get("cost") or {}).get(key)) for key in ("C_delta_pct", "Q_delta"))
    yield "tiles.delta_pct", (block.get("tiles") or {}).get("delta_pct")
    yield from ((key, block.get(key)) for key in ("quality_pp", "quality_vs_dense_pp"))


def _known(pairs: Any) -> Iterator[tuple[str, float]]:
    for key, value in pairs:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield key, float(value)


def tags(record: Mapping[str, Any], env: Mapping[str, Any]) -> dict[str, str]:
    """Identity, verdict and the run's own tags."""
    latency = ((record.get("compare") or {}).get(HEADLINE) or {}).get("latency") or {}
    model, git = record.get("model") or {}, env.get("git") or {}
    found = {
        "icd.run_id": record.get("run_id"),
        "icd.verdict": latency.get("verdict")
        or ("SIMULATED" if latency.get("source") == "simulated" else None),
        "icd.source": latency.get("source"),
        "icd.tags": ",".join(record.get("tags") or ()),
        "icd.model": model.get("name"),
        "icd.weights": model.get("weights"),
        "icd.schema": record.get("schema"),
        "icd.git_commit": git.get("commit"),
        "mlflow.source.git.commit": git.get("commit"),
        "mlflow.source.name": "icd",
    }
    return {key: str(value) for key, value in found.items() if value}
