"""Parameters and buffers of a module under any of their names.

A tensor may have several names: tied weights (``head.weight`` is ``emb.weight``), or a block that a model
calls several times. Its first name, in the order of the modules, stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def tensor(module: torch.nn.Module, name: str) -> torch.Tensor:
    """The parameter or buffer called ``name``; AttributeError where there is none."""
    owner_name, _, last = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    found = owner._parameters.get(last)
    found = owner._buffers.get(last) if found is None else found
    if found is None:
        raise AttributeError(f"{type(module).__name__} has no parameter or buffer {name!r}")
    return found


def every_name(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer under every name that it has, in the order of the modules."""
    for prefix, owner in module.named_modules(remove_duplicate=False):
        for last, value in (*owner._parameters.items(), *owner._buffers.items()):
            if value is not None:
                yield (f"{prefix}.{last}" if prefix else last), value


def first_names(module: torch.nn.Module) -> dict[int, str]:
    """The first name of every parameter and buffer, by ``id``."""
    out: dict[int, str] = {}
    for name, value in every_name(module):
        out.setdefault(id(value), name)
    return out


def stored(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer once, under its first name; buffers outside the state dict among them."""
    first = first_names(module)
    return {name: value for name, value in every_name(module) if first[id(value)] == name}


def exchange(module: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    """Put ``value`` in the place of the tensor called ``name``, wherever the module holds it.

    A parameter stays one, without gradients; a buffer stays a buffer. What is tied stays tied.
    """
    import torch

    old = tensor(module, name)
    new = torch.nn.Parameter(value, requires_grad=False) if isinstance(old, torch.nn.Parameter) else value
    for owner in module.modules():
        for last, held in (*owner._parameters.items(), *owner._buffers.items()):
            if held is old:
                setattr(owner, last, new)


@contextmanager
def holding(module: torch.nn.Module, others: Mapping[int, torch.Tensor]) -> Iterator[None]:
    """While it lasts, ``module`` holds ``others[id(x)]`` wherever it holds a parameter or buffer ``x``."""
    slots = [
        (group, last, value)
        for owner in module.modules()
        for group in (owner._parameters, owner._buffers)
        for last, value in group.items()
        if value is not None
    ]
    try:
        for group, last, value in slots:
            group[last] = others[id(value)]  # type: ignore[assignment]
        yield
    finally:
        for group, last, value in slots:
            group[last] = value  # type: ignore[assignment]
