"""``config`` of the record: batch and length are those of the timed inputs, or null."""

import pytest

from icd.pipeline.record import configuration

LOCK = {
    **{group: {"_target_": "icd.some.Thing"} for group in ("transform", "runtime", "solver")},
    "pipeline": {"name": "linear"},
    "measure": {"name": "smoke"},
    "seed": 0,
}


@pytest.mark.parametrize(
    ("inputs", "batch", "seq_len"),
    [
        ({"shape": {"x": [6, 16]}, "batch": 6, "tokens": 6}, 6, 1),
        ({"shape": {"flag": [], "x": [6, 7, 16]}, "batch": 6, "tokens": 42}, 6, 7),
        ({"shape": {"mask": [7, 7], "x": [6, 7, 16]}, "batch": 6, "tokens": 42}, 6, 7),
        ({"shape": {"x": [6, 7, 16]}, "batch": 6, "tokens": 40}, 6, None),
        ({"shape": {"x": [6, 7, 16]}, "batch": 6, "tokens": 1}, 6, None),
        ({"shape": {"input_ids": [2, 9]}, "tokens": 18}, 2, 9),  # a record of an earlier version
    ],
)
def test_batch_and_length_are_those_of_the_batch_and_not_of_the_first_input(inputs, batch, seq_len):
    config = configuration(LOCK, inputs, "fp32", "cpu")
    assert (config["batch_size"], config["seq_len"]) == (batch, seq_len)
