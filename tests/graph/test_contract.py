"""Every graph of conf/graph, discovered: what it promises on every family of models."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import yaml

from icd.config import conf_dir
from icd.errors import ConfigError
from icd.model.calibration import collect
from tests import tiny

FILES = sorted((conf_dir() / "graph").glob("*.yaml"))
FAMILIES = {
    "mock": tiny.mock().build(),
    "bert": tiny.tiny_bert(),
    "mamba": tiny.tiny_mamba(),
    "trace": tiny.trace().build(),
}


def configured(file, **changes):
    node = {**yaml.safe_load(file.read_text()), **changes}
    module, _, name = node.pop("_target_").rpartition(".")
    node = {k: 0 if v == "${seed}" else v for k, v in node.items()}
    return getattr(importlib.import_module(module), name)(**node)


def test_all_graphs_are_found_and_all_can_be_normalised():
    assert {f.stem for f in FILES} >= {"activation", "weights", "pytorch", "trace", "synthetic"}
    assert all(configured(f).normalize in ("sym", "row", "none") and configured(f).nnz_cap > 0 for f in FILES)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_graph_is_symmetric_non_negative_zero_diagonal_csr_and_the_same_again(file, family):
    workload = FAMILIES[family]
    graph = configured(file)
    activations = collect(workload) if graph.needs_activations() else None
    if file.stem == "trace" and family != "trace":
        with pytest.raises(ConfigError, match=f"model={workload.card.name} has none"):
            graph.build(workload, activations)
        return
    first, again = graph.build(workload, activations), graph.build(workload, activations)
    assert set(first) == {site.name for site in workload.sites}
    for site in workload.sites:
        W = first[site.name].W
        assert W.format == "csr" and W.shape == (site.size, site.size) and W.nnz > 0
        assert np.isfinite(W.data).all() and W.data.min() > 0 and not W.diagonal().any()
        assert abs(W - W.T).max() <= 1e-6 * W.data.max()
        assert (W != again[site.name].W).nnz == 0 and first[site.name].source.startswith(file.stem)


@pytest.mark.parametrize("normalize", ["sym", "row", "none"])
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_normalising_changes_scale_or_balance_and_the_cap_holds(file, normalize):
    workload = FAMILIES["trace"]
    graph = configured(file, normalize=normalize, nnz_cap=400)
    W = graph.build(workload, collect(workload))["rows"].W
    assert 0 < W.nnz <= 400
    full = configured(file, normalize=normalize).build(workload, collect(workload))["rows"].W
    if normalize == "row" and not hasattr(graph, "per_row"):
        assert W.sum() < full.sum() == pytest.approx(sum(full.sum(axis=1) > 0)[0, 0])
