"""Copies of modules whose tensors are made once, where and as they are to be.

``copy.deepcopy(module).to(device, dtype)`` makes every tensor twice, and widens it before it travels. With
billions of parameters that is most of the time that an arm takes to be prepared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")


def copied(module: torch.nn.Module, make: Callable[[Tensor], Tensor]) -> torch.nn.Module:
    """A copy of ``module`` with ``make(tensor)`` for every parameter and buffer; what is tied stays tied."""
    import torch

    with torch.no_grad():
        made: dict[int, Tensor] = {
            id(x): torch.nn.Parameter(make(x).detach(), x.requires_grad) for x in module.parameters()
        }
        made |= {id(x): make(x) for x in module.buffers()}
    return copy.deepcopy(module, made)


def sharing(module: torch.nn.Module) -> torch.nn.Module:
    """A copy that holds the same memory: for one that exchanges its parameters and writes into none."""
    return copied(module, lambda x: x)


@contextmanager
def for_one_call(module: torch.nn.Module, rest: T, shared: Iterable[Tensor]) -> Iterator[T]:
    """A copy of ``rest``, what ``module`` is called with; afterwards ``module`` is as it was.

    Inside, all that a forward may write is a copy: the module's buffers and attributes, and tensors and
    caches handed over. Parameters, the module's own and the tensors ``shared``, are the same memory.
    """
    import torch

    plain = vars(torch.nn.Module())  # parameters, modules and hooks, whose own containers a forward leaves
    modules = list(module.modules())
    memo: dict[int, Any] = {id(x): x for x in (*modules, *module.parameters(), *shared)}
    kept = [(m, dict(vars(m)), dict(m._buffers)) for m in modules]
    try:
        for m, attributes, buffers in kept:
            m._buffers.update(copy.deepcopy(buffers, memo))
            own = {name: value for name, value in attributes.items() if name not in plain}
            vars(m).update(copy.deepcopy(own, memo))
        yield copy.deepcopy(rest, memo)
    finally:
        for m, attributes, buffers in kept:
            vars(m).clear()
            vars(m).update(attributes)
            m._buffers.clear()
            m._buffers.update(buffers)


def converted(module: torch.nn.Module, device: str, dtype: torch.dtype) -> torch.nn.Module:
    """A copy on ``device``, floating tensors in ``dtype``; it shares no memory with ``module``."""
    return copied(module, lambda x: convert(x, device, dtype))


def convert(x: Tensor, device: str, dtype: torch.dtype) -> Tensor:
    """A copy of ``x`` on ``device``, in ``dtype`` if it is floating; it travels in the narrower one."""
    import torch

    dtype = dtype if x.is_floating_point() else x.dtype
    if dtype.itemsize > x.dtype.itemsize:
        return x.to(device).to(dtype)
    there = x.to(device=device, dtype=dtype)
    same = there.device == x.device and there.dtype == x.dtype
    return there.clone(memory_format=torch.preserve_format) if same else there
