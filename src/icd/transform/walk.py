"""Calibration batches on their way through a model, one repeated layer after another.

Layer-wise fitting needs what a layer gets from a model whose earlier layers are already fitted. Where a
model is a chain of layers, each batch's hidden state is kept between layers, so that a fit costs a few
forwards in all; any other model is walked as one stage, from its inputs.

A stage is run many times on the same batch. Every run gets copies of all that a forward may write: its
arguments (a cache of keys and values), buffers and attributes. So no run sees what an earlier one left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import nn

from icd.calls import Call, beside_input, input_of, with_input
from icd.contracts import Inputs, Workload
from icd.copies import for_one_call

Run: TypeAlias = Callable[[nn.Module, int], Any]
PROOF = 1e-5  # of a layer's largest output, that a replayed layer may differ by


class Reached(Exception):
    """A forward got as far as it was needed."""


def walk(workload: Workload) -> Iterator[tuple[str, Run]]:
    """Stages in order, each as ``(prefix, run)``: submodules below ``prefix`` run in this stage.

    ``run(module, k)`` runs the stage of ``module``, which is built like the workload's, on calibration
    batch ``k``, with the inputs that the stage has in the workload's module. The caller may change that
    module's stage in place before it asks for the next one.
    """
    names = chain(workload)
    if not names:
        yield "", lambda module, k: forward(workload, module, workload.calibration[k])
        return
    calls = [first_call(workload, names[0], batch) for batch in workload.calibration]
    for name in names:

        def run(module: nn.Module, k: int, name: str = name) -> Any:
            return replay(workload, module.get_submodule(name), calls[k])

        yield f"{name}.", run
        layer = workload.module.get_submodule(name)
        for k, call in enumerate(calls):
            calls[k] = with_input(layer, call, hidden_of(run(workload.module, k)))


def forward(workload: Workload, module: nn.Module, batch: Inputs) -> Any:
    """What ``module``, built like the workload's, answers to ``batch``; both stay as they are."""
    with for_one_call(module, dict(batch), workload.module.parameters()) as inputs:
        return workload.forward(module, inputs)


def replay(workload: Workload, layer: nn.Module, call: Call) -> Any:
    """What ``layer`` returns for ``call``, which was seen in the workload's module; both stay as they are."""
    with for_one_call(layer, call, workload.module.parameters()) as (args, kwargs):
        return layer(*args, **kwargs)


def chain(workload: Workload) -> list[str]:
    """Names of the repeated layers, if all that passes from one to the next is a hidden state.

    Empty unless one forward calls each once, in order, the input being what the layer before returned and
    the other arguments the same for all, every site's consumer lies inside one of them, and the layers,
    replayed one after another, return what they did in the forward.
    """
    lists = {name: m for name, m in workload.module.named_modules() if isinstance(m, nn.ModuleList)}
    if not lists:
        return []
    longest = max(lists, key=lambda name: len(lists[name]))
    names = [f"{longest}.{i}" for i in range(len(lists[longest]))]
    if not all(any(s.activation.startswith(f"{n}.") for n in names) for s in workload.sites):
        return []
    seen, outputs = layer_calls(workload, names)
    if [name for name, _, _ in seen] != names:
        return []
    if not all(any(isinstance(x, torch.Tensor) for x in (*a, *kw.values())) for _, (a, kw), _ in seen):
        return []
    layers = [workload.module.get_submodule(name) for name in names]
    rest = [beside_input(layer, call) for layer, (_, call, _) in zip(layers, seen, strict=True)]
    linked = all(
        input_of(layer, *call) is before
        for layer, ((_, _, before), (_, call, _)) in zip(layers[1:], pairwise(seen), strict=True)
    )
    if not linked or not all(same(rest[0], other) for other in rest):
        return []
    return names if replayed(workload, names, outputs) else []


def layer_calls(workload: Workload, names: list[str]) -> tuple[list[tuple[str, Call, Any]], list[Any]]:
    """Every call of the submodules ``names`` in a forward on the first batch with the hidden state that it
    returned; and copies of those, which no later layer writes into.
    """
    found: list[tuple[str, Call, Any]] = []
    values: list[Any] = []

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            hidden = hidden_of(out)
            found.append((name, (args, kwargs), hidden))
            values.append(hidden.clone() if isinstance(hidden, torch.Tensor) else hidden)

        return hook

    hooks = [workload.module.get_submodule(n).register_forward_hook(keep(n), with_kwargs=True) for n in names]
    try:
        forward(workload, workload.module, workload.calibration[0])
    finally:
        for hook in hooks:
            hook.remove()
    return found, values


def replayed(workload: Workload, names: list[str], outputs: list[Any]) -> bool:
    """Whether layers called one by one on the first batch give the ``outputs`` of a whole forward.

    They do not where a layer reads what only a forward as a whole leaves: how much the layer before it put
    into a cache, a counter, a random draw.
    """
    call = first_call(workload, names[0], workload.calibration[0])
    for name, wanted in zip(names, outputs, strict=True):
        layer = workload.module.get_submodule(name)
        out = hidden_of(replay(workload, layer, call))
        if not isinstance(out, torch.Tensor) or out.shape != wanted.shape:
            return False
        if not (out - wanted).abs().max() <= PROOF * wanted.abs().max():
            return False
        call = with_input(layer, call, out)
    return True


def same(a: Any, b: Any) -> bool:
    """Whether two calls got the same further arguments: plain values by value, all others by identity."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return isinstance(a, (bool, int, float, str)) and a == b


def hidden_of(out: Any) -> Any:
    """The hidden state that a layer returns, alone or first of a tuple."""
    return out[0] if isinstance(out, tuple) else out


def first_call(workload: Workload, name: str, batch: Inputs) -> Call:
    """Arguments with which a forward on ``batch`` calls the submodule ``name``."""
    return stop_at(
        workload.module.get_submodule(name), lambda: forward(workload, workload.module, batch), "call"
    )


def stop_at(module: nn.Module, forward: Callable[[], Any], what: str) -> Any:
    """Run ``forward`` up to ``module``, or a copy of it: its ``call`` (args, kwargs) or its ``output``."""
    found: list[Any] = []

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        found.append((args, dict(kwargs)))
        raise Reached

    def after(_: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        found.append(out)
        raise Reached

    if what == "call":
        hook = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        hook = module.register_forward_hook(after)
    try:
        forward()
    except Reached:
        return found[0]
    finally:
        hook.remove()
    raise ValueError(f"the forward never calls {type(module).__name__}")
