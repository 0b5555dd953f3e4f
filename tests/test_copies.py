"""Copies share what they say they share, keep ties, and are made once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from icd.copies import convert, converted, for_one_call, sharing
from icd.runtime.compact import Compact
from icd.runtime.masked import Masked
from icd.transform.permute import permute
from icd.transform.quantize import Precision
from tests.runtime.test_engines import gather, pruned
from tests.tiny import mock, tiny_bert, tiny_mamba


class Made(TorchDispatchMode):
    """Elements of what was copied, converted, gathered or joined; dtypes of what changed its device."""

    def __init__(self):
        super().__init__()
        self.elements, self.travelled = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        out = func(*args, **kwargs)
        if name in ("clone", "_to_copy", "index_select", "cat"):
            self.elements += out.numel()
        if name == "_to_copy" and kwargs.get("device") is not None:
            self.travelled.append(out.dtype)
        return out


def tensors(module):
    return [*module.parameters(), *module.buffers()]


def memory(module):
    return {x.untyped_storage().data_ptr() for x in tensors(module)}


def elements(module):
    return sum(x.numel() for x in tensors(module))


def tied():
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4, bias=False))
    module[1].weight = module[0].weight
    module.register_buffer("ids", torch.arange(3))
    return module.requires_grad_(False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_converted_copy_shares_nothing_and_keeps_ties_and_whole_numbers(dtype):
    module = tied()
    made = converted(module, "cpu", dtype)
    assert made[1].weight is made[0].weight and isinstance(made[0].weight, torch.nn.Parameter)
    assert {x.dtype for x in made.parameters()} == {dtype} and made.ids.dtype == torch.int64
    assert not memory(made) & memory(module)
    assert torch.equal(made[0].weight, module[0].weight.to(dtype))


def test_a_sharing_copy_can_exchange_a_parameter_and_its_model_does_not_see_it():
    module = tied()
    made = sharing(module)
    assert memory(made) == memory(module) and made[0].weight is not module[0].weight
    before = module[0].weight.clone()
    made[0].weight.data = made[0].weight.data[[1, 0, 3, 2]]
    made[0].bias = torch.nn.Parameter(torch.zeros(2))
    assert torch.equal(module[0].weight, before) and len(module[0].bias) == 4


def test_a_tensor_travels_in_the_narrower_of_its_two_dtypes():
    with Made() as made:
        for dtype in (torch.float64, torch.bfloat16):
            assert convert(torch.ones(2), "meta", dtype).dtype == dtype
    assert made.travelled == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(
    "build", [tiny_bert, tiny_mamba, lambda: mock().build()], ids=["bert", "mamba", "mock"]
)
def test_a_permuted_copy_shares_nothing_and_makes_what_moves_by_its_order_alone(build):
    workload = build()
    site = workload.sites[0]
    moved = {axis.parameter: workload.module.get_parameter(axis.parameter).numel() for axis in site.axes}
    with Made() as made:
        turned = permute(workload, {site.name: np.roll(np.arange(site.size), 3).astype(np.int32)})
    assert not memory(turned.module) & memory(workload.module)
    still = elements(workload.module) - sum(moved.values())
    assert made.elements <= still + sum(moved[axis.parameter] for axis in site.axes) + 2 * site.size


@pytest.mark.parametrize("engine", [Masked, Compact])
@pytest.mark.parametrize("build", [tiny_bert, tiny_mamba], ids=["bert", "mamba"])
def test_an_engine_makes_its_arm_once_of_a_workload_that_stays_as_it_is(build, engine):
    workload = gather(pruned(build()))
    before = {name: x.clone() for name, x in workload.module.state_dict().items()}
    with Made() as made:
        step = engine(64, 16).prepare(workload, Precision("bf16", "fail"), "cpu")
    assert not memory(step.module) & memory(workload.module)
    assert all(torch.equal(x, before[name]) for name, x in workload.module.state_dict().items())
    cut_or_fused = engine is Compact or workload.fuse is not None
    assert made.elements < (2 if cut_or_fused else 1.01) * elements(workload.module)


def test_after_a_call_a_module_is_as_it_was_and_inside_only_parameters_are_the_same_memory():
    class Layer(torch.nn.Module):
        def __init__(self, shared):
            super().__init__()
            self.linear, self.seen, self.shared = torch.nn.Linear(2, 2), [], shared
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x, cache):
            self.count += 1
            self.seen.append(x)
            self.new = x
            self.shared["n"] = self.shared.get("n", 0) + 1
            cache.append(x)
            return self.linear(x.add_(1))

    shared = {}
    module = torch.nn.Sequential(Layer(shared), Layer(shared)).requires_grad_(False)
    x, cache = torch.zeros(1, 2), []
    answers = []
    for _ in range(2):
        with for_one_call(module, (x, cache), ()) as (own, theirs):
            assert own is not x and module[0].linear.weight is next(module.parameters())
            answers.append(module[1](module[0](own, theirs), theirs))
            assert module[0].shared is module[1].shared and module[1].shared == {"n": 2}
            assert module[0].count == 1 and len(theirs) == 2
    assert torch.equal(*answers)
    assert x.tolist() == [[0, 0]] and cache == [] and shared == {}
    assert all(layer.count == 0 and layer.seen == [] and layer.shared is shared for layer in module)
    assert not any(hasattr(layer, "new") for layer in module)


def test_a_module_is_as_it_was_after_a_call_that_failed_too():
    module = torch.nn.Linear(2, 2)
    module.seen = []
    with pytest.raises(KeyError), for_one_call(module, (), ()):
        module.seen.append(1)
        raise KeyError
    assert module.seen == []
