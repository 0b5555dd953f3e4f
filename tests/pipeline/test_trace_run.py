"""The whole path on a recorded trace, and on the operator graph of the synthetic model."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from icd.errors import Exit
from icd.samples import read_samples
from icd.tools.verify import verify
from tests.conftest import icd

SHORT = ["tracking=none", "measure=smoke", "pipeline.max_iters=1", "hydra.run.dir=run"]


def planted_lines(rows=256, records=4096):
    """Communities of 16 rows scattered over the table; half of each is read rarely."""
    rng = np.random.default_rng(3)
    member, first = rng.permutation(rows), rng.integers(0, rows // 16, records // 32).repeat(32) * 16
    rare = rng.random((2, records)) < 0.2
    places = first + np.where(rare, rng.integers(8, 16, (2, records)), rng.integers(0, 8, (2, records)))
    return "".join(f'{{"src": {s}, "dst": {d}}}\n' for s, d in member[places].T)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    (folder / "secret-folder").mkdir()
    (folder / "secret-folder" / "t.jsonl").write_text(planted_lines())
    path = folder / "secret-folder" / "t.jsonl"
    done = icd("model=trace", f"model.path={path}", "hardware.l2_bytes=4096", *SHORT, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def metrics(folder):
    return json.loads((folder / "run" / "metrics.json").read_text())


def test_a_layout_of_the_trace_lowers_dram_bytes_and_a_second_one_after_removal_again(metrics):
    served, dram = ({a: v["l2"][k] for a, v in metrics["arms"].items()} for k in
                    ("served_pct", "dram_bytes_per_token"))  # fmt: skip
    assert served["dense"] + 5 < served["linear"] < served["iterative"]
    assert dram["iterative"] < 0.9 * dram["linear"] < 0.9 * dram["shuffle"] < dram["dense"]
    iterations = metrics["iterations"]
    assert iterations[1]["accepted"] and iterations[1]["T"] < iterations[0]["T"]
    tiles = {a: v["tiles"]["live"] for a, v in metrics["arms"].items()}
    assert tiles["iterative"] < tiles["linear"] <= tiles["dense"]


def test_every_figure_of_a_trace_is_simulated_and_quality_is_null(metrics, folder):
    assert {s.source for s in read_samples(folder / "run" / "samples.csv.gz")} == {"simulated"}
    assert "simulated" in metrics["tags"]
    for arm in metrics["arms"].values():
        assert arm["quality"]["value"] is None and arm["quality"]["reason"]
        assert arm["executed"]["trace"] == {"records": 4096, "reads": 4096, "weight_of_a_read": 1.0}


def test_the_function_is_kept_and_the_record_verifies(metrics, folder):
    assert metrics["equivalence"]["ok"] and verify(folder / "run") == []


def test_the_trace_is_recorded_by_base_name_and_digest_alone(metrics, folder):
    digest = hashlib.sha256((folder / "secret-folder" / "t.jsonl").read_bytes()).hexdigest()
    assert metrics["inputs"]["texts"] == {"path": {"file": "t.jsonl", "sha256": digest}}
    assert metrics["model"]["sha256"] == digest and metrics["model"]["source"] == "t.jsonl"
    for file in (folder / "run").glob("*.*"):
        assert b"secret-folder" not in file.read_bytes(), file.name


def test_without_a_path_a_planted_trace_is_made_and_said(tmp_path):
    done = icd("model=trace", "model.rows=256", "model.records=2048", "pipeline=linear", *SHORT[:2],
               "hydra.run.dir=run", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = json.loads((tmp_path / "run" / "metrics.json").read_text())["model"]
    assert model["weights"] == "planted" and model["source"] == "generated trace, seed 0"


@pytest.mark.slow
def test_the_operator_graph_of_the_synthetic_model_serves_a_whole_run(tmp_path):
    done = icd("graph=pytorch", "model.layers=1", *SHORT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["sites"][0]["graph"]["source"] == "pytorch" and metrics["sites"][0]["edges"] > 0
    assert metrics["compare"]["iterative_vs_linear"]["cost"]["C_delta_pct"] < -10
    assert verify(tmp_path / "run") == []


BAD = [
    (
        ["model=trace", "model.path=none.jsonl"],
        Exit.MISSING_RESOURCE,
        "model.path='none.jsonl': no such file",
    ),
    (["model=trace", "model.path=bad.jsonl"], Exit.BAD_CONFIG, "bad.jsonl, line 2: src=-4"),
    (["model=trace", "precision=fp8"], Exit.BAD_CONFIG, "model=trace has none"),
    (["model=trace", "hardware=auto"], Exit.BAD_CONFIG, "needs a device's figures"),
    (["model=trace", "seq_len=8"], Exit.BAD_CONFIG, "leave batch_size and seq_len null"),
    (["graph=pytorch", "graph.hops=two"], Exit.BAD_CONFIG, "graph.hops='two': expected a whole number"),
    (["graph=trace", "graph.normalize=max"], Exit.BAD_CONFIG, "expected one of sym, row, none"),
]


@pytest.mark.parametrize(
    ("words", "code", "sentence"), BAD, ids=lambda x: "_".join(x) if isinstance(x, list) else ""
)
def test_a_bad_trace_or_graph_gets_its_code_and_a_sentence_and_leaves_nothing(
    words, code, sentence, tmp_path
):
    (tmp_path / "bad.jsonl").write_text('{"src": 0, "dst": 1}\n{"src": -4, "dst": 1}\n')
    done = icd(*words, "tracking=none", cwd=tmp_path)
    assert done.returncode == code and sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["bad.jsonl"]


def test_a_recorded_graph_asked_of_a_neural_model_ends_with_2(tmp_path):
    done = icd("graph=trace", "model.layers=1", *SHORT, cwd=tmp_path)
    assert (
        done.returncode == Exit.BAD_CONFIG and "needs recorded reads and model=mock has none" in done.stderr
    )
