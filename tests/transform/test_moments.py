"""Which tokens are held out, and what a layer misses on tokens, against plain loops and numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icd.contracts import Workload
from icd.transform.moments import Moments, held_of_each, held_out, where_sequences_lie


def batch(sequences, length=4):
    return {"input_ids": torch.zeros(sequences, length)}


def test_every_fifth_sequence_is_held_out_over_all_batches():
    sizes, length, number = [3, 1, 4, 2, 7], 4, 0
    masks = held_of_each([batch(n, length) for n in sizes])
    for size, mask in zip(sizes, masks, strict=True):
        expected = []
        for _ in range(size):
            expected += [number % 5 == 4] * length
            number += 1
        assert mask(size * length).tolist() == expected


def test_of_fewer_than_five_sequences_the_last_fifth_of_each_is_held_out():
    for mask in held_of_each([batch(2, 12), batch(1, 12)]):
        found = mask(24).reshape(2, 12)  # a layer that sees two sequences of twelve tokens, or one
        assert found.sum() in (2 * 2, 24 // 5) and found[-1, -2:].all() and not found[0, 0]
    assert held_out(24, 2, 0, False).reshape(2, 12).sum(1).tolist() == [2, 2]


def test_sequences_are_those_of_the_input_that_holds_them_and_in_its_dimension():
    mask, x = torch.zeros(7, 7), torch.zeros(5, 7, 3)
    given = Workload(torch.nn.Identity(), None, {"mask": mask, "x": x}, (), None, rows=5)
    assert where_sequences_lie(given) == ("x", 0)
    (out,) = held_of_each([{"mask": mask, "x": x}], *where_sequences_lie(given))
    assert out(35).reshape(5, 7).tolist() == [[row == 4] * 7 for row in range(5)]
    second = replace(given, batch_dims={"x": 1})
    (out,) = held_of_each([{"mask": mask, "x": x.transpose(0, 1)}], *where_sequences_lie(second))
    assert out(35).reshape(7, 5).tolist() == [[False] * 4 + [True]] * 7
    (out,) = held_of_each(
        [{"mask": mask, "x": x.transpose(0, 1)}], *where_sequences_lie(second), first=True
    )  # of outputs
    assert out(35).reshape(5, 7).tolist() == [[row == 4] * 7 for row in range(5)]
    few = [{"x": torch.zeros(10, 2, 3)}]
    (out,) = held_of_each(few, *where_sequences_lie(second))
    assert out(20).reshape(10, 2).tolist() == [[place >= 8] * 2 for place in range(10)]
    (out,) = held_of_each([{"ids": torch.zeros(5, 4)}], *where_sequences_lie(second))
    assert out(20).reshape(5, 4).tolist() == [[row == 4] * 4 for row in range(5)]


def test_a_layer_that_sees_a_sequence_as_one_token_has_whole_sequences_held_out():
    (mask,) = held_of_each([batch(12)])
    assert torch.nonzero(mask(12))[:, 0].tolist() == [4, 9]


def test_tokens_that_no_sequence_divides_are_taken_as_one_sequence_and_too_few_hold_none_out():
    assert held_out(7, 3, 0, False).tolist() == [False] * 6 + [True]
    assert not held_out(4, 1, 0, False).any() and len(held_out(0, 1, 0, True)) == 0


@pytest.mark.parametrize("biased", [True, False])
def test_what_a_layer_misses_is_numpys_share_of_the_variance(biased):
    rng = np.random.default_rng(0)
    a, y, v = rng.normal(size=(50, 6)) + 2, rng.normal(size=(50, 3)) - 1, rng.normal(size=(3, 6))
    c = rng.normal(size=3) if biased else None
    moments = Moments.empty(torch.nn.Linear(6, 3))
    for part in (slice(0, 20), slice(20, 50)):
        moments.add(torch.from_numpy(a[part]).reshape(2, -1, 6), torch.from_numpy(y[part]).reshape(2, -1, 3))
    error = ((a @ v.T + (c if biased else 0) - y) ** 2).sum()
    total = ((y - (y.mean(0) if biased else 0)) ** 2).sum()
    found = moments.missed(torch.from_numpy(v), torch.from_numpy(c) if biased else None)
    assert found == pytest.approx(error / total, rel=1e-12)


def test_tokens_that_are_not_finite_are_seen():
    moments = Moments.empty(torch.nn.Linear(2, 1))
    moments.add(torch.ones(3, 2), torch.ones(3, 1))
    assert moments.finite()
    moments.add(torch.tensor([[1.0, float("nan")]]), torch.ones(1, 1))
    assert not moments.finite()
