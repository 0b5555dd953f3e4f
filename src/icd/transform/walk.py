"""Calibration batches on their way through a model, one repeated layer after another.

Layer-wise fitting needs what a layer gets from a model whose earlier layers are already fitted. Where a
model is a chain of layers, each batch's hidden state is kept between layers, so that a fit costs a few
forwards in all; any other model is walked as one stage, from its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import nn

from icd.contracts import Inputs, Workload

Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
Run: TypeAlias = Callable[[nn.Module, int], Any]


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
        yield "", lambda module, k: workload.forward(module, workload.calibration[k])
        return
    calls = [first_call(workload, names[0], batch) for batch in workload.calibration]
    for name in names:

        def run(module: nn.Module, k: int, name: str = name) -> Any:
            args, kwargs = calls[k]
            return module.get_submodule(name)(*args, **kwargs)

        yield f"{name}.", run
        for k, (args, kwargs) in enumerate(calls):
            calls[k] = ((hidden_of(run(workload.module, k)), *args[1:]), kwargs)


def chain(workload: Workload) -> list[str]:
    """Names of the repeated layers, if all that passes from one to the next is a hidden state.

    Empty unless one forward calls each once, in order, the first argument being what the layer before
    returned and the others the same for all, and every site's consumer lies inside one of them.
    """
    lists = {name: m for name, m in workload.module.named_modules() if isinstance(m, nn.ModuleList)}
    if not lists:
        return []
    longest = max(lists, key=lambda name: len(lists[name]))
    names = [f"{longest}.{i}" for i in range(len(lists[longest]))]
    inside = all(any(s.activation.startswith(f"{n}.") for n in names) for s in workload.sites)
    calls: list[tuple[str, Call, Any]] = []

    def keep(name: str) -> Callable[..., None]:
        return lambda _, args, kwargs, out: calls.append((name, (args, kwargs), out))

    hooks = [workload.module.get_submodule(n).register_forward_hook(keep(n), with_kwargs=True) for n in names]
    try:
        workload.forward(workload.module, workload.calibration[0])
    finally:
        for hook in hooks:
            hook.remove()
    if not inside or [name for name, _, _ in calls] != names or not all(call[0] for _, call, _ in calls):
        return []
    rest = [(*call[0][1:], *call[1].values()) for _, call, _ in calls]
    linked = all(
        now[1][0][0] is hidden_of(before[2]) and now[1][1].keys() == before[1][1].keys()
        for before, now in pairwise(calls)
    )
    return names if linked and all(same(rest[0], other) for other in rest) else []


def same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Whether two calls got the same further arguments: tensors by identity, others by value."""
    return len(a) == len(b) and all(
        x is y or (not isinstance(x, torch.Tensor) and type(x) is type(y) and x == y)
        for x, y in zip(a, b, strict=True)
    )


def hidden_of(out: Any) -> Any:
    """The hidden state that a layer returns, alone or first of a tuple."""
    return out[0] if isinstance(out, tuple) else out


def first_call(workload: Workload, name: str, batch: Inputs) -> Call:
    """Arguments with which a forward on ``batch`` calls the submodule ``name``."""
    return stop_at(
        workload.module.get_submodule(name), lambda: workload.forward(workload.module, batch), "call"
    )


def stop_at(module: nn.Module, forward: Callable[[], Any], what: str) -> Any:
    """Run ``forward`` up to ``module``: its ``call`` (args, kwargs) or its ``output``."""
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
