"""Records that lead compiled code astray, take all memory or wait for ever cost a sentence, everywhere."""

from __future__ import annotations

import gzip
import json
import os
import shutil

import numpy as np
import pytest
import scipy.sparse

from icd import samples
from icd.errors import Exit, IcdError
from icd.pipeline.files import write_sums
from icd.report.html import write_html
from icd.tools import sync, validate
from icd.tools.verify import main as verify_main
from icd.tools.verify import verify

SITE = "layers.0.neurons"
HEAD = ",".join(samples.Sample._fields) + "\n"


def graph(**changes):
    """The archive of the first site's graph with some arrays changed."""

    def change(folder):
        path = folder / "W" / f"{SITE}.npz"
        with np.load(path) as found:
            arrays = dict(found)
        np.savez(path, **{**arrays, **{k: make(arrays[k]) for k, make in changes.items()}})

    return change


def at(index, value):
    def make(array):
        out = array.copy()
        out[index] = value
        return out

    return make


def layout(key, make, when=("before", "after")):
    def change(folder):
        for name in when:
            path = folder / f"perm_{name}.json"
            record = json.loads(path.read_text())
            record[key][SITE] = make(record[key][SITE])
            path.write_text(json.dumps(record))

    return change


def text(name, make):
    def change(folder):
        path = folder / name
        path.write_bytes(make(path.read_bytes()))

    return change


def fifo(name):
    def change(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def smaller(folder):
    scipy.sparse.save_npz(folder / "W" / f"{SITE}.npz", scipy.sparse.csr_matrix((7, 7)))


DEEP = b'{"a":' * 2000 + b"1" + b"}" * 2000
COMPILED = {
    "an index beyond the graph": graph(indices=at(3, 2**30)),
    "an index below the graph": graph(indices=at(3, -(2**30))),
    "an indptr beyond the graph": graph(indptr=at(3, 10**9)),
    "an indptr that falls": graph(indptr=at(3, 0)),
    "complex weights": graph(data=lambda data: data * 1j),
    "NaN weights": graph(data=at(0, np.nan)),
    "negative weights": graph(data=lambda data: -data),
    "a graph of fewer channels": smaller,
    "a layout with a channel twice": layout("layouts", lambda pi: [pi[1], *pi[1:]]),
    "a layout with a negative channel": layout("layouts", lambda pi: [-pi[0] - 1, *pi[1:]]),
    "a layout with a channel too far": layout("layouts", lambda pi: [10**6, *pi[1:]]),
    "a layout of fewer channels": layout("layouts", lambda pi: list(range(8))),
    "a layout of fewer channels after": layout("layouts", lambda pi: list(range(8)), when=("after",)),
    "a layout of fractions": layout("layouts", lambda pi: [float(c) for c in pi]),
    "live channels beyond the site": layout("live", lambda live: [*live[:-1], 10**6]),
    "negative live channels": layout("live", lambda live: [-1, *live[1:]]),
}
BOUNDED = {
    "a row of samples that is endless": text("samples.csv.gz", lambda b: gzip.compress(b"a" * (1 << 23))),
    "more samples than can be": text(
        "samples.csv.gz", lambda b: gzip.compress((HEAD + "a,b,0,0,0,0,0,1,ms,m,,\n" * 2000).encode())
    ),
    "a field of a megabyte": text(
        "samples.csv.gz", lambda b: gzip.compress((HEAD + "a" * 900_000 + "\n").encode())
    ),
    "a record nested deeply": text("metrics.json", lambda b: DEEP),
    "a lock nested deeply": text("config.lock.json", lambda b: DEEP),
    "a figure that is infinite": text("metrics.json", lambda b: b.replace(b"0.", b"1e999+0.", 1)),
    "half a character": text("metrics.json", lambda b: b.replace(b'"mock"', b'"\\ud800"', 1)),
}
VERIFIED = {
    **COMPILED,
    **BOUNDED,
    "a lock in YAML nested deeply": text("config.lock.yaml", lambda b: b"[" * 3000),
    "a log nested deeply": text("run.log", lambda b: DEEP),
    "a reading of a megabyte": text("power.csv", lambda b: b + b"9" * 900_000),
    "a FIFO for samples": fifo("samples.csv.gz"),
    "a FIFO for the log": fifo("run.log"),
    "a FIFO for a graph": fifo(f"W/{SITE}.npz"),
}


@pytest.fixture
def copy(mock_run, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "MOST_ROWS", 1500)
    return shutil.copytree(mock_run, tmp_path / "copy")


@pytest.mark.parametrize("change", VERIFIED.values(), ids=VERIFIED)
def test_verify_names_what_is_unsound_although_the_sums_fit(copy, change, capsys):
    change(copy)
    write_sums(copy)
    assert verify_main([str(copy)]) == Exit.VERIFICATION_FAILED
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize("change", {**COMPILED, **BOUNDED}.values(), ids={**COMPILED, **BOUNDED})
def test_a_report_of_an_unsound_record_is_refused_in_a_sentence(copy, change):
    change(copy)
    with pytest.raises(IcdError) as caught:
        write_html(copy)
    assert caught.value.code is Exit.BAD_CONFIG and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a record nested deeply", "a figure that is infinite", "half a character"])
def test_validate_and_sync_refuse_an_unsound_record_in_a_sentence(copy, name):
    BOUNDED[name](copy)
    write_sums(copy)
    for command in (validate, sync):
        with pytest.raises(IcdError) as caught:
            command.main([str(copy)])
        assert caught.value.code in (Exit.BAD_CONFIG, Exit.VERIFICATION_FAILED)
        assert "\n" not in str(caught.value)


def test_the_copy_itself_is_sound(copy, monkeypatch):
    monkeypatch.setattr(samples, "MOST_ROWS", 10**6)
    assert verify(copy) == []
