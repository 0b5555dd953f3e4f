"""Tokens of a forward and the batch of its inputs, for every shape that a module may take."""

import pytest
import torch
from torch import nn

from icd.model.positions import batch_dims_of, convolved_shapes, few_rows, rows_of, tokens_of


def ids(*shape):
    return torch.zeros(shape, dtype=torch.long)


def floats(*shape):
    return torch.randn(shape)


CASES = {
    "a classifier of rows": ({"x": floats(6, 16)}, (6, 10), 6, 6),
    "a classifier of sequences": ({"x": floats(6, 7, 16)}, (6, 10), 6, 42),
    "hidden states": ({"x": floats(2, 5, 16)}, (2, 5, 16), 2, 10),
    "a classifier of token ids": ({"input_ids": ids(3, 8)}, (3, 2), 3, 24),
    "a language model": ({"input_ids": ids(3, 8)}, (3, 8, 100), 3, 24),
    "choices of token ids": ({"input_ids": ids(3, 4, 8)}, (3, 4), 3, 96),
    "images": ({"x": floats(4, 3, 8, 8)}, (4, 10), 4, 4),
    "images to images of as many channels": ({"x": floats(4, 3, 8, 8)}, (4, 3, 8, 8), 4, 4),
    "images in bytes": ({"x": torch.zeros(4, 3, 8, 8, dtype=torch.uint8)}, (4, 10), 4, 4),
    "one row without a batch": ({"x": floats(16)}, (10,), 16, 16),
    "a mask first": ({"mask": floats(12, 12), "x": floats(4, 12, 32)}, (4, 12, 32), 4, 48),
    "a mask as long as the batch": ({"mask": floats(4, 4), "x": floats(4, 4, 8)}, (4, 4, 8), 4, 16),
    "a bool mask": ({"mask": torch.ones(4, 9, 9, dtype=torch.bool), "x": ids(4, 9)}, (4, 9, 5), 4, 36),
    "a flag first": ({"flag": torch.tensor(True), "x": floats(6, 16)}, (6, 10), 6, 6),
    "lengths beside floats": ({"lengths": ids(6), "x": floats(6, 7, 16)}, (6, 7, 3), 6, 42),
    "position ids of one row": ({"input_ids": ids(3, 8), "position_ids": ids(1, 8)}, (3, 8, 9), 3, 24),
    "an attention mask beside ids": ({"input_ids": ids(3, 8), "attention_mask": ids(3, 8)}, (3, 8, 9), 3, 24),
    "an output of all tokens": ({"input_ids": ids(3, 8)}, (24, 9), 3, 24),
    "a loss": ({"input_ids": ids(3, 8)}, (), 3, 24),
    "flags alone": ({"flag": torch.tensor(1.0)}, (), 1, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_positions_whatever_the_output_and_the_order_of_the_inputs(name):
    inputs, shape, rows, tokens = CASES[name]
    for given in (inputs, dict(reversed(inputs.items()))):
        found = rows_of(given, torch.zeros(shape))
        assert (found, tokens_of(given, found, set())) == (rows, tokens)


@pytest.mark.parametrize("transposed", [False, True])
def test_time_steps_are_counted_where_a_convolution_takes_the_input_and_where_it_takes_its_transpose(
    transposed,
):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(5, 7, 3)

        def forward(self, x):
            return self.conv(input=x.transpose(1, 2) if transposed else x)

    net, inputs = Net(), {"x": floats(2, 30, 5) if transposed else floats(2, 5, 30)}
    out, convolved = convolved_shapes(net, lambda: net(**inputs))
    assert out.shape == (2, 7, 28) and tokens_of(inputs, 2, convolved) == 60
    assert not net.conv._forward_pre_hooks


def test_channels_by_time_steps_without_a_batch_are_as_many_tokens_as_time_steps():
    net, inputs = nn.Conv1d(5, 7, 3), {"input": floats(5, 30)}
    out, convolved = convolved_shapes(net, lambda: net(**inputs))
    assert out.shape == (7, 28) and tokens_of(inputs, rows_of(inputs, out), convolved) == 30


def attend(x, mask):
    return x + nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)


def causal(length):
    return torch.full((length, length), float("-inf")).triu(1)


@pytest.mark.parametrize("length", [12, 4])
def test_a_mask_is_left_whole_also_where_it_is_as_long_as_the_batch(length):
    inputs = {"x": floats(4, length, 32), "mask": causal(length)}
    dims = batch_dims_of(inputs, attend(**inputs), lambda few: attend(**few))
    assert dims == ({"x": 0} if length == 12 else {})
    few = few_rows(inputs, dims)
    assert torch.equal(few["mask"], inputs["mask"])
    assert torch.equal(attend(**few), attend(**inputs)[: len(few["x"])])


def test_inputs_of_one_batch_are_cut_together():
    inputs = {"a": floats(5, 3), "scale": torch.tensor(2.0), "b": floats(5, 3)}
    dims = batch_dims_of(inputs, inputs["a"] + inputs["b"], lambda few: few["a"] + few["b"])
    assert dims == {"a": 0, "b": 0}
    assert {name: x.shape for name, x in few_rows(inputs, dims).items()} == {
        "a": (2, 3),
        "scale": (),
        "b": (2, 3),
    }


@pytest.mark.parametrize(
    "forward",
    [
        lambda few: few["x"] - few["x"].mean(0),  # rows depend on one another
        lambda few: few["x"].reshape(5, 3),  # takes five rows alone
        lambda few: few["x"][:1],
        lambda few: few["x"] + torch.rand(len(few["x"]), 3),
    ],
)
def test_what_cannot_be_cut_is_left_whole(forward):
    inputs = {"x": floats(5, 3)}
    dims = batch_dims_of(inputs, inputs["x"], forward)
    assert dims == {} and few_rows(inputs, dims)["x"] is inputs["x"]


def test_a_batch_in_another_dimension_is_cut_there_where_it_is_declared():
    x = floats(7, 5, 3)
    assert torch.equal(few_rows({"x": x}, {"x": 1})["x"], x[:, :2])
    assert few_rows({"x": x[:, :1]}, {"x": 1})["x"].shape == (7, 1, 3)
