"""Whatever is in a file, an override or a name: a result that a plain twin agrees with, or one sentence.

The examples are the same in every run (no database, no random seed), and few enough for a minute in all.
"""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from icd.archives import read_layouts, read_square
from icd.choices import conf_dir
from icd.composing import check_cell
from icd.errors import Exit, IcdError
from icd.graph.trace import Trace
from icd.model.sites_file import read_sites
from icd.model.text import read_own
from icd.reading import parse_json
from icd.samples import read_samples
from icd.tools import report, sync, validate, verify
from tests.tiny import trace

pytestmark = pytest.mark.slow
CODES = {Exit.BAD_CONFIG, Exit.MISSING_RESOURCE, Exit.VERIFICATION_FAILED}


def fuzz(examples):
    """The same examples in every run, as many as are named."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),  # a failure is reported as found: shrinking takes minutes
        suppress_health_check=list(HealthCheck),
    )


def outcome(function, *arguments):
    """What ``function`` returns, or None after a refusal: one line and a documented code."""
    try:
        return function(*arguments)
    except IcdError as error:
        assert error.code in CODES, error
        assert str(error).strip() and "\n" not in str(error).strip(), error
        assert "Traceback" not in str(error)
        return None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([0, 1, 2, -1, 131071, 131072, 1e-320, 1e308, 2**63]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
ROWS = st.integers(0, 9)
WEIGHTS = st.integers(1, 10**6) | st.floats(1e-290, 1e290)
RECORD = st.fixed_dictionaries({"src": ROWS, "dst": ROWS}, optional={"w": WEIGHTS})
ODD = st.fixed_dictionaries({"src": JSON, "dst": JSON}, optional={"w": JSON, "x": JSON})


def dense(source, target, weight, size):
    """W by its definition: numpy alone, in float64."""
    A = np.zeros((size, size))
    np.add.at(A, (source, target), weight)
    A = A + A.T
    np.fill_diagonal(A, 0.0)
    return A


def check_trace(path, expected, reads):
    """Build the trace of ``path``; its graph is ``expected``, and its reads are at most ``reads``."""
    workload = outcome(lambda: trace(path=str(path), rows=None, max_reads=reads).build())
    if workload is None:
        return None
    assert 1 <= workload.tokens <= reads
    assert workload.tokens == workload.inputs["src"].numel() == workload.inputs["dst"].numel()
    found = outcome(lambda: Trace(10**6, "none").build(workload, None))
    if found is not None and expected is not None:
        W = found["rows"].W.toarray()
        assert np.allclose(W, expected[: len(W), : len(W)], rtol=1e-12, atol=0.0)
    return workload


@given(
    st.lists(RECORD, min_size=1, max_size=30), st.integers(1, 300), st.sampled_from(["\n", "\r\n", "\n\n"])
)
@fuzz(150)
def test_a_trace_of_records_is_what_numpy_makes_of_them(tmp_path_factory, records, reads, end):
    path = tmp_path_factory.mktemp("t") / "t.jsonl"
    path.write_bytes(end.join(map(json.dumps, records)).encode())
    source, target, weight = (
        np.array([r.get(key, 1) for r in records], dtype)
        for key, dtype in (("src", int), ("dst", int), ("w", float))
    )
    workload = check_trace(path, dense(source, target, weight, 10), reads)
    if workload is None:
        assert max(source.max(), target.max()) == 0  # one row is no table
        return
    times = np.bincount(workload.inputs["src"].ravel().numpy(), minlength=10)
    share = np.bincount(source, weight / weight.max(), minlength=10)
    # a row's reads are those of its records, each off by less than one
    off = np.abs(times - share / share.sum() * workload.tokens)
    assert (off <= np.bincount(source, minlength=10) + 1e-6).all()


@given(st.lists(RECORD | ODD | JSON | st.text(max_size=20), max_size=5), st.binary(max_size=6))
@fuzz(150)
def test_a_trace_of_anything_is_read_or_refused(tmp_path_factory, records, tail):
    path = tmp_path_factory.mktemp("t") / "t.jsonl"
    path.write_bytes("\n".join(json.dumps(r) for r in records).encode() + tail)
    check_trace(path, None, 50)


DTYPES = st.sampled_from(["u1", "i1", ">u2", "i8", "f2", "f4", ">f8", "?"])


@given(st.data(), DTYPES, st.sampled_from(["coo", "csr", "csc"]))
@fuzz(150)
def test_an_archive_of_counts_is_what_numpy_makes_of_them(tmp_path_factory, data, dtype, kind):
    path = tmp_path_factory.mktemp("t") / "t.NPZ"
    size = data.draw(st.integers(2, 6))
    place = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))
    row, column = np.array(data.draw(st.lists(place, min_size=1, max_size=40))).T
    order = np.argsort(row if kind == "csr" else column, kind="stable") if kind != "coo" else slice(None)
    row, column = row[order], column[order]
    value = np.array(data.draw(st.lists(st.integers(0, 120), min_size=len(row), max_size=len(row)))).astype(
        dtype
    )
    arrays = {"row": row, "col": column}
    if kind != "coo":
        major, minor = (row, column) if kind == "csr" else (column, row)
        starts = np.searchsorted(major, np.arange(size + 1))
        arrays = {"indices": minor.astype(np.int32), "indptr": starts}
    with path.open("wb") as file:
        np.savez(file, format=kind.encode(), shape=(size, size), data=value, **arrays)
    expected = dense(row, column, value.astype(np.float64), size) / 2
    A = np.zeros((size, size))
    np.add.at(A, (row, column), value.astype(np.float64))
    assert (read_square(path).toarray() == A).all()
    workload = check_trace(path, expected, 50)
    assert (workload is None) == (not A.any())


MEMBERS = {"format": b"csr", "shape": (4, 4), "data": np.ones(4), "indices": [1, 0, 3, 2], "indptr": range(5)}
ARRAYS = st.builds(
    lambda values, dtype: np.array(values).astype(dtype, copy=False),
    st.lists(st.integers(-5, 2**40) | st.floats(), max_size=6)
    | st.lists(st.lists(st.integers(-5, 5), min_size=2, max_size=2), max_size=3),
    st.sampled_from(["i4", "i8", "f8", "f4", "c16", "S3", "U5"]),
) | st.sampled_from([np.array(b"coo"), np.array("dia"), np.array(b"bsr"), np.array(3)])


@given(
    st.dictionaries(st.sampled_from([*MEMBERS, "row", "col", "coords", "offsets"]), ARRAYS, max_size=3),
    st.sets(st.sampled_from(list(MEMBERS)), max_size=1),
)
@fuzz(300)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_archive_of_anything_is_a_sound_matrix_or_refused(tmp_path_factory, changes, gone):
    path = tmp_path_factory.mktemp("t") / "t.npz"
    np.savez(path, **{k: v for k, v in {**MEMBERS, **changes}.items() if k not in gone})
    found = outcome(read_square, path)
    if found is not None:
        found.check_format(full_check=True)
        assert np.isfinite(found.data).all() and (found.data >= 0).all()


@given(st.integers(0, 3000), st.integers(1, 255), st.booleans())
@fuzz(150)
def test_a_damaged_archive_is_the_matrix_or_refused(tmp_path_factory, at, flip, cut):
    path = tmp_path_factory.mktemp("t") / "t.npz"
    scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(np.eye(4, k=1)))
    raw = bytearray(path.read_bytes())
    at %= len(raw)
    raw[at] ^= flip
    path.write_bytes(bytes(raw[:at] if cut else raw))
    found = outcome(read_square, path)
    assert found is None or (found.toarray() == np.eye(4, k=1)).all()  # the sums of a zip cover its arrays


WORDS = st.sampled_from(
    [
        "name",
        "size",
        "axes",
        "activation",
        "group",
        "counts",
        "parameter",
        "dim",
        "offset",
        "repeat",
        "0.weight",
    ]
)
YAML = st.recursive(
    JSON | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=9,
)
AXIS = st.fixed_dictionaries(
    {"parameter": st.text(max_size=4), "dim": st.integers(0, 3)},
    optional={"offset": st.integers(0, 9), "repeat": st.integers(1, 9), "x": YAML},
)
SITE = st.fixed_dictionaries(
    {
        "name": st.text(max_size=6),
        "size": st.integers(-1, 40),
        "axes": st.lists(AXIS | YAML, max_size=2),
        "activation": st.text(max_size=6),
    },
    optional={"group": st.text(max_size=4), "counts": YAML, "x": YAML},
)


@given(st.lists(SITE | YAML, max_size=3) | YAML, st.binary(max_size=3))
@fuzz(250)
def test_a_sites_file_says_what_yaml_says_or_is_refused(tmp_path_factory, content, tail):
    path = tmp_path_factory.mktemp("t") / "sites.yaml"
    path.write_bytes(json.dumps(content).encode() + tail)
    found = outcome(read_sites, path)
    if found is None:
        return
    assert [(s.name, s.size, s.activation) for s in found] == [
        (c["name"], c["size"], c["activation"]) for c in content
    ]
    assert [[(a.parameter, a.dim) for a in s.axes] for s in found] == [
        [(a["parameter"], a["dim"]) for a in c["axes"]] for c in content
    ]


LINES = st.text(st.sampled_from("ab \t\x0b\x0c\x1c\x85\u2028\u2029\u00e9\U0001f600\x00"), max_size=8)


@given(st.lists(LINES, max_size=5), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\n"]))
@fuzz(200)
def test_prompts_are_the_lines_of_their_file(tmp_path_factory, lines, end, last):
    path = tmp_path_factory.mktemp("t") / "prompts.txt"
    path.write_bytes((end.join(lines) + last).encode())
    found = outcome(read_own, "prompts", str(path))
    if found is not None:
        assert [text.strip() for text in found] == [line.strip() for line in lines if line.strip()]


@given(st.binary(max_size=40))
@fuzz(100)
def test_prompts_of_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("t") / "prompts.txt"
    path.write_bytes(content)
    found = outcome(read_own, "prompts", str(path))
    assert found is None or all(text in content.decode("utf-8-sig") for text in found)


KEYS = st.sampled_from(
    [
        "seed", "sparsity", "batch_size", "seq_len", "precision", "model", "model.path", "model.sites",
        "model.max_reads", "model.rows", "transform", "solver.time_budget_s", "measure.repeats",
        "measure.allocations", "gate.latency_pct", "graph.nnz_cap", "tracking.uri", "pipeline.arms",
        "hydra.run.dir", "+x", "~seed", "run.keep_weights", "device",
    ]
)  # fmt: skip
VALUES = (
    st.text(max_size=12)
    | st.sampled_from(
        ["null", "true", "nan", "inf", "-1", "0", "1e999", "[1,2]", "{a: 1}", "${seed}", "'", '"']
    )
    | st.integers().map(str)
    | st.floats().map(str)
)


@given(st.builds(lambda key, value: f"{key}={value}", KEYS, VALUES) | st.text(max_size=20))
@fuzz(45)
def test_an_override_is_checked_or_refused(word):
    outcome(check_cell, conf_dir(), ["tracking=none", word])


@given(st.text(st.characters(exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=300))
@fuzz(150)
def test_a_folder_of_any_name_that_is_not_there_is_a_sentence_of_every_command(name):
    word = f"there-is-no-{name}"
    for command in (verify, validate, report, sync):
        assert outcome(command.main, [word]) in (None, int(Exit.MISSING_RESOURCE))


@given(JSON, st.sampled_from(["perm.json", "samples.csv.gz", "m.npz"]))
@fuzz(150)
def test_a_file_of_a_record_that_holds_anything_is_refused(tmp_path_factory, content, name):
    path = tmp_path_factory.mktemp("t") / name
    path.write_text(json.dumps(content))
    reader = {"perm.json": read_layouts, "samples.csv.gz": read_samples, "m.npz": read_square}[name]
    assert outcome(reader, path) is None


@given(JSON)
@fuzz(200)
def test_json_is_what_json_says_or_refused(content):
    found = outcome(parse_json, json.dumps(content), "x")
    assert found is None or found == content or math.isnan(found)


def test_an_archive_of_zeros_is_refused_by_its_declared_size(tmp_path):
    path = Path(tmp_path / "zeros.npz")
    scipy.sparse.save_npz(path, scipy.sparse.csr_matrix((4, 4)))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        for _ in range(800):
            member.write(bytes(1 << 20))
    assert path.stat().st_size < 2 << 20
    assert outcome(read_square, path) is None
