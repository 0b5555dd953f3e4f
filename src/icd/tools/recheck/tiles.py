"""T, executed widths and the solver's own scores, as far as layouts, live channels and graphs give them.

The nets of the weights are not saved. Where a site has one net (every tile row of its weights needs every
live channel, as whole channels leave it), T is that net's weight times the tiles that hold a live channel, so
all its values stand in known ratios. What an arm sheds of T it also sheds of the weights that the roofline
counts.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from icd.contracts import IntArray
from icd.pipeline.arms import sliced_layout
from icd.tools.recheck.recorded import Recorded, differ

SHED = 0.9  # of the weights' bytes that an arm sheds, at least so much is T's; biases are not
ROUNDED = 1e-9
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1}
EXECUTED = {"float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "int8": 1}


def tiles(run: Recorded) -> list[str]:
    """T of every site and arm, and what each arm executed."""
    out = []
    for row in run.metrics["sites"]:
        live, orders = live_mask(run, row), layouts(run, row)
        where = f"sites.{row['site']}"
        out += ratios(row, live, orders, where) if whole_channels(run, row) else []
        out += widths(run, row, live, orders)
    return [*out, *shed(run), *planted(run)]


def live_mask(run: Recorded, row: Mapping[str, Any]) -> Any:
    """Bool (channels,), dense order."""
    out = np.zeros(row["channels"], bool)
    out[run.after.live.get(row["site"], np.arange(row["channels"]))] = True
    return out


def layouts(run: Recorded, row: Mapping[str, Any]) -> dict[str, IntArray]:
    """The layout of every arm that has one; ``shuffle``: of the first allocation, which was checked."""
    name, size = row["site"], row["channels"]
    pi0, pi1 = run.before.layouts[name], run.after.layouts[name]
    identity = np.arange(size, dtype=np.int32)
    orders = {"dense": identity, "dense_bf16": identity, "linear": pi0, "aa": pi0, "iterative": pi1}
    orders["sliced"] = sliced_layout(live_mask(run, row))
    shuffled = pi0
    if name in run.after.live or not run.after.live:
        rng = np.random.default_rng([run.lock["seed"], 0, 0, zlib.crc32(name.encode())])
        shuffled = rng.permutation(size).astype(np.int32)
    return {**orders, "shuffle": shuffled}


def touched(live: Any, pi: IntArray, block: int) -> int:
    """Blocks of the layout that hold a live channel."""
    return int(np.count_nonzero(np.add.reduceat(live[pi].astype(int), np.arange(0, len(pi), block))))


def ratios(row: Mapping[str, Any], live: Any, orders: Mapping[str, IntArray], where: str) -> list[str]:
    """T of each arm, and of what the solver tried, in the ratio of the tiles that hold a live channel."""
    said = {f"cost.{arm}.T": (cost["T"], orders[arm]) for arm, cost in row["cost"].items() if arm in orders}
    tried = (row["solver"].get("after") or {}).get("candidates") or {}
    if "T" in tried.get("identity", {}):
        said["solver.after.candidates.identity.T"] = (tried["identity"]["T"], orders["dense"])
    if row["nets"] != 1 or any(T is None for T, _ in said.values()) or not said:
        return []
    net = {key: T / max(1, touched(live, pi, row["block"])) for key, (T, pi) in said.items()}
    first = next(iter(net))
    out = [
        f"{where}.{key}: {said[key][0]:g} bytes are not in the ratio of its tiles to {first}"
        for key, weight in net.items()
        if abs(weight - net[first]) > ROUNDED * abs(net[first])
    ]
    whole, least = dense_tiles(row), (1 - ROUNDED) * net[first] * -(-row["channels"] // row["block"])
    if whole and whole < least:
        out.append(f"{where}.solver.before.candidates: T is less than what is left of it in {first}")
    return out


def shipped(run: Recorded) -> bool:
    """Whether the model is one that icd ships."""
    model = run.lock["model"]
    return str(model["_target_"]).startswith("icd.") and "loader" not in model


def whole_channels(run: Recorded, row: Mapping[str, Any]) -> bool:
    """Whether every channel of the dense weights holds something, so that all of its tiles do: drawn weights
    do, and trained ones where no layout that the solver tried emptied a tile.
    """
    if shipped(run) and run.metrics["model"]["weights"] in ("random", "planted"):
        return True
    tried = (row["solver"].get("before") or {}).get("candidates") or {}
    return len(tried) > 2 and len({score["T"] for score in tried.values()}) == 1


def widths(run: Recorded, row: Mapping[str, Any], live: Any, orders: Mapping[str, IntArray]) -> list[str]:
    """What an arm executed of a site: all of it (masked), or the tiles that hold a live channel (compact)."""
    out, name, size = [], row["site"], row["channels"]
    for arm, block in run.metrics["arms"].items():
        executed = block["executed"]
        if name not in executed["sites"] or arm not in orders:
            continue
        alive = np.ones(size, bool) if arm.startswith("dense") else live
        kept = {"masked": size, "compact": kept_channels(alive[orders[arm]], row["block"])}.get(
            block["engine"]
        )
        if kept is None or "padded" in executed:
            kept = executed["sites"][name][0]
        out += differ(executed["sites"][name], [kept, size], f"arms.{arm}.executed.sites.{name}")
    return out


def kept_channels(alive: Any, block: int) -> int:
    """Channels in blocks that hold a live one, (D,) in the order of the layout; one block at least."""
    starts = np.arange(0, len(alive), block)
    sizes = np.diff(np.append(starts, len(alive)))
    holds = np.add.reduceat(alive.astype(int), starts) > 0
    return int(sizes[holds].sum()) if holds.any() else int(sizes[0])


def shed(run: Recorded) -> list[str]:
    """An arm that executes fewer weights than dense has a T that is as much smaller."""
    arms, rows = run.metrics["arms"], run.metrics["sites"]
    if not shipped(run) or not all(whole_channels(run, row) for row in rows):
        return []  # of a small model of the user's own biases may be most of what is cut
    if "dense" not in arms or run.lock["runtime"]["_target_"] != "icd.runtime.compact.Compact":
        return []
    out = []
    for arm in (name for name in arms if name in ("linear", "sliced", "iterative")):
        bytes_ = [weights(arms[name]) for name in ("dense", arm)]
        # an emulated precision is counted in its own bytes and executed in others
        asked = BYTES.get(run.metrics["config"]["precision"])
        same = {EXECUTED.get(arms[name]["executed"]["dtype"]) for name in ("dense", arm)} == {asked}
        costs = [[row["cost"][name]["T"] for row in rows] for name in ("dense", arm)]
        whole = sum(dense_tiles(row) for row in rows)
        if not same or any(T is None for T in costs[1]) or not whole:
            continue
        less, lighter = whole - sum(costs[1]), bytes_[0] - bytes_[1]
        if less < SHED * lighter:
            out.append(f"sites: T of {arm} is {less:g} bytes below dense, and its weights are {lighter:g}")
    return out


def dense_tiles(row: Mapping[str, Any]) -> float:
    """T of the dense weights of a site, as the solver found it before the transform; 0 where it is none."""
    tried = (row["solver"].get("before") or {}).get("candidates") or {}
    return float(next((score["T"] for score in tried.values() if score.get("T")), 0.0))


def weights(arm: Mapping[str, Any]) -> float:
    """Bytes of weights that the arm's forward reads."""
    return float(sum(part.get("weight_bytes") or 0.0 for part in arm["roofline"]["parts"]))


def planted(run: Recorded) -> list[str]:
    """The synthetic model's two weights a layer are known from the lock, so T is as well."""
    lock, rows = run.lock["model"], run.metrics["sites"]
    width = BYTES.get(run.metrics["config"]["precision"])
    if lock["_target_"] != "icd.model.mock.Mock" or width is None:
        return []
    out = []
    for row in rows:
        if "dense" not in row["cost"] or row["live"] != row["channels"] or row["nets"] != 1:
            whole = dense_tiles(row)
        else:
            whole = row["cost"]["dense"]["T"]
        again = float(-(-row["channels"] // row["block"]) * row["block"] * 2 * lock["width"] * width)
        if whole and abs(whole - again) > ROUNDED * again:
            out.append(
                f"sites.{row['site']}.cost: T of the dense weights is {whole:g} bytes, of the lock {again:g}"
            )
    return out
