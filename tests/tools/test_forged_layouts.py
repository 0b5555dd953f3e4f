"""Layouts, graphs, T and the solver's scores: what they cannot be, and what they must agree with."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import scipy.sparse

from icd.pipeline.solved import hash_layouts
from tests.tools.forge import Forgeries, check, edit, lock, put

forgery = Forgeries()
SITE = "layers.0.neurons"
GRAPH = f"W/{SITE}.npz"
BEFORE, AFTER = "perm_before.json", "perm_after.json"


def layout(run, file, change):
    """``change(pi)`` of the first site's layout, and the hash in ``iterations`` to match."""

    def forge(found):
        found["layouts"][SITE] = change(found["layouts"][SITE])

    edit(run, file, forge)
    found = json.loads((run / file).read_text())["layouts"]
    number = 0 if file == BEFORE else 1
    put(run, "metrics.json", "iterations", number, "pi_hash", value=hash_layouts(found))


def dead_twice(run, file):
    """One dead channel takes the place of another."""
    live = set(json.loads((run / file).read_text())["live"][SITE])

    def change(pi):
        first, second = [channel for channel in pi if channel not in live][:2]
        return [first if channel == second else channel for channel in pi]

    layout(run, file, change)


@forgery(r"perm_after\.json: layouts\.layers\.0\.neurons: no permutation; channel \d+ is there 2 times")
def two_dead_channels_merged_after(run):
    dead_twice(run, AFTER)


@forgery(r"perm_before\.json: layouts\.layers\.0\.neurons: no permutation; channel \d+ is there 2 times")
def two_dead_channels_merged_before(run):
    dead_twice(run, BEFORE)


@forgery(r"perm_after\.json: layouts\.layers\.0\.neurons: a channel beyond", on="simulated")
def a_negative_channel(run):
    layout(run, AFTER, lambda pi: [-1, *pi[1:]])


@forgery(r"perm_after\.json: layouts\.layers\.0\.neurons: a channel beyond", on="simulated")
def a_channel_beyond_the_site(run):
    layout(run, AFTER, lambda pi: [10**9, *pi[1:]])


@forgery(r"perm_before\.json: layouts\.layers\.0\.neurons: expected a list of channels")
def channels_that_are_no_whole_numbers(run):
    layout(run, BEFORE, lambda pi: [float(channel) for channel in pi])


@forgery(r"perm_before\.json: layouts\.layers\.0\.neurons: expected a list of channels")
def truth_values_for_channels(run):
    layout(run, BEFORE, lambda pi: [bool(channel) if channel < 2 else channel for channel in pi])


@forgery(
    r"perm_after\.json: layouts\.layers\.0\.neurons: \d+ channels, and sites\.layers\.0\.neurons\.channels"
)
def a_shorter_layout(run):
    size = len(json.loads((run / AFTER).read_text())["layouts"][SITE])
    layout(run, AFTER, lambda pi: [channel for channel in pi if channel < size - 1])
    edit(run, AFTER, lambda found: found["live"].update({SITE: found["live"][SITE][:-2]}))


@forgery(r"perm_after\.json: layouts\.layers\.1\.neurons is missing")
def a_site_left_out(run):
    edit(run, AFTER, lambda found: [part.pop("layers.1.neurons") for part in found.values()] and None)


@forgery(r"perm_before\.json: layouts\.more: the record has no such site")
def a_site_too_many(run):
    edit(run, BEFORE, lambda found: found["layouts"].update(more=[0, 1]))


@forgery(r"perm_before\.json: expected layouts and live")
def a_third_part(run):
    edit(run, BEFORE, lambda found: found.update(note="best layout"))


@forgery(r"perm_after\.json: live\.layers\.0\.neurons: channels are not in rising order, each once")
def a_live_channel_twice(run):
    edit(run, AFTER, lambda found: found["live"][SITE].__setitem__(1, found["live"][SITE][0]))


@forgery(r"perm_after\.json: live\.layers\.0\.neurons: channels beyond the \d+ of the site")
def a_live_channel_that_is_none(run):
    edit(run, AFTER, lambda found: found["live"][SITE].append(10**6))


@forgery(r"metrics\.json: iterations: linear\.pi_hash")
def layouts_exchanged(run):
    before, after = (run / BEFORE).read_text(), (run / AFTER).read_text()
    (run / BEFORE).write_text(after)
    (run / AFTER).write_text(before)


def graph(run, change):
    """``change(W)`` of a graph in COO form, saved again."""
    W = scipy.sparse.load_npz(run / GRAPH).tocoo()
    scipy.sparse.save_npz(run / GRAPH, scipy.sparse.csr_matrix(change(W)))


def arrays(run, **changes):
    """Other arrays in the archive of a graph."""
    with np.load(run / GRAPH) as found:
        held = {name: found[name] for name in found.files}
    for name, change in changes.items():
        held[name] = change(held.get(name))
    with open(run / GRAPH, "wb") as out:
        np.savez(out, **held)


@forgery(r"W/layers\.0\.neurons\.npz: it is not symmetric")
def one_weight_on_one_side(run):
    def change(W):
        W.data[0] *= 2
        return W

    graph(run, change)


@forgery(r"W/layers\.0\.neurons\.npz: a weight is not above 0")
def negative_weights(run):
    graph(run, lambda W: -W)


@forgery(r"W/layers\.0\.neurons\.npz: a weight is not above 0")
def a_weight_that_is_no_number(run):
    arrays(run, data=lambda data: np.where(np.arange(len(data)) == 0, np.nan, data))


@forgery(r"W/layers\.0\.neurons\.npz: expected whole numbers for rows and columns and floats")
def whole_numbers_for_weights(run):
    arrays(run, data=lambda data: np.ones(len(data), np.int64))


@forgery(r"W/layers\.0\.neurons\.npz: a channel is joined with itself")
def a_diagonal(run):
    def change(W):
        keep = W.col != W.col[-1]  # as many entries as before
        row, col, data = W.row[keep], W.col[keep], W.data[keep]
        more = len(W.data) - len(data)
        at = np.arange(more)
        return scipy.sparse.coo_matrix(
            (np.r_[data, np.ones(more)], (np.r_[row, at], np.r_[col, at])), shape=W.shape
        )

    graph(run, change)


@forgery(r"W/layers\.0\.neurons\.npz: expected CSR of 256 x 256")
def a_graph_of_another_size(run):
    graph(run, lambda W: W.tocsr()[:100, :100])


@forgery(r"W/layers\.0\.neurons\.npz: an entry lies beyond its rows and columns")
def a_column_out_of_range(run):
    arrays(run, indices=lambda indices: np.r_[np.int32(10**6), indices[1:]])


@forgery(r"W/layers\.0\.neurons\.npz: an entry lies beyond its rows and columns")
def a_negative_column(run):
    arrays(run, indices=lambda indices: np.r_[np.int32(-5), indices[1:]])


@forgery(r"W/layers\.0\.neurons\.npz: its rows do not begin and end where its entries do")
def rows_that_run_backwards(run):
    arrays(run, indptr=lambda indptr: np.r_[indptr[:1], indptr[:0:-1]])


@forgery(r"W/layers\.0\.neurons\.npz: entries are not in order, each once")
def an_entry_twice(run):
    arrays(run, indices=lambda indices: np.r_[indices[1:2], indices[1:]])


@forgery(r"W/layers\.0\.neurons\.npz: expected the arrays .* got .*why")
def an_array_too_many(run):
    arrays(run, why=lambda _: np.zeros(1))


@forgery(r"W/layers\.0\.neurons\.npz: Object arrays cannot be loaded")
def an_object_in_the_archive(run):
    arrays(run, data=lambda data: np.array([{}] * len(data), object))


@forgery(r"W/layers\.0\.neurons\.npz: it unpacks to \d+ bytes, more than")
def an_archive_that_unpacks_to_more(run):
    arrays(run, data=lambda data: np.zeros(2_000_000))


@forgery(r"W/layers\.0\.neurons\.npz: File is not a zip file")
def no_archive(run):
    (run / GRAPH).write_bytes(b"\x93NUMPY")


@forgery(r"W/layers\.0\.neurons\.npz: \d+ entries more than graph\.per_row=\d+ leaves")
def more_neighbours_than_the_lock_leaves(run):
    lock(run, "graph", "per_row", value=2)


@forgery(r"W/layers\.0\.neurons\.npz: \d+ entries, and graph\.nnz_cap is 100")
def more_entries_than_the_lock_leaves(run):
    lock(run, "graph", "nnz_cap", value=100)


@forgery(r"metrics\.json: sites\.layers\.0\.neurons\.cost\.\w+\.W_sum")
def a_graph_scaled(run):
    graph(run, lambda W: W * 10)


@forgery(r"metrics\.json: sites\.layers\.0\.neurons\.cost\.\w+\.C")
def a_graph_planted(run):
    planted(run)


def planted(run):
    """As many entries, between neighbours in the layout after the transform."""
    pi = np.array(json.loads((run / AFTER).read_text())["layouts"][SITE])

    def change(W):
        size, order = W.shape[0], np.argsort(-W.data, kind="stable")
        del order
        upper = [(a, b) for a in range(size) for b in range(a + 1, min(size, a + 64))][: len(W.data) // 2]
        row, col = (pi[np.array(side)] for side in zip(*upper, strict=True))
        data = np.full(len(row), W.data.mean())
        half = scipy.sparse.coo_matrix((data, (row, col)), shape=W.shape)
        return half + half.T

    graph(run, change)


@forgery(r"metrics\.json: sites\.layers\.0\.neurons\.solver\.before\.candidates\.identity\.C")
def a_graph_planted_and_all_costs_to_match(run):
    """All but what the solver said of the given order."""
    from icd.tools.recheck import layouts
    from icd.tools.recheck.recorded import load

    planted(run)
    for _ in range(2):  # arms' totals follow from the site table
        found = load(run)
        terms, totals = layouts.all_terms(found), layouts.arm_totals(found)
        metrics = json.loads((run / "metrics.json").read_text())
        for row in metrics["sites"]:
            site = terms[row["site"]]
            row["graph"]["nnz"] = site.nnz
            row |= site.facts
            for arm in row["cost"]:
                row["cost"][arm] = {**site.arms[arm], "T": row["cost"][arm]["T"]}
        for arm, block in metrics["arms"].items():
            own = totals.get(arm)
            if own:
                block["cost"] |= {key: own[key] for key in ("C", "Q", "J")}
        for number, when in ((0, "start"), (1, "best")):
            total = layouts.total_cost({name: getattr(site, when) for name, site in terms.items()})
            metrics["iterations"][number] |= {key: total[key] for key in ("C", "Q", "J")}
        (run / "metrics.json").write_text(json.dumps(metrics))


@forgery(r"W/layers\.0\.neurons\.npz: missing")
def a_graph_left_out(run):
    (run / GRAPH).unlink()


def tiles(run, factor, arms, *, tried=False):
    """T of ``arms`` by ``factor`` in every site, and in the iterations and their reasons."""

    def change(metrics):
        for row in metrics["sites"]:
            for arm in arms:
                row["cost"][arm]["T"] *= factor
            for scores in row["solver"].values() if tried else ():
                for score in (scores.get("candidates") or {}).values():
                    score["T"] *= factor
        steps = metrics["iterations"]
        for step in steps if "linear" in arms else steps[1:]:
            step["T"] *= factor
        if "linear" not in arms:
            fell = 100 * (1 - steps[1]["T"] / steps[0]["T"])
            steps[1]["reason"] = f"T fell by {fell:.2f} %"

    edit(run, "metrics.json", change)


@forgery(
    r"metrics\.json: sites\.layers\.0\.neurons\.cost\.iterative\.T: .* are not in the ratio of its tiles"
)
def T_of_one_arm_halved(run):
    tiles(run, 0.5, ["iterative"])


ARMS = ["dense", "linear", "sliced", "iterative", "aa"]


@forgery(r"metrics\.json: sites\.layers\.0\.neurons\.(cost|solver)")
def T_of_every_arm_halved(run):
    tiles(run, 0.5, ARMS)


@forgery(r"metrics\.json: sites\.layers\.0\.neurons\.cost: T of the dense weights is .* the lock")
def T_halved_wherever_it_stands(run):
    tiles(run, 0.5, ARMS, tried=True)


@forgery(r"metrics\.json: arms\.iterative\.executed\.sites\.layers\.0\.neurons\[0\]")
def fewer_tiles_executed(run):
    def change(metrics):
        arm = metrics["arms"]["iterative"]
        arm["executed"]["sites"][SITE][0] -= 64
        arm["tiles"]["live"] -= 1
        base = metrics["arms"]["linear"]["tiles"]["live"]
        metrics["compare"]["iterative_vs_linear"]["tiles"]["delta_pct"] = 100 * (
            arm["tiles"]["live"] / base - 1
        )

    edit(run, "metrics.json", change)
    edit(run, "ncu.json", lambda ncu: [
        entry["executed"]["sites"][SITE].__setitem__(0, entry["executed"]["sites"][SITE][0] - 64)
        for entry in ncu["runs"] if entry["arm"] == "iterative"] and None)  # fmt: skip


def solver(run, *path, value):
    edit(run, "metrics.json", lambda metrics: deep(metrics["sites"][0]["solver"], path, value))


def deep(node, path, value):
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value


@forgery(r"metrics\.json: sites\.layers\.0\.neurons\.solver\.before\.improved")
def no_better_than_the_given_order(run):
    found = json.loads((run / "metrics.json").read_text())["sites"][0]["solver"]["before"]["improved"]
    solver(run, "before", "improved", value=not found)


@forgery(
    r"metrics\.json: sites\.layers\.0\.neurons\.solver\.after\.chosen: \w+ was taken, and degree is better"
)
def a_better_candidate_that_was_not_taken(run):
    solver(run, "after", "candidates", "degree", "T", value=1.0)


@forgery(r"metrics\.json: sites\.layers\.0\.neurons\.solver\.after\.candidates\.identity is missing")
def the_given_order_was_not_tried(run):
    edit(
        run, "metrics.json", lambda m: m["sites"][0]["solver"]["after"]["candidates"].pop("identity") and None
    )


@forgery(r"metrics\.json: sites\.layers\.0\.neurons\.solver\.after\.candidates\.previous\.J")
def a_worse_layout_before(run):
    solver(run, "after", "candidates", "previous", "J", value=9.0)


@forgery(r"metrics\.json: sites\.layers\.0\.neurons\.graph\.tokens: such a graph says no such thing")
def a_graph_of_more_activations(run):
    put(run, "metrics.json", "sites", 0, "graph", "tokens", value=10**9)


@forgery(r"metrics\.json: sites: a site is there twice")
def a_site_told_twice(run):
    edit(run, "metrics.json", lambda metrics: metrics["sites"].append(metrics["sites"][0]))


@pytest.mark.usefixtures("rendered_once")
@pytest.mark.parametrize("case", **forgery.cases())
def test_a_forged_layout_graph_or_tile_is_found(case, bases, tmp_path, capsys, monkeypatch):
    check(case, bases, tmp_path, capsys, monkeypatch)


def test_a_synthetic_graph_is_drawn_again_from_the_lock(measured_run):
    from icd.graph.synthetic import Synthetic
    from icd.tools.recheck.graphs import drawn
    from icd.tools.recheck.recorded import load

    fields = {"kind": "planted", "group": 16, "degree": 4, "outside": 0.1, "sigma": 0.5}
    fields |= {"nnz_cap": 10**6, "normalize": "sym", "seed": 3}
    W = Synthetic(**fields).draw(SITE, 256).W
    run = load(measured_run)
    run.lock["graph"] = {"_target_": "icd.graph.synthetic.Synthetic", **fields}
    row = {"site": SITE, "channels": 256}
    held = {"data": W.data, "indices": W.indices, "indptr": W.indptr}
    assert drawn(run, row, held, GRAPH) == []
    held["data"] = np.roll(W.data, 1)
    assert drawn(run, row, held, GRAPH) == [f"{GRAPH}: not the graph that graph.seed=3 draws"]


def test_nothing_of_a_broken_graph_reaches_compiled_code(measured_run, tmp_path, monkeypatch):
    """The referee is not even called."""
    import shutil

    from icd.tools import verify as tool
    from icd.tools.recheck import layouts, scores

    out = shutil.copytree(measured_run, tmp_path / "measured")
    arrays(out, indices=lambda indices: np.full_like(indices, -(2**31)))
    assert zipfile.is_zipfile(out / GRAPH)
    for module in (layouts, scores):
        monkeypatch.setattr(module, "evaluate", lambda *a, **k: pytest.fail("it was"))
    assert any("an entry lies beyond" in problem for problem in tool.verify(out))
