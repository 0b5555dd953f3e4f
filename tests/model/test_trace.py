"""model=trace: recorded reads as a workload whose function no order of the rows changes."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
import torch

from icd.contracts import Accesses
from icd.errors import ConfigError, MissingResource
from icd.model.calibration import collect
from icd.model.trace import unroll
from icd.transform.channel import Channel
from tests.tiny import trace

GOOD = '{"src": 0, "dst": 1}\n{"src": 1, "dst": 2, "w": 2.5}\n\n{"src": 3, "dst": 0, "w": 3}\n'
LINES = [
    ("", "the trace is empty"),
    ("\n\n", "the trace is empty"),
    ('{"src": 0, "dst": 1}\n{"src": 0', r"t\.jsonl, line 2: not JSON; expected"),
    ('{"src": 0}', r"line 1: expected \{\"src\": int, \"dst\": int\}"),
    ("[0, 1]", "line 1: expected"),
    ('{"src": 0, "dst": 1, "weight": 2}', "line 1: expected"),
    ('{"src": -1, "dst": 1}', "line 1: src=-1; expected a row from 0"),
    ('{"src": 0, "dst": 1.0}', r"line 1: dst=1\.0; expected a row"),
    ('{"src": true, "dst": 1}', "line 1: src=true; expected a row"),
    ('{"src": 0, "dst": 1000000000000}', "line 1: dst=1000000000000; expected a row from 0 to 131071"),
    ('{"src": 0, "dst": 1, "w": NaN}', "line 1: w=NaN; expected a finite number above 0"),
    ('{"src": 0, "dst": 1, "w": Infinity}', "line 1: w=Infinity; expected"),
    ('{"src": 0, "dst": 1, "w": 0}', "line 1: w=0; expected"),
    ('{"src": 0, "dst": 1, "w": "2"}', 'line 1: w="2"; expected'),
    ('{"src": 0, "dst": 1, "w": 1' + "0" * 400 + "}", "line 1: w=10{39}; expected a finite number"),
    ('{"src": 0, "dst": 1}\n' + "[" * 200_000, r"t\.jsonl, line 2: (nested too deeply|not JSON)"),
    ('{"src": 0, "dst": 1, "w": [[2]]}', "line 1: w is a list; expected a finite number"),
    ('{"src": {}, "dst": 1}', "line 1: src is a dict; expected a row's number"),
    ('{"src": 0, "dst": 0}', "a table of 1 rows; expected 2 to"),
]
MATRICES = [
    (np.ones((2, 3)), r"square matrix of rows x rows, got shape \(2, 3\)"),
    (np.array([[0, -1.5], [0, 0]]), "weights of 0 or more, got -1.5"),
    (np.array([[0, np.nan], [0, 0]]), "finite weights"),
    (np.zeros((3, 3)), "the trace is empty"),
]


def write(tmp_path, text):
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(("text", "sentence"), LINES)
def test_a_line_that_is_no_record_is_refused_by_its_number(text, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence):
        trace(path=write(tmp_path, text), rows=None).check()


@pytest.mark.parametrize(("matrix", "sentence"), MATRICES)
def test_a_matrix_that_is_no_trace_is_refused(matrix, sentence, tmp_path):
    scipy.sparse.save_npz(tmp_path / "t.npz", scipy.sparse.csr_matrix(matrix))
    with pytest.raises(ConfigError, match=sentence):
        trace(path=str(tmp_path / "t.npz"), rows=None).check()


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_what_is_no_sparse_matrix_is_refused(content, tmp_path):
    path = tmp_path / "t.npz"
    if content is None:
        np.savez(path, a=np.ones(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"t\.npz: not a sparse matrix"):
        trace(path=str(path)).check()


def test_a_trace_that_is_not_there_is_a_missing_resource_without_its_folder(tmp_path):
    with pytest.raises(MissingResource, match=r"model\.path='none\.jsonl': no such file") as caught:
        trace(path=str(tmp_path / "none.jsonl")).check()
    assert str(tmp_path) not in str(caught.value)


def test_rows_beyond_the_table_are_refused_in_lines_and_matrices(tmp_path):
    with pytest.raises(ConfigError, match=r"line 4: src=3; expected a row from 0 to 2 \(model\.rows=3\)"):
        trace(path=write(tmp_path, GOOD), rows=3).check()
    scipy.sparse.save_npz(tmp_path / "t.npz", scipy.sparse.csr_matrix(np.ones((4, 4))))
    with pytest.raises(ConfigError, match=r"names row 3 and model\.rows=3"):
        trace(path=str(tmp_path / "t.npz"), rows=3).check()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seq_len": 4}, "leave batch_size and seq_len null"),
        ({"precision": "int8"}, "precision=int8 is that of linear layers"),
        ({"row_bytes": 6}, "row_bytes=6: expected a multiple of 4"),
        ({"rows": 1}, "rows=1: expected null or 2 to"),
        ({"group": 1}, "group of 2 or more"),
        ({"weak": 1.5}, "numbers from 0 to 1"),
    ],
)
def test_settings_that_mean_nothing_here_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        trace(**changes)


def test_lines_become_records_in_order_and_the_file_is_named_with_its_digest(tmp_path, monkeypatch):
    path = write(tmp_path, GOOD)
    monkeypatch.setenv("ICD_DATA_DIR", str(tmp_path))
    for given in (path, "t.jsonl"):
        workload = trace(path=given, rows=None).build()
        found = workload.accesses["rows"]
        assert found.source.tolist() == [0, 1, 3] and found.target.tolist() == [1, 2, 0]
        assert found.weight.tolist() == [1, 2.5, 3]
        digest = hashlib.sha256(GOOD.encode()).hexdigest()
        assert workload.card.source == "t.jsonl" and workload.card.sha256 == digest
        assert workload.texts == {"path": {"file": "t.jsonl", "sha256": digest}}
        assert str(tmp_path) not in json.dumps([workload.card.source, dict(workload.texts)])


def test_a_matrix_is_symmetrised_and_keeps_its_rows(tmp_path):
    A = np.zeros((5, 5))
    A[0, 1], A[1, 0], A[2, 3] = 4, 2, 8
    scipy.sparse.save_npz(tmp_path / "t.npz", scipy.sparse.csr_matrix(A))
    workload = trace(path=str(tmp_path / "t.npz"), rows=None).build()
    found = workload.accesses["rows"]
    got = {(int(s), int(t)): w for s, t, w in zip(found.source, found.target, found.weight, strict=True)}
    assert got == {(0, 1): 1.5, (1, 0): 1.5, (2, 3): 2, (3, 2): 2}
    assert workload.sites[0].size == 5


def test_weights_become_passes_over_the_trace_and_stay_below_the_limit():
    given = Accesses(np.array([0, 1, 2]), np.array([1, 2, 0]), np.array([0.5, 1.5, 1.0]))
    src, dst, unit, unread = unroll(given, 100)
    assert src.tolist() == [0, 1, 2, 1, 2, 1] and dst.tolist() == [1, 2, 0, 2, 0, 2]
    assert (unit, unread) == (0.5, 0)
    heavy = Accesses(given.source, given.target, np.array([1.0, 1e9, 1.0]))
    src, _, unit, unread = unroll(heavy, 1000)
    assert src.tolist() == [1] * 1000 and unit == pytest.approx(1e6, rel=1e-8) and unread == 2


@pytest.mark.parametrize("limit", [1, 2, 7, 100, 1000, 10**6])
@pytest.mark.parametrize(
    "weight",
    [
        np.ones(1000),
        np.r_[np.ones(500), 1e6, np.ones(500)],
        np.arange(1.0, 60.0),
        np.random.default_rng(0).exponential(size=777),
        np.array([1e-290, 1e290, 3e289]),
        np.array([5e-324, 1.7e308]),
        np.full(3, 1e-290),
    ],
    ids=["equal", "one heavy", "whole", "any", "far apart", "limits of float64", "tiny"],
)
def test_reads_are_never_more_than_the_limit_and_each_record_has_its_share_of_them(weight, limit):
    number = np.arange(len(weight))
    src, _, unit, unread = unroll(Accesses(number, number, weight), limit)
    times = np.bincount(src, minlength=len(weight))
    exact = [Fraction(w) for w in weight.tolist()]
    share = np.array([float(w / sum(exact)) for w in exact]) if len(exact) < 9 else weight / weight.sum()
    assert 1 <= len(src) <= limit
    assert np.abs(times - share * len(src)).max() < 1
    assert unread == (times == 0).sum()
    assert unit * len(src) == pytest.approx(weight.sum(), rel=1e-9)
    whole = weight / weight.min() if weight.max() < 1e9 else weight
    if (whole == np.rint(whole)).all() and whole.sum() <= limit:
        assert times.tolist() == whole.tolist()


def test_the_forward_adds_the_rows_that_the_trace_reads():
    workload = trace().build()
    table = workload.module.table.weight.reshape(256, 8)
    src, dst = workload.inputs["src"][0], workload.inputs["dst"][0]
    out = workload.forward(workload.module, workload.inputs)
    assert out.shape == (1, 4096, 8) and (out[0] == table[src] + table[dst]).all()
    assert workload.tokens == 4096


@pytest.mark.parametrize("score", ["magnitude", "wanda"])
def test_the_rows_read_least_are_the_ones_removed(score):
    workload = trace(records=4000).build()  # no multiple of the calibration windows
    found = workload.accesses["rows"]
    use = np.bincount(found.source, minlength=256) + np.bincount(found.target, minlength=256)
    pruned = Channel(0.5, score, ["rows"], seed=0).apply(workload, collect(workload))
    live = pruned.live["rows"]
    assert live.sum() == 128 and use[live].min() >= use[~live].max()
    # what is left reads as before, a removed row as zeros
    src, dst = workload.inputs["src"][0], workload.inputs["dst"][0]
    rows = workload.module.table.weight.reshape(256, 8) * torch.from_numpy(live)[:, None]
    assert torch.equal(pruned.forward(pruned.module, pruned.inputs)[0], rows[src] + rows[dst])


def test_the_same_seed_plants_the_same_trace_and_another_one_another():
    a, b, c = (trace(seed=s).build().accesses["rows"].source for s in (0, 0, 1))
    assert (a == b).all() and (a != c).any()


def test_communities_of_a_planted_trace_are_scattered_and_weak_halves_read_less():
    workload = trace(inside=1.0).build()
    found = workload.accesses["rows"]
    W = scipy.sparse.coo_matrix((found.weight, (found.source, found.target)), shape=(256, 256))
    count, label = scipy.sparse.csgraph.connected_components(W, directed=False)
    sizes = np.bincount(label)
    assert count >= 16 and sizes.max() <= 16
    largest = np.flatnonzero(label == sizes.argmax())
    assert largest.max() - largest.min() > 64


def test_a_byte_order_mark_is_no_part_of_a_trace(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(GOOD, "utf-8-sig")
    trace(path=str(path), rows=None).check()
