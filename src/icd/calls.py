"""What a module was called on: its input may come by position or under the name that its forward gives it.

Hooks registered with ``with_kwargs=True`` see both; everything that reads an input goes through here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import torch

Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


def input_of(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The input of a call of ``module``: its forward's first parameter, however it was passed.

    Raises TypeError for a call without any argument.
    """
    return args[0] if args else kwargs[_keyword(module, kwargs)]


def with_input(module: torch.nn.Module, call: Call, value: Any) -> Call:
    """``call`` of ``module`` with another input, passed as it was."""
    args, kwargs = call
    if args:
        return (value, *args[1:]), kwargs
    return args, {**kwargs, _keyword(module, kwargs): value}


def beside_input(module: torch.nn.Module, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of ``call`` other than its input."""
    args, kwargs = call
    if args:
        return args[1:], kwargs
    name = _keyword(module, kwargs)
    return (), {key: value for key, value in kwargs.items() if key != name}


def _keyword(module: torch.nn.Module, kwargs: Mapping[str, Any]) -> str:
    """The keyword of the input: the forward's first parameter, else (a forward of ``**kwargs``) the first
    tensor.
    """
    import torch

    first = next(iter(inspect.signature(module.forward).parameters), "")
    if first in kwargs:
        return first
    tensors = [name for name, value in kwargs.items() if isinstance(value, torch.Tensor)]
    if not tensors:
        raise TypeError(f"{type(module).__name__} was called without an input")
    return tensors[0]
