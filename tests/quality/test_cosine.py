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


def numpy_cosine(a, b):
    """Mean over rows of the cosine of all values of a row."""
    a, b = (x.numpy().astype(np.float64).reshape(len(x), -1) for x in (a, b))
    return np.mean((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


@pytest.mark.parametrize("shape", [(6, 10), (6, 2), (4, 3, 8, 8), (2, 1, 5, 5), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("masked", [False, True])
def test_classes_and_images_are_compared_row_by_row_whatever_mask_the_inputs_have(shape, masked):
    ours, theirs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).unbind()
    probe = {"n": 0, **({"attention_mask": torch.tensor([[1, 0, 0]]).expand(shape[0], 3)} if masked else {})}
    name, value = Cosine().evaluate(Says(ours), Says(theirs), [probe], CARD)
    assert name == "cosine" and value == pytest.approx(numpy_cosine(ours, theirs), abs=1e-9)


def test_logits_of_tokens_are_pooled_as_hidden_states_are_and_a_mask_of_other_positions_is_none():
    ours, theirs = torch.randn(2, 3, 4, 50, generator=torch.Generator().manual_seed(1)).unbind()
    expected = numpy_cosine(ours.double().mean(1), theirs.double().mean(1))
    for mask in ({}, {"attention_mask": torch.ones(3, 9)}):
        assert Cosine().evaluate(Says(ours), Says(theirs), [{"n": 0, **mask}], CARD)[1] == pytest.approx(
            expected, abs=1e-9
        )


@pytest.mark.parametrize("shape", [(), (4,), (4, 1), (4, 1, 1)])
def test_one_number_a_row_has_no_direction_and_the_reason_says_so(shape):
    step = Says(torch.ones(shape))
    said = Cosine().evaluate(step, step, [{"n": 0}], CARD)
    assert said == Missing(f"an output of shape {shape} is one number a row, which has no direction")


def test_outputs_that_are_no_numbers_have_a_reason_and_no_value():
    good, bad = torch.ones(2, 3), torch.tensor([[1.0, 2.0, 3.0], [1.0, float("nan"), 1.0]])
    for a, b in ((good, bad), (bad, good)):
        said = Cosine().evaluate(Says(a), Says(b), [{"n": 0}], CARD)
        assert said == Missing("outputs on the probes hold NaN or infinity")
    none = {"n": 0, "attention_mask": torch.tensor([[1, 1], [0, 0]])}
    step = Says(torch.ones(2, 2, 3))
    assert "NaN" in Cosine().evaluate(step, step, [none], CARD).reason


def test_a_dense_output_of_zeros_has_no_direction_and_a_pruned_one_of_zeros_has_lost_its_own():
    some, none = torch.ones(3, 4), torch.ones(3, 4)
    none[1] = 0
    said = Cosine().evaluate(Says(none), Says(none), [{"n": 0}], CARD)
    assert said == Missing(
        "1 of 3 outputs of the dense model on a probe are zero everywhere, which has no direction"
    )
    assert Cosine().evaluate(Says(none), Says(some), [{"n": 0}], CARD) == ("cosine", pytest.approx(2 / 3))


def test_weights_of_unknown_origin_have_a_quality_for_it_compares_them_with_themselves():
    step = Says(torch.ones(2, 3))
    unknown = ModelCard("m", "f", 1, "unknown", "s")
    assert Cosine().evaluate(step, step, [{"n": 0}], unknown) == ("cosine", pytest.approx(1.0))
