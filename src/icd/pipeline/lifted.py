"""Casts to narrower floating types, lifted while a model is looked at in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

NARROW = (torch.float32, torch.bfloat16, torch.float16)
METHODS = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)
BITS = (torch.Tensor.view,)  # reads the same bits as another type


class Lifted(TorchFunctionMode):
    """While it lasts every operation that names a narrower floating type computes in float64.

    ``met``: whether one did. New tensors of no stated type are float64 as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = False

    def __enter__(self) -> Lifted:
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        torch.set_default_dtype(self.before)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """``func`` with float64 for every narrower type among its arguments."""
        kwargs = kwargs or {}
        if func in METHODS:
            self.met = True
            return args[0].double()
        if func in BITS:
            return func(*args, **kwargs)
        return func(*map(self.wide, args), **{name: self.wide(value) for name, value in kwargs.items()})

    def wide(self, value: Any) -> Any:
        """float64 for a narrower type, ``value`` for all else."""
        if not isinstance(value, torch.dtype) or value not in NARROW:
            return value
        self.met = True
        return torch.float64
