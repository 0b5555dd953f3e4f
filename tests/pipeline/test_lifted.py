"""Models that round or choose a type on their way: proved in float64 all the same, or named."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from icd.errors import ConfigError, VerificationError
from icd.pipeline.checks import engine_check, equivalence
from icd.pipeline.lifted import Lifted
from icd.runtime.compact import Compact
from icd.runtime.masked import Masked
from icd.transform.quantize import Precision
from tests.shapes import Net, site, workload

AXES = ("up.weight", 0), ("up.bias", 0), ("norm.weight", 0), ("norm.bias", 0), ("down.weight", 1)
TURNED = {"n": np.random.default_rng(0).permutation(24).astype(np.int32)}


def own(between):
    """A block whose neurons pass ``between(norm, h)``."""
    net = Net(
        lambda m, x: m.down(between(m.norm, torch.relu(m.up(x)))),
        up=nn.Linear(6, 24),
        norm=nn.LayerNorm(24),
        down=nn.Linear(24, 6),
    )
    return workload(net, (site(24, "down", *AXES),), 2, 5, 6)


def norm_in(norm, h, dtype):
    return nn.functional.layer_norm(h.to(dtype), (24,), norm.weight.to(dtype), norm.bias.to(dtype)).to(
        h.dtype
    )


ROUNDING = {
    "float32 norm": lambda norm, h: norm_in(norm, h, torch.float32),
    "sum by method": lambda norm, h: norm(h) + h.float().sum(-1, keepdim=True).to(h.dtype),
    "float32 softmax": lambda norm, h: norm(nn.functional.softmax(h, -1, dtype=torch.float32).to(h.dtype)),
    "float32 constant": lambda norm, h: norm(h) + torch.ones(5, 5) @ h,
}


@pytest.mark.parametrize("name", ROUNDING)
def test_a_forward_that_rounds_on_its_way_is_proved_without_the_rounding_and_the_record_says_so(name):
    given = own(ROUNDING[name])
    found = equivalence(given, {"turned": TURNED})
    assert found["max_rel_err"] < 1e-13 and found["casts"] == "to narrower types lifted"
    assert torch.get_default_dtype() == torch.float32
    (one,) = given.sites
    with pytest.raises(VerificationError, match="a tied axis is missing or wrong"):
        equivalence(replace(given, sites=(replace(one, axes=one.axes[:2] + one.axes[3:]),)), {"t": TURNED})


def test_a_forward_in_the_type_of_its_inputs_has_no_cast_to_lift():
    assert "casts" not in equivalence(own(lambda norm, h: norm(h)), {"turned": TURNED})


def test_bits_that_are_read_as_another_type_are_left_alone():
    x = torch.randn(4)
    with Lifted() as casts:
        assert torch.equal(x.view(torch.int32).view(torch.float32), x) and not casts.met
        assert x.half().dtype == x.to(torch.bfloat16).dtype == torch.float64 and casts.met


def only_float32(norm, h):
    if h.dtype != torch.float32:
        raise TypeError(f"a kernel for float32 alone, got {h.dtype}")
    return norm(h)


def test_a_forward_for_float32_alone_is_named_where_it_is_proved_and_where_it_is_timed():
    given = own(only_float32)
    with pytest.raises(ConfigError, match=r"^model=own: equivalence is proved in float64, and the forward"):
        equivalence(given, {"turned": TURNED})
    step = Masked(8, 8).prepare(given, Precision("bf16", "fail"), "cpu")
    with pytest.raises(
        ConfigError, match=r"^arm 'dense': the model's forward fails in precision=bf16 \(a ker"
    ):
        engine_check("dense", step, given, given.inputs, 0.06)
    narrow = workload(
        Net(
            lambda m, x: m.down(only_float32(torch.relu, m.up(x))), up=nn.Linear(6, 24), down=nn.Linear(24, 6)
        ),
        (site(24, "down", *AXES[:2], AXES[-1]),),
        *(2, 5, 6),
    )
    few = replace(narrow, live={"n": np.arange(24) < 8})
    step = Compact(8, 8).prepare(few, Precision("bf16", "fail"), "cpu")
    with pytest.raises(ConfigError, match=r"cut away .* fails in precision=bf16 .* or precision=fp32$"):
        engine_check("linear", step, few, few.inputs, 0.06)
