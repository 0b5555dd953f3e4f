"""graph=pytorch: what the operator graph holds, and what each key does to W."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from icd.contracts import TensorAxis
from icd.errors import ConfigError
from icd.graph.operators import trace
from icd.graph.pytorch import Pytorch
from icd.graph.weights import Weights
from tests import tiny

FAMILIES = {
    "mock": tiny.mock().build(),
    "bert": tiny.tiny_bert(),
    "mamba": tiny.tiny_mamba(),
    "trace": tiny.trace().build(),
}
SITE = "layers.0.neurons"


def graph(**changes):
    fields = {
        "hops": 2, "reuse_decay": 0.7, "max_len": 256, "byte_weight": True,
        "per_row": 10**6, "nnz_cap": 10**8, "normalize": "none",
    }  # fmt: skip
    return Pytorch(**{**fields, **changes})


def weights(workload, site=SITE, **changes):
    return graph(**changes).build(workload, None)[site].W.toarray()


def test_views_are_no_operators_and_the_down_projection_is_two_hops_behind_the_up_projection():
    operators = trace(FAMILIES["mock"])
    assert [name.split(".")[1] for name in operators.names[:5]] == [
        "native_layer_norm", "addmm", "relu", "addmm", "add",
    ]  # fmt: skip
    ((up, size),) = operators.readers("layers.0.up.weight")
    ((down, _),) = operators.readers("layers.0.down.weight")
    assert (up, down, size) == (1, 3, 256 * 64 * 4)
    assert operators.within(up, 2)[down] == 2 and down not in operators.within(up, 1)
    assert operators.readers("layers.0.up.bias") == [(1, 256 * 4)]


def test_a_lookup_reads_the_rows_that_it_hands_on_and_not_the_whole_table():
    operators = trace(FAMILIES["bert"])
    ((_, size),) = operators.readers("embeddings.word_embeddings.weight")  # 97 rows of 64, 32 looked up
    assert size == 32 * 64 * 4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("normalize", ["sym", "row", "none"])
def test_every_site_gets_the_same_symmetric_graph_with_structure_every_time(family, normalize):
    workload = FAMILIES[family]
    first, again = (graph(normalize=normalize, per_row=32).build(workload, None) for _ in range(2))
    assert set(first) == {site.name for site in workload.sites}
    for site in workload.sites:
        W = first[site.name].W
        assert (W != again[site.name].W).nnz == 0 and (W != W.T).nnz == 0
        assert W.shape == (site.size, site.size) and W.data.min() > 0 and not W.diagonal().any()
        assert W.data.std() > 0.002 * W.data.mean()


def test_the_planted_groups_are_found():
    workload = FAMILIES["mock"]
    W = graph(per_row=64, normalize="sym").build(workload, None)[SITE].W
    up = workload.module.layers[0].up.weight.numpy()
    group = np.abs(up).reshape(256, 4, 16).sum(2).argmax(1)
    i, j = W.nonzero()
    assert W.data[group[i] == group[j]].sum() / W.data.sum() > 0.9


def test_without_hops_each_operator_counts_alone():
    workload = FAMILIES["mock"]
    block = workload.module.layers[0]
    up, down = block.up.weight.abs().double(), block.down.weight.abs().double().T  # (D, width)
    up, down = (p / p.square().sum(1).mean().sqrt() for p in (up, down))
    expected = up @ up.T + down @ down.T
    expected.fill_diagonal_(0)
    assert np.allclose(weights(workload, hops=0), expected, rtol=1e-5)
    both = up @ down.T
    meet = expected + 0.7**2 * (both + both.T)
    meet.fill_diagonal_(0)
    assert np.allclose(weights(workload, hops=2), meet, rtol=1e-5)
    alike = Weights(10**6, 10**8, "none").build(workload, None)[SITE].W.toarray()
    assert np.corrcoef(alike.ravel(), weights(workload, hops=0).ravel())[0, 1] > 0.95


def test_reuse_decay_and_max_len_bound_what_further_operators_add():
    workload = FAMILIES["mock"]
    alone, full = weights(workload, hops=0), weights(workload)
    assert np.allclose(weights(workload, reuse_decay=0.0), alone)
    assert np.allclose(weights(workload, max_len=1), alone)  # the two projections are two operators apart
    assert np.allclose(weights(workload, max_len=2), full) and full.sum() > 1.2 * alone.sum()
    assert weights(workload, reuse_decay=1.0).sum() > full.sum()


def test_mambas_scan_is_one_operator_whatever_its_length():
    """So that W does not depend on how the scan is cut on the machine that builds it."""
    short, long = (trace(tiny.tiny_mamba(default_seq_len=length)) for length in (12, 150))
    assert len(short.names) == len(long.names)
    assert sum("selective_scan" in name for name in long.names) == 2  # one a layer


def test_pairs_count_by_the_bytes_that_their_operators_read():
    workload = FAMILIES["mamba"]
    operators = trace(workload)
    names = ("in_proj.weight", "conv1d.weight", "dt_proj.weight")
    axes = [TensorAxis(f"layers.0.mixer.{name}", 0) for name in names]
    even, _ = graph(hops=0, byte_weight=False).couple(axes, [0.5, 1, 1], operators)
    by_bytes, events = graph(hops=0).couple(axes, [0.5, 1, 1], operators)
    assert events == 6 and even.diagonal().tolist() == [1, 4, 1]  # four taps of the convolution
    # bytes of one half of in_proj (256, 128), of a tap (256,) and of dt_proj (256, 8)
    assert by_bytes.diagonal() == pytest.approx([1, 4 / 128, 8 / 128])
    near, _ = graph(hops=2).couple(axes, [0.5, 1, 1], operators)
    assert near[0, 1] == pytest.approx(4 * 0.7**2 * (1 / 128) ** 0.5)


def test_a_graph_follows_channels_and_not_the_order_they_lie_in():
    from icd.transform.permute import permute

    workload = FAMILIES["bert"]
    rng = np.random.default_rng(0)
    turned = permute(workload, {s.name: rng.permutation(s.size) for s in workload.sites})
    a, b = (graph().build(w, None) for w in (workload, turned))
    assert all(np.allclose(a[s].W.toarray(), b[s].W.toarray(), rtol=1e-4) for s in a)


def test_a_forward_that_looks_at_values_cannot_be_traced_and_says_so():
    workload = FAMILIES["mock"]

    def peeks(module, inputs):
        return module(inputs["x"]) if inputs["x"].sum() > 0 else module(-inputs["x"])

    with pytest.raises(ConfigError, match=r"torch\.fx cannot trace model=mock .*; use graph=activation"):
        graph().build(dataclasses.replace(workload, forward=peeks), None)


def test_a_site_that_no_operator_reads_is_refused_by_name():
    workload = FAMILIES["mock"]

    def skips(module, inputs):
        return module.layers[1](inputs["x"])

    with pytest.raises(ConfigError, match=r"reads a weight .* tied to layers\.0\.neurons"):
        graph().build(dataclasses.replace(workload, forward=skips), None)


@pytest.mark.parametrize("bad", [{"hops": -1}, {"reuse_decay": 1.1}, {"max_len": -1}, {"per_row": 0}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        graph(**bad)


def test_tracing_leaves_the_module_and_gradients_alone():
    workload = FAMILIES["mock"]
    before = {k: v.clone() for k, v in workload.module.state_dict().items()}
    trace(workload)
    assert all(torch.equal(v, before[k]) for k, v in workload.module.state_dict().items())
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
