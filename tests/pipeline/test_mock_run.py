"""The whole path on the synthetic model: what a run directory holds, and that it can be checked."""

from __future__ import annotations

import gzip
import json
import re
import shutil

import pytest

from icd.errors import Exit
from icd.pipeline.files import SUMS, check_sums, write_sums
from icd.samples import read_samples
from icd.tools.verify import verify, verify_sweep
from tests.conftest import icd

FILES = {
    "config.lock.yaml", "config.lock.json", "env.json", "run.log", "perm_before.json", "perm_after.json",
    "samples.csv.gz", "ncu.json", "power.csv", "metrics.json", "report.html", "report.csv", "SHA256SUMS",
}  # fmt: skip


@pytest.fixture(scope="module")
def metrics(mock_run):
    return json.loads((mock_run / "metrics.json").read_text())


def test_every_file_of_the_record_is_there_and_the_sums_fit(mock_run):
    assert {p.name for p in mock_run.iterdir() if p.is_file()} >= FILES
    assert len(list((mock_run / "W").iterdir())) == 4
    assert check_sums(mock_run) == []
    assert not [p for p in mock_run.parent.iterdir() if "unfinished" in p.name]


def test_the_mock_gate_passes_on_cost_and_no_measured_gate_does(metrics):
    assert metrics["gates"]["mock"]["pass"] is True
    cost = metrics["compare"]["iterative_vs_linear"]["cost"]
    assert cost["C_delta_pct"] <= -10 and cost["Q_delta"] >= 0
    assert metrics["gates"]["smoke"]["pass"] is None and metrics["gates"]["strict"]["pass"] is None


def test_every_simulated_value_says_so(metrics, mock_run):
    assert "simulated" in metrics["tags"]
    assert {s.source for s in read_samples(mock_run / "samples.csv.gz")} == {"simulated"}
    for arm in metrics["arms"].values():
        assert arm["latency_ms"]["source"] == "simulated" and arm["latency_ms"]["ci95"] is None
        assert arm["engine_check"]["ok"] and arm["quality"]["source"] == "executed"


def test_work_is_counted_and_a_simulated_latency_has_no_roofline(metrics):
    work = {arm: block["roofline"] for arm, block in metrics["arms"].items()}
    assert work["iterative"]["flops"] == work["sliced"]["flops"] == work["dense"]["flops"] / 2
    assert work["linear"]["flops"] > 0.75 * work["dense"]["flops"]
    for block in work.values():
        assert block["of_bound_pct"] is None and "simulated" in block["reason"]
    assert metrics["hardware"]["asked"] == "mock" and metrics["hardware"]["source"] == "file"


def test_a_missing_value_has_a_reason_beside_it(metrics):
    def walk(node, path=""):
        if isinstance(node, dict):
            nulls = [k for k, v in node.items() if v is None]
            allowed = {"sha256", "licence", "notice", "reason", "accepted", "ci95", "previous"}
            if set(nulls) - allowed and "spec" not in path and "gates" not in path:
                assert any("reason" in k for k in node), (path, nulls)
            for k, v in node.items():
                walk(v, f"{path}.{k}")
        elif isinstance(node, list):
            for v in node:
                walk(v, path)

    walk({k: metrics[k] for k in ("arms", "compare", "solver", "bridge", "hardware")})


def test_the_tiles_that_compact_drops_are_those_the_layout_gathered(metrics):
    tiles = {arm: block["tiles"] for arm, block in metrics["arms"].items()}
    assert tiles["dense"] == {"live": 64, "total": 64}
    assert tiles["iterative"]["live"] == tiles["sliced"]["live"] == 32
    assert tiles["linear"]["live"] > 48


def test_no_absolute_path_user_or_host_stands_in_the_record(mock_run):
    for file in mock_run.rglob("*"):
        if file.suffix in (".json", ".yaml", ".log", ".csv", ".html"):
            text = re.sub(r"data:image[^\"')]*", "", file.read_text())
            assert str(mock_run.parent) not in text, file.name
            assert not re.search(r"(?<![\w.])/(home|root|tmp|Users)/", text), file.name


def test_the_run_verifies(mock_run):
    assert verify(mock_run) == []


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("metrics.json", lambda t: t.replace('"delta_pct": -49', '"delta_pct": -59', 1)),
        ("metrics.json", lambda t: t.replace('"pass": true', '"pass": null', 1)),
        ("metrics.json", lambda t: re.sub(r'"Q": 0\.(\d)', r'"Q": 0.9\1', t)),
        ("metrics.json", lambda t: re.sub(r'"intensity": (\d)', r'"intensity": 9\1', t)),
    ],
    ids=["interval", "gate", "modularity", "roofline"],
)
def test_a_changed_figure_is_found_even_when_the_sums_were_made_to_fit(mock_run, tmp_path, file, change):
    copy = tmp_path / "copy"
    shutil.copytree(mock_run, copy)
    before = (copy / file).read_text()
    after = change(before)
    assert after != before
    (copy / file).write_text(after)
    assert verify(copy)
    write_sums(copy)
    assert check_sums(copy) == [] and verify(copy)


def test_a_changed_sample_is_found_even_when_the_sums_were_made_to_fit(mock_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(mock_run, copy)
    path = copy / "samples.csv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    row = lines[1].split(",")
    row[7] = repr(float(row[7]) * 0.9)
    path.write_bytes(gzip.compress("\n".join([lines[0], ",".join(row), *lines[2:], ""]).encode()))
    write_sums(copy)
    assert any("arms." in problem for problem in verify(copy))


def test_verify_exits_6_on_a_difference_and_3_where_there_is_no_run(mock_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(mock_run, copy)
    (copy / SUMS).unlink()
    assert icd("verify", str(copy), cwd=tmp_path).returncode == Exit.VERIFICATION_FAILED
    assert icd("verify", "nowhere", cwd=tmp_path).returncode == Exit.MISSING_RESOURCE
    assert icd("verify", str(mock_run), cwd=tmp_path).returncode == Exit.DONE


def test_validate_prints_a_table_and_exits_by_the_gate(mock_run, tmp_path):
    done = icd("validate", str(mock_run), cwd=tmp_path)
    assert done.returncode == 0 and "mock" in done.stdout and "-49" in done.stdout
    assert icd("validate", str(mock_run), "--gate", "mock", cwd=tmp_path).returncode == 0
    assert icd("validate", str(mock_run), "--gate", "smoke", cwd=tmp_path).returncode == 3


def test_without_a_transform_nothing_changes(tmp_path):
    done = icd("transform=none", "tracking=none", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    compare = metrics["compare"]["iterative_vs_linear"]
    assert abs(compare["cost"]["C_delta_pct"]) <= 1 and abs(compare["cost"]["Q_delta"]) <= 0.01
    assert compare["latency"]["delta_pct"] == 0 and "rolled-back" in metrics["tags"]
    assert [i["accepted"] for i in metrics["iterations"]] == [None, False]
    assert "rolled back" in metrics["iterations"][1]["reason"]


def test_a_rerun_from_the_lock_gives_the_same_layouts_and_costs(mock_run, metrics, tmp_path):
    done = icd("rerun", str(mock_run), "tracking=none", "hydra.run.dir=again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert [i["pi_hash"] for i in again["iterations"]] == [i["pi_hash"] for i in metrics["iterations"]]
    assert again["arms"]["iterative"]["cost"] == metrics["arms"]["iterative"]["cost"]
    assert again["inputs"] == metrics["inputs"]


def test_a_sweep_runs_every_cell_and_says_which_precision_was_simulated(tmp_path):
    done = icd(
        "-m", "sparsity=0.5", "precision=fp8,int8", "tracking=none", "hydra.sweep.dir=sweep",
        "model.layers=1", "pipeline.max_iters=1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cells = sorted(p for p in (tmp_path / "sweep").iterdir() if p.is_dir())
    assert len(cells) == 2
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["cells"].keys() == {
        c.name for c in cells
    }
    assert verify_sweep(tmp_path / "sweep") == []
    for file in (tmp_path / "sweep").rglob("*"):  # Hydra's own record held the working directory
        assert not file.is_file() or str(tmp_path).encode() not in file.read_bytes(), file.name
    for cell in cells:
        metrics = json.loads((cell / "metrics.json").read_text())
        assert "dense_bf16" in metrics["arms"]
        name = metrics["config"]["precision"]
        arm = metrics["arms"]["iterative"]
        assert name in cell.name and arm["latency_ms"]["source"] == "simulated"
        assert arm["executed"]["source"] == "simulated"
        assert arm["executed"]["arithmetic"] == {"fp8": "simulated", "int8": "measured"}[name]
