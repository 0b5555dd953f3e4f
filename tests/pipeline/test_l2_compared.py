"""``measure.l2_compared``: which figure of the L2 is compared, gated, and named in the report."""

from __future__ import annotations

import json

import pytest

from icd.tools.verify import verify
from tests.pipeline.fake_run import go


def test_the_figure_that_was_asked_for_is_compared_gated_and_named(tmp_path):
    words = ("measure.rounds=2", "measure.power_enable=false", "measure.l2_compared=lookup_hit_pct")
    run, *_ = go(tmp_path / "run", 0.8, 0.7, *words, gpu=True)
    metrics = json.loads((run / "metrics.json").read_text())
    arms = metrics["arms"]
    block = metrics["compare"]["iterative_vs_linear"]["l2_pp"]
    hits = arms["iterative"]["l2"]["lookup_hit_pct"] - arms["linear"]["l2"]["lookup_hit_pct"]
    served = arms["iterative"]["l2"]["served_pct"] - arms["linear"]["l2"]["served_pct"]
    assert block["metric"] == "l2_lookup_hit_pct" and block["delta"] == pytest.approx(hits) != served
    check = next(c for c in metrics["gates"]["smoke"]["checks"] if c["name"] == "l2")
    assert check["value"] == pytest.approx(hits)
    page = (run / "report.html").read_text()
    assert "<td>L2 lookup hits</td><td>≥ 5 pp</td>" in page and "<td>L2 served</td>" not in page
    assert verify(run) == []
