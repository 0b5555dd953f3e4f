"""Whether recovery is tried depends on what is known of the weights, and the reason claims no more."""

from dataclasses import replace

import pytest

from icd.contracts import ModelCard
from icd.transform.recover import decide
from tests.tiny import tiny_bert


@pytest.mark.parametrize(
    ("weights", "refits", "reason"),
    [
        ("pretrained", True, "trained weights and calibration inputs"),
        ("unknown", True, "weights of unknown origin and calibration inputs"),
        ("random", False, "weights are random, not trained"),
        ("planted", False, "weights are planted, not trained"),
    ],
)
def test_auto_recovers_what_may_be_trained_and_calls_it_what_it_was_called(weights, refits, reason):
    workload = replace(tiny_bert(), card=ModelCard("tiny", "bert", 1, weights, "here"))
    assert decide("auto", workload) == (refits, f"transform.recover=auto: {reason}")
