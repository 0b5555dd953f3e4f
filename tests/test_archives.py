"""Sparse archives and layouts: what scipy wrote comes back in float64; nothing else reaches compiled code."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
import scipy.sparse

from icd import archives
from icd.archives import read_layouts, read_square
from icd.errors import ConfigError

GOOD = {
    "format": np.array(b"csr"),
    "shape": np.array([3, 3]),
    "data": np.array([1.0, 2.0, 4.0]),
    "indices": np.array([1, 0, 2], np.int32),
    "indptr": np.array([0, 1, 2, 3], np.int32),
}


def write(path, **changes):
    np.savez_compressed(path, **{k: v for k, v in {**GOOD, **changes}.items() if v is not None})
    return path


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.float32, np.longdouble, bool])
def test_every_layout_and_type_that_scipy_saves_comes_back(kind, array, dtype, tmp_path):
    dense = (np.random.default_rng(0).integers(0, 120, (12, 12)) * np.eye(12, k=1)).astype(dtype)
    dense[3, 9] = dense[9, 3] = 1
    make = getattr(scipy.sparse, f"{kind}_{'array' if array else 'matrix'}")
    scipy.sparse.save_npz(tmp_path / "m.npz", make(dense), compressed=array)
    found = read_square(tmp_path / "m.npz")
    assert found.dtype == np.float64 and found.has_sorted_indices
    assert (found.toarray() == dense.astype(np.float64)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, ">u2", np.float16, ">f8", bool])
@pytest.mark.parametrize("kind", ["coo", "csr", "csc"])
def test_duplicates_are_summed_in_float64_and_not_in_the_type_of_the_file(kind, dtype, tmp_path):
    row, column = np.repeat([0, 1], [300, 3]), np.repeat([1, 2], [300, 3])
    value = np.full(303, 1 if dtype is bool else 100).astype(dtype)
    given = {"row": row, "col": column, "indptr": None, "indices": None}
    if kind != "coo":  # entries of one place lie one behind the other, uncounted by whoever wrote them
        given = {"indices": column, "indptr": np.array([0, 300, 303, 303])}
    path = write(tmp_path / "m.npz", format=np.array(kind.encode()), data=value, **given)
    one = float(value[0])
    expected = np.zeros((3, 3))
    expected[0, 1], expected[1, 2] = 300 * one, 3 * one
    found = read_square(path).toarray()
    assert (found == (expected.T if kind == "csc" else expected)).all()


BROKEN = {
    "an index beyond the rows": ({"indices": np.array([0, 1, 2_000_000_000])}, "got 2000000000"),
    "a negative index": ({"indices": np.array([0, -1, 1])}, "expected numbers from 0 to 2, got -1"),
    "an unsigned index": ({"indices": np.array([0, 1, 2**63], np.uint64)}, "got 9223372036854775808"),
    "fractions as indices": ({"indices": np.array([0.0, 1, 2])}, "expected whole numbers, got float64"),
    "indptr beyond the entries": ({"indptr": np.array([0, 1_000_000, 2, 3])}, "indptr: expected numbers"),
    "indptr that falls": ({"indptr": np.array([0, 2, 1, 3])}, "never to fall"),
    "indptr that begins late": ({"indptr": np.array([1, 2, 3, 3])}, "expected to begin at 0"),
    "indptr too short": ({"indptr": np.array([0, 3])}, "indptr: expected 4 entries, got 2"),
    "fewer indices than weights": ({"indices": np.array([0, 1])}, "indices: expected 3 entries, got 2"),
    "a negative shape": ({"shape": np.array([-3, -3])}, "rows, got -3"),
    "a huge shape": ({"shape": np.array([2**33, 2**33])}, "at most 1,048,576 rows, got 8,589,934,592"),
    "one dimension": ({"shape": np.array([9])}, r"expected a square matrix of rows x rows, got shape \(9,\)"),
    "three dimensions": ({"shape": np.array([3, 3, 3])}, "expected a square matrix"),
    "no square": ({"shape": np.array([3, 4])}, r"square matrix of rows x rows, got shape \(3, 4\)"),
    "no shape": ({"shape": None}, "it holds no shape"),
    "no weights": ({"data": None}, "it holds no data"),
    "an unknown format": ({"format": np.array(b"lil")}, "format 'lil'; expected a matrix as one of"),
    "a format that is a number": ({"format": np.array(3)}, "format ''"),
    "complex weights": ({"data": np.array([1, 2, 3j])}, "complex weights"),
    "texts as weights": ({"data": np.array(["1", "2", "3"])}, "weights of type <U1"),
    "dates as weights": ({"data": np.array([1, 2, 3], "M8[s]")}, "weights of type datetime64"),
    "NaN": ({"data": np.array([1, np.nan, 3])}, "finite weights, got NaN or infinity"),
    "an infinite float16": ({"data": np.array([1, np.inf, 3], np.float16)}, "finite weights"),
    "a negative weight": ({"data": np.array([1, -2, 3], np.int8)}, "weights of 0 or more, got -2"),
    "a sum beyond float64": (
        {"data": np.full(3, 1.7e308), "indices": np.array([1, 1, 1]), "indptr": np.array([0, 3, 3, 3])},
        "sum to more than a float64 holds",
    ),
    "weights in a table": ({"data": np.ones((3, 1))}, r"weights of shape \(3, 1\); expected 1 dimension"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), BROKEN.values(), ids=BROKEN)
def test_an_archive_that_would_lead_compiled_code_astray_is_refused(changes, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence) as caught:
        read_square(write(tmp_path / "m.npz", **changes))
    assert str(caught.value).startswith("m.npz: ") and str(tmp_path) not in str(caught.value)


def test_coordinates_blocks_and_diagonals_are_checked_as_rows_are(tmp_path):
    for changes, sentence in [
        (
            {"format": np.array(b"coo"), "row": np.array([0, 1, 3]), "col": np.array([0, 1, 2])},
            "row: expected",
        ),
        (
            {"format": np.array(b"coo"), "coords": np.array([[0, 1, 2], [0, 1, -1]])},
            "coords: expected numbers",
        ),
        ({"format": np.array(b"coo"), "coords": np.zeros((3, 3), int)}, "coords: expected 2 x entries"),
        ({"format": np.array(b"bsr"), "data": np.ones((3, 2, 1))}, "blocks of 2 x 1 do not fill 3 rows"),
        ({"format": np.array(b"dia"), "data": np.ones((1, 3)), "offsets": np.array([-(2**62)])}, "offsets"),
        (
            {"format": np.array(b"dia"), "data": np.ones((2, 3)), "offsets": np.array([1, 1])},
            "different ones",
        ),
    ]:
        with pytest.raises(ConfigError, match=sentence):
            read_square(write(tmp_path / "m.npz", **changes))


def test_python_objects_are_never_unpickled(tmp_path):
    class Ran:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    with pytest.raises(ConfigError, match="data holds Python objects"):
        read_square(write(tmp_path / "m.npz", data=np.array([Ran()] * 3)))
    assert not (tmp_path / "ran").exists()


def packed(path, name, content):
    """``GOOD`` as an archive in which the array ``name`` has the bytes ``content``."""
    write(path, **{name: None})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", content)
    return path


def npy(array, shape=None):
    """The npy file of ``array`` whose header claims ``shape``."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": array.dtype.str, "fortran_order": False, "shape": shape or array.shape}
    )
    return out.getvalue() + array.tobytes()


def test_an_array_that_claims_more_than_the_archive_holds_is_refused_before_memory_is_taken(tmp_path):
    path = packed(tmp_path / "m.npz", "data", npy(np.ones(3), (10**9,)))
    with pytest.raises(ConfigError, match=r"data declares 8,000,000,000 bytes .* and holds 24"):
        read_square(path)


def test_an_array_that_unpacks_to_more_than_the_limit_is_refused_by_its_declared_size(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 16)
    path = write(tmp_path / "m.npz", data=np.zeros(10**5))  # packs into a few hundred bytes
    with pytest.raises(ConfigError, match=r"expected at most 65,536 bytes in the archive, it declares"):
        read_square(path)


def test_a_member_whose_size_is_a_lie_is_refused(tmp_path):
    path = packed(tmp_path / "m.npz", "data", npy(np.ones(3)))
    raw = bytearray(path.read_bytes())
    size = len(npy(np.ones(3))).to_bytes(4, "little")
    at = raw.rfind(size)  # of the central directory
    raw[at : at + 4] = (len(npy(np.ones(3))) + 8).to_bytes(4, "little")
    path.write_bytes(bytes(raw))
    with pytest.raises(ConfigError, match=r"m\.npz: "):
        read_square(path)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "folder", "deep header"])
def test_a_damaged_archive_costs_a_sentence(damage, tmp_path):
    path = write(tmp_path / "m.npz")
    whole = bytearray(path.read_bytes())
    if damage == "flipped":
        whole[60] ^= 0xFF
    content = {"empty": b"", "text": b"row,col\n", "cut": whole[:200], "flipped": whole}
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "deep header":
        head = b"(" * 5000
        packed(path, "data", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
    else:
        path.write_bytes(content[damage])
    with pytest.raises(ConfigError, match=r"m\.npz: (not a sparse matrix|expected a file, got a folder)"):
        read_square(path)


LAYOUTS = {
    "a duplicate": ({"layouts": {"a": [0, 1, 1]}, "live": {}}, "a: expected each of 3 channels once"),
    "a negative channel": ({"layouts": {"a": [0, -1, 1]}, "live": {}}, "a: expected whole numbers from 0"),
    "a channel too far": ({"layouts": {"a": [0, 1, 3]}, "live": {}}, "a: expected each of 3 channels once"),
    "a fraction": ({"layouts": {"a": [0, 1.0, 2]}, "live": {}}, "a: expected a list of whole numbers"),
    "a truth value": ({"layouts": {"a": [False, True]}, "live": {}}, "a: expected a list of whole numbers"),
    "a list of lists": ({"layouts": {"a": [[0]]}, "live": {}}, "a: expected a list of whole numbers"),
    "a word": ({"layouts": {"a": "012"}, "live": {}}, "a: expected a list of whole numbers"),
    "no layouts": ({"live": {}}, "expected an object of layouts and live channels"),
    "a list of sites": ({"layouts": [], "live": {}}, "expected an object of layouts"),
    "a list": ([], "expected an object of layouts"),
    "a dead channel alive": ({"layouts": {"a": [0, 1]}, "live": {"a": [0, 2]}}, "live channels of a"),
    "a channel alive twice": ({"layouts": {"a": [0, 1]}, "live": {"a": [0, 0]}}, "live channels of a"),
    "another site alive": ({"layouts": {"a": [0, 1]}, "live": {"b": [0]}}, "live channels of b"),
}


@pytest.mark.parametrize(("record", "sentence"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_that_is_no_permutation_is_refused_by_its_site(record, sentence, tmp_path):
    (tmp_path / "perm.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=rf"perm\.json: .*{sentence}|perm\.json: {sentence}"):
        read_layouts(tmp_path / "perm.json")


def test_layouts_come_back_as_they_were_written(tmp_path):
    (tmp_path / "perm.json").write_text('{"layouts": {"a": [2, 0, 1], "b": []}, "live": {"a": [0, 2]}}')
    layouts, live = read_layouts(tmp_path / "perm.json")
    assert layouts["a"].tolist() == [2, 0, 1] and layouts["a"].dtype == np.int32
    assert live["a"].tolist() == [0, 2] and len(layouts["b"]) == 0
