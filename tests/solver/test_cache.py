from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import replace

import numpy as np
import pytest
from layout_instances import random_graph

from icd.contracts import Nets
from icd.solver.cache import CachedSolver, layout_key
from icd.solver.louvain import Louvain
from icd.solver.objective import Objective
from icd.solver.parallel import SiteTask, fit_sites
from icd.solver.problem import pose
from icd.solver.tile import Tile

W = random_graph(40)
PINS = np.random.default_rng(0).random((30, 40)) < 0.2
SOLVER = Tile(max_proposals=5000)


def solve(directory, solver=SOLVER, nets=PINS):
    return CachedSolver(solver, directory).solve(W, nets, block=8, line=4)


def test_a_second_solve_is_a_hit_with_the_same_layout_and_statistics(tmp_path):
    first, second = solve(tmp_path), solve(tmp_path)
    assert (first.stats["cache"], second.stats["cache"]) == ("miss", "hit")
    assert np.array_equal(first.pi, second.pi)
    assert second.pi.dtype == np.int32
    assert {k: v for k, v in second.stats.items() if k != "cache"} == {
        k: v for k, v in first.stats.items() if k != "cache"
    }


@pytest.mark.parametrize("damage", ["truncate", "edit", "binary", "other json"])
def test_a_damaged_entry_is_warned_of_and_replaced(tmp_path, caplog, damage):
    expected = solve(tmp_path).pi
    (entry,) = tmp_path.iterdir()
    text = entry.read_text()
    if damage == "binary":
        entry.write_bytes(b"\xff\xfe\x00")
    else:
        entry.write_text(
            {"truncate": text[:100], "edit": text.replace("]", ",1]", 1), "other json": "[]"}[damage]
        )
    with caplog.at_level(logging.WARNING):
        again = solve(tmp_path)
    assert "solving again" in caplog.text
    assert again.stats["cache"] == "miss"
    assert np.array_equal(again.pi, expected)
    assert solve(tmp_path).stats["cache"] == "hit"


def forge(entry, change):
    """Change a kept entry and make its checksum fit."""
    kept = json.loads(entry.read_text())
    change(kept)
    kept["sha256"] = hashlib.sha256(
        json.dumps([kept["pi"], kept["stats"]], sort_keys=True).encode()
    ).hexdigest()
    entry.write_text(json.dumps(kept))


def deep(kept):
    for _ in range(500):
        kept["stats"]["after"] = {"T": kept["stats"]["after"]}


FORGED = {
    "NaN": lambda kept: kept["stats"]["after"].update(J=float("nan")),
    "infinity": lambda kept: kept["stats"].update(seconds=float("inf")),
    "text for a figure": lambda kept: kept["stats"]["after"].update(C="0.5"),
    "truth value for a figure": lambda kept: kept["stats"]["after"].update(R_stab=True),
    "no figure": lambda kept: kept["stats"]["before"].update(Q=None),
    "better than it is": lambda kept: kept["stats"]["after"].update(T=kept["stats"]["after"]["T"] / 2),
    "another layout": lambda kept: kept.update(pi=sorted(kept["pi"])),
    "a channel twice": lambda kept: kept.update(pi=[kept["pi"][1], *kept["pi"][1:]]),
    "a negative channel": lambda kept: kept.update(pi=[-1, *kept["pi"][1:]]),
    "fewer channels": lambda kept: kept.update(pi=list(range(8))),
    "channels as text": lambda kept: kept.update(pi="0123"),
    "statistics as a list": lambda kept: kept.update(stats=[1]),
    "candidates as a list": lambda kept: kept["stats"].update(candidates=["tile"]),
    "a candidate without a cost": lambda kept: kept["stats"]["candidates"].update(tile={"T": "x"}),
    "no seconds": lambda kept: kept["stats"].pop("seconds"),
    "nested deeply": deep,
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_an_entry_that_does_not_hold_is_warned_of_and_replaced_though_its_checksum_fits(
    tmp_path, caplog, change
):
    expected = solve(tmp_path).pi
    (entry,) = tmp_path.iterdir()
    forge(entry, change)
    with caplog.at_level(logging.WARNING):
        again = solve(tmp_path)
    assert "is damaged" in caplog.text and str(tmp_path) not in caplog.text
    assert again.stats["cache"] == "miss" and np.array_equal(again.pi, expected)
    assert solve(tmp_path).stats["cache"] == "hit"


@pytest.mark.parametrize("kind", ["FIFO", "folder"])
def test_an_entry_that_is_no_file_is_never_waited_for(tmp_path, caplog, kind):
    expected = solve(tmp_path).pi
    (entry,) = tmp_path.iterdir()
    entry.unlink()
    os.mkfifo(entry) if kind == "FIFO" else entry.mkdir()
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(solve(tmp_path).pi, expected)
    assert f"expected a file, got a {kind}" in caplog.text


def test_a_layout_cut_short_by_the_budget_is_not_stored(tmp_path):
    layout = solve(tmp_path, Tile(time_budget_s=0.2, max_proposals=10**10))
    assert layout.stats["time_limited"]
    assert list(tmp_path.iterdir()) == []


def test_nothing_temporary_is_left_behind(tmp_path):
    solve(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def problem(graph=W, nets=PINS, block=8, line=4, previous=None):
    return pose(graph, nets, block=block, line=line, previous=previous, objective=Objective())


def test_the_key_changes_with_everything_that_decides_a_layout():
    heavier = W.copy()
    heavier.data[0] *= 2
    heavier = heavier.maximum(heavier.T)
    other_pins = PINS.copy()
    other_pins[0, 0] ^= True
    keys = [
        layout_key(SOLVER, problem()),
        layout_key(SOLVER, problem(graph=heavier)),
        layout_key(SOLVER, problem(nets=other_pins)),
        layout_key(SOLVER, problem(nets=None)),
        layout_key(SOLVER, problem(nets=Nets(problem().nets.matrix, np.full(30, 2.0)))),
        layout_key(SOLVER, problem(block=4)),
        layout_key(SOLVER, problem(line=8)),
        layout_key(SOLVER, problem(previous=np.arange(40))),
        layout_key(replace(SOLVER, seed=1), problem()),
        layout_key(replace(SOLVER, mu=0.1), problem()),
        layout_key(Louvain(max_proposals=5000), problem()),
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_does_not_change_with_the_time_budget():
    assert layout_key(SOLVER, problem()) == layout_key(replace(SOLVER, time_budget_s=7.0), problem())


def test_sites_of_a_model_are_remembered(tmp_path):
    tasks = {"a": SiteTask(W, PINS, 8, 4), "b": SiteTask(W, None, 8, 4)}
    first = fit_sites(tasks, SOLVER, cache_dir=tmp_path)
    second = fit_sites(tasks, SOLVER, cache_dir=tmp_path)
    assert [first[name].stats["cache"] for name in tasks] == ["miss", "miss"]
    assert [second[name].stats["cache"] for name in tasks] == ["hit", "hit"]


def test_a_folder_that_cannot_be_made_is_warned_of_once_and_done_without(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        first, second = (solve(tmp_path / "file" / "layouts") for _ in range(2))
    assert caplog.text.count("solved layouts cannot be kept") == 1
    assert first.stats["cache"] == second.stats["cache"] == "miss"
    assert np.array_equal(first.pi, second.pi)
