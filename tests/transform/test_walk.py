"""A stage that is replayed sees nothing of an earlier replay: caches, buffers, attributes, changed inputs."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from icd.contracts import ModelCard, Site, TensorAxis, Workload
from icd.transform.channel import Channel
from icd.transform.recover import RIDGE
from icd.transform.walk import chain, forward

HEADS, WIDTH, LAYERS = 4, 32, 3


def refitted(workload):
    return Channel(0.5, "magnitude", ["heads"], 0, "lstsq").apply(workload, None)


def unrecovered(workload):
    return Channel(0.5, "magnitude", ["heads"], 0, "none").apply(workload, None)


def workload_of(module, prefix, inputs, answer):
    """Heads of every layer's ``q, k, v, o`` below ``prefix`` as sites; twelve batches of four sequences."""
    sites = []
    for layer in range(LAYERS):
        q, k, v, o = (f"layers.{layer}.{prefix}{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj"))
        axes = [TensorAxis(f"{name}.weight", 0, 0, WIDTH // HEADS) for name in (q, k, v)]
        axes.append(TensorAxis(f"{o}.weight", 1, 0, WIDTH // HEADS))
        sites.append(Site(f"{layer}.heads", HEADS, tuple(axes), "heads", o))
    return Workload(
        module=module.eval().requires_grad_(False),
        forward=answer,
        inputs=inputs(0),
        sites=tuple(sites),
        card=ModelCard("tiny", "decoder", 1, "pretrained", "here"),
        calibration=tuple(inputs(1 + k) for k in range(12)),
    )


def llama(use_cache):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=97,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        intermediate_size=48,
        max_position_embeddings=32,
        use_cache=use_cache,
    )

    def inputs(seed):
        generator = torch.Generator().manual_seed(seed)
        return {"input_ids": torch.randint(0, 97, (4, 10), generator=generator)}

    module = transformers.LlamaModel(config)
    return workload_of(module, "self_attn.", inputs, lambda m, x: m(**x).last_hidden_state)


class Attention(nn.Module):
    """A decoder's layer of one head a channel group. ``how`` it keeps state beyond a call, if it does."""

    def __init__(self, how):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4)
        )
        self.how, self.seen = how, []
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, hidden, past=None):
        q, k, v = (
            p(hidden).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.how == "attribute":
            self.seen.append((k, v))
            k, v = (torch.cat([pair[i] for pair in self.seen], 2) for i in (0, 1))
        if past is not None:
            past.setdefault(id(self.q_proj.weight), []).append((k, v))
            k, v = (torch.cat([pair[i] for pair in past[id(self.q_proj.weight)]], 2) for i in (0, 1))
        weights = (q @ k.transpose(2, 3) / k.shape[-1] ** 0.5).softmax(-1)
        out = self.o_proj((weights @ v).transpose(1, 2).flatten(2))
        if self.how == "buffer":
            self.calls += 1
            out = out / self.calls
        if self.how == "in place":
            hidden += out
            return hidden
        return hidden + out


class Decoder(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.layers = nn.ModuleList(Attention(how) for _ in range(LAYERS))
        self.how = how

    def forward(self, x):
        past = {} if self.how in ("cache", "length") else None
        for layer in self.layers:
            x = layer(past=past, hidden=x) if self.how == "keyword" else layer(x, past)
            if self.how == "length":  # what the layers before it have put into the cache
                x = x / len(past)
        return x


def own(how):
    torch.manual_seed(0)
    mix = torch.randn(6, WIDTH)

    def inputs(seed):
        drawn = torch.randn(4, 10, 6, generator=torch.Generator().manual_seed(seed))
        return {"x": drawn @ mix}  # channels depend on one another, so that some make up for others

    return workload_of(Decoder(how), "", inputs, lambda module, inputs: module(**inputs))


def recovered_weights(workload):
    found = refitted(workload)
    assert all(row["kept"] for row in found.notes["recover"]["consumers"])
    return [found.module.get_submodule(s.activation).weight for s in workload.sites]


def test_with_a_cache_of_keys_and_values_a_decoder_is_refitted_as_without():
    plain, cached = refitted(llama(False)), refitted(llama(True))
    rows = cached.notes["recover"]["consumers"]
    assert [row["missed_before"] for row in rows] == [
        row["missed_before"] for row in plain.notes["recover"]["consumers"]
    ]
    assert all(row["missed_before"] > 0.1 and row["kept"] for row in rows)  # half of the heads are gone
    for key, tensor in plain.module.state_dict().items():
        assert torch.equal(tensor, cached.module.state_dict()[key])


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("build", [lambda: llama(True), lambda: own("cache"), lambda: own("attribute")])
def test_a_refit_of_a_model_with_state_is_numpys_least_squares_over_fresh_forwards(build, layer):
    workload = build()
    name = workload.sites[layer].activation
    before, after = unrecovered(workload), refitted(workload)
    earlier = copy.deepcopy(after.module)  # layers before this one are refitted, this one is not yet
    for late in workload.sites[layer:]:
        weight = earlier.get_submodule(late.activation).weight
        weight.data = before.module.get_submodule(late.activation).weight.data
    prefix = f"layers.{layer}"
    a, y = [], []
    with torch.no_grad():
        for batch in workload.calibration:
            fresh, dense = copy.deepcopy(earlier), copy.deepcopy(workload.module)
            fresh.get_submodule(name).register_forward_pre_hook(lambda _, args: a.append(args[0].clone()))
            given = []
            fresh.get_submodule(prefix).register_forward_pre_hook(
                lambda _, args, kwargs, given=given: given.append(copy.deepcopy((args, kwargs))),
                with_kwargs=True,
            )
            workload.forward(fresh, batch)
            dense.get_submodule(name).register_forward_hook(lambda _, args, out: y.append(out.clone()))
            args, kwargs = given[0]
            dense.get_submodule(prefix)(*args, **kwargs)
    kept = np.arange(12 * 4) % 5 != 4
    a, y = (torch.cat(part).double().numpy()[kept] for part in (a, y))
    a, y = a.reshape(-1, WIDTH), y.reshape(-1, WIDTH)
    pruned = before.module.get_submodule(name).weight.double().numpy()
    live = (pruned != 0).any(0)
    root = np.sqrt(RIDGE * np.mean((a[:, live] ** 2).sum(0)))
    stacked = np.vstack([a[:, live], root * np.eye(live.sum())])
    right = np.vstack([y, root * pruned[:, live].T])
    expected = np.linalg.lstsq(stacked, right, rcond=None)[0].T
    found = after.module.get_submodule(name).weight.double().numpy()
    np.testing.assert_allclose(found[:, live], expected, atol=2e-5 * np.abs(expected).max())
    assert (found[:, ~live] == 0).all() and live.sum() == WIDTH // 2


@pytest.mark.parametrize("how", ["cache", "attribute", "in place", "keyword"])
def test_state_that_a_layer_keeps_or_changes_does_not_reach_the_next_replay(how):
    """The plain decoder is the twin: in each of these a first call gives what it gives."""
    for ours, plain in zip(recovered_weights(own(how)), recovered_weights(own("none")), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", ["attribute", "buffer", "in place"])
def test_a_model_is_left_as_it_was(how):
    workload = own(how)
    inputs = [batch["x"].clone() for batch in workload.calibration]
    for module in (refitted(workload).module, workload.module):
        assert all(layer.seen == [] and layer.calls == 0 for layer in module.layers)
    assert all(torch.equal(a, b["x"]) for a, b in zip(inputs, workload.calibration, strict=True))


def test_a_counter_in_a_buffer_starts_anew_in_every_call():
    workload = own("buffer")
    x = workload.calibration[0]
    first, second = (forward(workload, workload.module, x) for _ in range(2))
    assert torch.equal(first, second)
    wanted = workload.forward(copy.deepcopy(workload.module), x)
    assert torch.equal(first, wanted)


def test_layers_are_replayed_one_by_one_only_where_that_gives_what_the_forward_gave():
    names = [f"layers.{i}" for i in range(LAYERS)]
    assert [chain(own(how)) for how in ("none", "cache", "keyword", "attribute", "buffer")] == [names] * 5
    assert chain(own("length")) == []  # each layer's input also depends on how many came before it
    assert chain(llama(True)) == names
