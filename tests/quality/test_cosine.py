"""quality=cosine: the mean over real tokens, sequence by sequence, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from icd.contracts import Missing, ModelCard
from icd.quality.cosine import Cosine, pooled

CARD = ModelCard("m", "f", 1, "pretrained", "s")


class Says:
    """A step that answers with given tensors, probe by probe."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def on(self, inputs):
        return self.answers[inputs["n"]]


def test_padding_has_no_part_in_a_pooled_output():
    hidden = torch.randn(2, 5, 3)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    out = pooled(hidden, mask)
    assert out.dtype == torch.float64
    assert torch.allclose(out[0], hidden[0, :2].double().mean(0))
    assert torch.allclose(out[1], hidden[1].double().mean(0))
    assert torch.equal(pooled(hidden, None), hidden.double().mean(1))


def test_the_mean_is_over_sequences_whatever_the_sizes_of_the_batches():
    rng = np.random.default_rng(0)
    ours, theirs = (
        [torch.from_numpy(rng.normal(size=(rows, 4, 6)).astype(np.float32)) for rows in (1, 3)] for _ in "ab"
    )
    masks = [torch.ones(1, 4), torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])]
    probes = [{"n": k, "attention_mask": mask} for k, mask in enumerate(masks)]
    name, value = Cosine().evaluate(Says(*ours), Says(*theirs), probes, CARD)
    cosines = []
    for a, b, mask in zip(ours, theirs, masks, strict=True):
        for row in range(len(a)):
            real = mask[row].numpy() > 0
            x, y = (t[row].numpy()[real].mean(0, dtype=np.float64) for t in (a, b))
            cosines.append(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert name == "cosine" and value == pytest.approx(np.mean(cosines), abs=1e-9)
    assert Cosine().evaluate(Says(*ours), Says(*ours), probes, CARD)[1] == pytest.approx(1.0)


def test_random_weights_and_no_probes_have_no_quality_and_a_reason():
    step = Says(torch.ones(1, 1, 1))
    random = ModelCard("m", "f", 1, "random", "s")
    assert "random weights" in Cosine().evaluate(step, step, [{"n": 0}], random).reason
    assert Cosine().evaluate(step, step, [], CARD) == Missing("model=m has no probes")
    extended = ModelCard("m", "f", 1, "pretrained", "s", tags=("extended-positions",))
    said = "the position table was extended by repetition"
    assert Cosine().evaluate(step, step, [], extended) == Missing(said)
