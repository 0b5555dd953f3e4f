"""model=custom: whatever a sites file or a loader holds that does not fit gets a sentence."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from icd.contracts import TensorAxis
from icd.errors import ConfigError
from icd.model.custom import Custom
from icd.model.declared import check_sites
from icd.model.sites_file import read_sites
from tests.tiny import mock

SITES = """
- name: neurons
  size: 8
  activation: down
  axes: [{parameter: up.weight, dim: 0}, {parameter: up.bias, dim: 0}, {parameter: down.weight, dim: 1}]
"""
GIVEN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


def load(batch_size, seq_len, seed):
    x = {"x": torch.ones(2, 3, 4)}
    return {"module": Net(), "inputs": x, "calibration": [x]}


def half(batch_size, seq_len, seed):
    x = {"x": torch.ones(2, 3, 4, dtype=torch.float16)}
    return {"module": Net().half(), "inputs": x, "calibration": [x], "probes": [x]}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("size: 8", "size: many", "site 1: size: expected a whole number of 1 or more, got 'many'"),
        ("size: 8", "size: 0", "size: expected a whole number of 1 or more, got 0"),
        ("size: 8", "size: true", "got True"),
        ("dim: 1}", "dim: -1}", "down.weight: dim: expected a whole number of 0 or more, got -1"),
        ("dim: 1}", "dim: one}", "dim: expected a whole number of 0 or more, got 'one'"),
        ("dim: 1}", "dim: 1, offset: -3}", "offset: expected a whole number of 0 or more, got -3"),
        ("dim: 1}", "dim: 1, repeat: 0}", "repeat: expected a whole number of 1 or more, got 0"),
        ("dim: 1}", "dim: 1, ofset: 0}", "an axis has parameter and dim (also offset, repeat)"),
        (
            "size: 8",
            "size: 8\n  counts: [a]",
            "counts: expected a mapping of attributes to factors, got ['a']",
        ),
        ("size: 8", "size: 8\n  counts: {up.n: x}", "counts: up.n: expected a whole number of 1 or more"),
        ("size: 8", "size: 8\n  sise: 8", "expected name, size, axes and activation"),
    ],
)
def test_a_value_of_a_sites_file_that_does_not_fit_is_named(tmp_path, old, new, said):
    file = tmp_path / "sites.yaml"
    file.write_text(SITES.replace(old, new))
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        read_sites(file)
    assert str(caught.value).startswith("sites.yaml, site 1")


@pytest.mark.parametrize("axes", ["4", "[]", "{}"])
def test_axes_are_a_list_that_holds_some(tmp_path, axes):
    file = tmp_path / "sites.yaml"
    file.write_text(f"- {{name: a, size: 3, axes: {axes}, activation: b}}")
    with pytest.raises(ConfigError, match="axes: expected a list, an entry for each dimension"):
        read_sites(file)


@pytest.mark.parametrize("changes", [{"dim": -1}, {"offset": -1}, {"repeat": 0}])
def test_a_site_declared_in_python_is_checked_alike(changes):
    workload = mock().build()
    site = workload.sites[0]
    axes = (dataclasses.replace(site.axes[0], **changes), *site.axes[1:])
    with pytest.raises(ConfigError, match="count from 0 and repeat from 1"):
        check_sites(workload.module, [dataclasses.replace(site, axes=axes)])
    for empty in ({"size": 0}, {"axes": ()}):
        with pytest.raises(ConfigError, match="expected a channel and an axis or more"):
            check_sites(workload.module, [dataclasses.replace(site, **empty)])
    assert TensorAxis("a", 0) == TensorAxis("a", 0, 0, 1)


@pytest.fixture
def custom(tmp_path, monkeypatch):
    (tmp_path / "sites.yaml").write_text(SITES)
    (tmp_path / "given_net.py").write_text(GIVEN)
    monkeypatch.syspath_prepend(str(tmp_path))

    def build(function="load", file="given_net", **changes):
        import given_net

        if changes:
            monkeypatch.setattr(
                given_net, "changed", lambda **k: {**given_net.load(**k), **changes}, raising=False
            )
        model = Custom(
            name="custom",
            loader=f"{file}:{'changed' if changes else function}",
            sites=str(tmp_path / "sites.yaml"),
            batch_size=None,
            seq_len=None,
            seed=0,
        )
        return model.build()

    return build


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"module": 3}, "module: expected a torch.nn.Module, got int"),
        ({"inputs": {"x": 3}}, "inputs: x: expected a tensor, got int"),
        ({"inputs": {}}, "inputs: expected a mapping of names to tensors, got dict"),
        ({"calibration": {"x": 1}}, "calibration: expected a list of inputs, got dict"),
        ({"calibration": [torch.ones(1)]}, "calibration: expected a mapping of names to tensors, got Tensor"),
        ({"probes": [{"x": None}]}, "probes: x: expected a tensor, got NoneType"),
    ],
)
def test_what_a_loader_returns_is_checked_by_name(custom, changes, said):
    with pytest.raises(ConfigError, match=re.escape(f"model.loader='given_net:changed': {said}")):
        custom(**changes)


BAD_LOADERS = """
import threading

import given_net
import torch

NUMBER = 3


def two(batch_size, seq_len):
    return given_net.load(batch_size, seq_len, 0)


def raises(batch_size, seq_len, seed):
    raise ValueError("seed 0 is not mine\\nand more")


def ends(batch_size, seq_len, seed):
    raise SystemExit(3)


def locked(batch_size, seq_len, seed):
    given = given_net.load(batch_size, seq_len, seed)
    given["module"].lock = threading.Lock()
    return given


def scripted(batch_size, seq_len, seed):
    given = given_net.load(batch_size, seq_len, seed)
    return {**given, "module": torch.jit.trace(given["module"], given["inputs"]["x"])}


def disk(batch_size, seq_len, seed):
    raise OSError("no disk")


def any_names(**given):
    return given_net.load(**given)
"""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("NUMBER", "expected a function, got int"),
        ("nothing", "module 'bad_loaders' has no attribute 'nothing'"),
        ("two", "expected a function of batch_size, seq_len, seed: TypeError: got an unexpected keyword"),
        ("raises", "the function raised: ValueError: seed 0 is not mine"),
        ("ends", "the function raised: SystemExit: 3"),
        (
            "locked",
            "expected a module and inputs that can be copied to the CPU in float32: TypeError: cannot",
        ),
        ("scripted", "module: expected a module in Python, whose tensors can be exchanged, got "),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_loader_that_does_not_fit_is_named(custom, tmp_path, function, said):
    (tmp_path / "bad_loaders.py").write_text(BAD_LOADERS)
    with pytest.raises(
        ConfigError, match=re.escape(f"model.loader='bad_loaders:{function}': {said}")
    ) as caught:
        custom(function, file="bad_loaders")
    assert "and more" not in str(caught.value)


def test_a_disk_that_fails_is_no_matter_of_configuration_and_any_callable_will_do(custom, tmp_path):
    (tmp_path / "bad_loaders.py").write_text(BAD_LOADERS)
    with pytest.raises(OSError, match="no disk"):
        custom("disk", file="bad_loaders")
    assert custom("any_names", file="bad_loaders").card.params == 76


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": {"y": torch.ones(2, 3, 4)}}, "inputs: the module does not take y (2, 3, 4): TypeError: "),
        (
            {"inputs": {"x": torch.ones(2, 3, 5)}},
            "inputs: the module does not take x (2, 3, 5): RuntimeError: ",
        ),
        (
            {"calibration": [{"x": torch.ones(1, 9)}]},
            "calibration: the module does not take x (1, 9): Runtime",
        ),
        ({"probes": [{"x": torch.ones(1, 9)}]}, "probes: the module does not take x (1, 9): RuntimeError: "),
        ({"module": torch.nn.Module()}, "inputs: the module does not take x (2, 3, 4): TypeError: "),
    ],
)
def test_inputs_that_the_module_does_not_take_are_found_when_it_is_built(custom, changes, said):
    with pytest.raises(ConfigError, match=re.escape(f"model.loader='given_net:changed': {said}")) as caught:
        custom(**changes)
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_in_sixteen_bits_is_built_in_float32_with_its_inputs(custom):
    workload = custom("half")
    tensors = [*workload.module.parameters()]
    tensors += [
        x for batch in (workload.inputs, *workload.calibration, *workload.probes) for x in batch.values()
    ]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    assert workload.forward(workload.module, workload.inputs).shape == (2, 3, 4)


WHOLE = "tokens: expected a whole number of 1 or more, those of one forward over inputs"
DIMS = "batch_dims: x has 3 dimension(s), counted from 0"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "trained"}, "weights: expected pretrained or random or unknown, got 'trained'"),
        ({"weights": 3}, "weights: expected pretrained or random or unknown, got 3"),
        (
            {"tokens": 0},
            "tokens: expected a whole number of 1 or more, those of one forward over inputs, got 0",
        ),
        ({"tokens": 2.0}, f"{WHOLE}, got 2.0"),
        ({"tokens": True}, f"{WHOLE}, got True"),
        (
            {"batch_dims": {"y": 0}},
            "batch_dims: expected a mapping of inputs (x) to their batch dimension, got {",
        ),
        ({"batch_dims": {}}, "batch_dims: expected a mapping of inputs (x)"),
        ({"batch_dims": 0}, "batch_dims: expected a mapping of inputs (x)"),
        ({"batch_dims": {"x": 3}}, "batch_dims: x has 3 dimension(s), counted from 0, and 3 is none of them"),
        (
            {"batch_dims": {"x": -1}},
            "batch_dims: x has 3 dimension(s), counted from 0, and -1 is none of them",
        ),
        ({"batch_dims": {"x": "0"}}, f"{DIMS}, and '0' is none of them"),
        (
            {"inputs": {"x": torch.ones(2, 3, 4), "y": torch.ones(5)}, "batch_dims": {"x": 0, "y": 0}},
            "batch_dims: expected one batch of all inputs, got x 2, y 5",
        ),
        (
            {"inputs": {"x": [torch.ones(2, 3, 4)]}},
            "inputs: x: expected a tensor, got list; what else the module",
        ),
        (
            {"inputs": {"x": {"y": torch.ones(2)}}},
            "inputs: x: expected a tensor, got dict; what else the module",
        ),
        (
            {"inputs": {"x": None}},
            "inputs: x: expected a tensor, got NoneType; what else the module takes belongs",
        ),
        (
            {"inputs": {"x": torch.ones(2, 4).to_sparse()}},
            "inputs: x: expected a dense tensor, got a torch.sparse_",
        ),
        (
            {"inputs": {"x": torch.nested.nested_tensor([torch.ones(2, 4)], layout=torch.jagged)}},
            "inputs: x: expected a dense tensor, got a nested one",
        ),
    ],
)
def test_what_a_loader_says_of_its_inputs_and_weights_is_checked(custom, changes, said):
    with pytest.raises(ConfigError, match=re.escape(f"model.loader='given_net:changed': {said}")) as caught:
        custom(**changes)
    assert len(str(caught.value).splitlines()) == 1


def test_weights_are_what_the_loader_says_and_unknown_where_it_says_nothing(custom):
    assert custom().card.weights == "unknown"
    for said in ("pretrained", "random", "unknown"):
        assert custom(weights=said).card.weights == said
    assert custom(weights=None).card.weights == "unknown"


class Answers(torch.nn.Module):
    """A module that returns what ``answer`` makes of its inputs, with the parameters of the sites file."""

    def __init__(self, answer):
        super().__init__()
        self.up, self.down, self.answer = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4), answer

    def forward(self, **inputs):
        return self.answer(self.down(torch.relu(self.up(inputs["x"]))), **inputs)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            lambda h, **_: (h, h),
            "the module returned tuple; expected a tensor, or an output with last",
        ),
        (lambda h, **_: [h], "the module returned list; expected a tensor"),
        (lambda h, **_: {"logits": h}, "the module returned dict; expected a tensor"),
        (lambda h, **_: None, "the module returned NoneType; expected a tensor"),
        (
            lambda h, **_: h.argmax(-1),
            "a tensor of int64, shape (2, 3); expected one of floating-point",
        ),
        (lambda h, **_: h > 0, "a tensor of bool, shape (2, 3, 4); expected one of floating-point"),
        (lambda h, **_: h + 1j, "a tensor of complex64, shape (2, 3, 4); expected one of floating-point"),
        (
            lambda h, **_: h[:0],
            "an empty tensor, shape (0, 3, 4); expected values, and a row or more",
        ),
    ],
)
def test_an_output_that_cannot_be_compared_is_one_sentence(custom, answer, said):
    with pytest.raises(ConfigError, match=re.escape("model=custom: the module returned ")) as caught:
        custom(module=Answers(answer))
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 1


def classes(h, **_):
    return h.mean(1)


@pytest.mark.parametrize(
    ("answer", "inputs", "batch", "tokens", "cut"),
    [
        (lambda h, **_: h, {"x": torch.ones(6, 4)}, 6, 6, ["x"]),
        (classes, {"x": torch.ones(6, 3, 4)}, 6, 18, ["x"]),
        (lambda h, x, flag: h * flag, {"flag": torch.tensor(2.0), "x": torch.ones(6, 3, 4)}, 6, 18, ["x"]),
        (lambda h, x, mask: mask @ h, {"mask": torch.ones(3, 3), "x": torch.ones(6, 3, 4)}, 6, 18, ["x"]),
        (lambda h, **_: h.mean((1, 2)), {"x": torch.ones(6, 5, 3, 4)}, 6, 6, ["x"]),
        (lambda h, **_: h.sum(), {"x": torch.ones(6, 3, 4)}, 6, 18, []),
    ],
)
def test_tokens_and_batch_are_those_of_the_inputs_and_a_loader_may_say_otherwise(
    custom, answer, inputs, batch, tokens, cut
):
    given = {"module": Answers(answer), "inputs": inputs, "calibration": [inputs], "probes": [inputs]}
    workload = custom(**given)
    assert (workload.batch, workload.tokens, dict(workload.batch_dims)) == (
        batch,
        tokens,
        dict.fromkeys(cut, 0),
    )
    said = custom(**given, tokens=7, batch_dims={"x": 0})
    assert (said.batch, said.tokens, said.batch_dims) == (6, 7, {"x": 0})


def test_a_batch_in_the_second_dimension_is_declared(custom):
    inputs = {"x": torch.ones(7, 5, 4)}  # (length, batch, features)
    workload = custom(module=Answers(lambda h, **_: h), inputs=inputs, batch_dims={"x": 1})
    assert (workload.batch, workload.tokens, workload.batch_dims) == (5, 35, {"x": 1})


@pytest.mark.parametrize("answer", [lambda h, **_: h, lambda h, **_: h.mean(0)], ids=["hidden", "classes"])
def test_outputs_have_the_batch_first_wherever_the_inputs_have_it(custom, answer):
    inputs = {"x": torch.randn(7, 5, 4)}
    workload = custom(module=Answers(answer), inputs=inputs, batch_dims={"x": 1})
    out, own = workload.forward(workload.module, inputs), workload.module(**inputs)
    assert torch.equal(out, own.transpose(0, 1) if own.dim() == 3 else own) and len(out) == 5


def test_a_batch_dimension_that_the_module_cannot_be_cut_in_is_refused(custom):
    def answer(h, **_):
        return h.reshape(6, 12)

    inputs = {"x": torch.ones(6, 3, 4)}
    assert custom(module=Answers(answer), inputs=inputs, calibration=[]).batch_dims == {}
    with pytest.raises(
        ConfigError, match=re.escape("inputs, cut by batch_dims: the module does not take x (2, 3, 4)")
    ):
        custom(module=Answers(answer), inputs=inputs, calibration=[], batch_dims={"x": 0})


def test_every_kind_of_calibration_batch_is_tried_once(custom):
    calls = []

    def answer(h, **inputs):
        calls.append(tuple(inputs["x"].shape))
        return h

    good = [{"x": torch.ones(2, n, 4)} for n in (3, 4, 5)]
    custom(module=Answers(answer), calibration=good)
    assert len(calls) == 2  # the timed inputs and one of three
    with pytest.raises(ConfigError, match=re.escape("calibration: the module does not take x (2, 3, 5)")):
        custom(module=Answers(answer), calibration=[*good, {"x": torch.ones(2, 3, 5)}])


def test_inputs_that_want_gradients_are_taken_as_numbers(custom):
    workload = custom(inputs={"x": torch.ones(2, 3, 4, requires_grad=True)})
    assert workload.inputs["x"].numpy().shape == (2, 3, 4)


@pytest.mark.parametrize(
    "changes",
    [{"module": torch.nn.Linear(4, 4, device="meta")}, {"inputs": {"x": torch.ones(2, 4, device="meta")}}],
)
def test_what_has_no_values_is_refused(custom, changes):
    with pytest.raises(ConfigError, match="expected a module and inputs that can be copied to the CPU"):
        custom(**changes)
