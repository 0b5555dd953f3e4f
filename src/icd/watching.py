"""Hooks that hand on what enters a layer, called as a module or, in torch's attention, by its owner."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from icd.calls import input_of

if TYPE_CHECKING:
    import torch


def watch_consumer(module: torch.nn.Module, name: str, see: Callable[[torch.Tensor], None]) -> list[Any]:
    """Hooks that call ``see`` with what enters the submodule ``name`` in every call.

    The output projection of `torch.nn.MultiheadAttention` is never called: its owner multiplies with the
    weight. What would enter it is what the owner gives with an identity in its place.
    """
    from torch import nn

    owner_name, _, last = name.rpartition(".")
    owner, consumer = module.get_submodule(owner_name), module.get_submodule(name)
    if not (isinstance(owner, nn.MultiheadAttention) and last == "out_proj"):
        return [
            consumer.register_forward_pre_hook(
                lambda layer, args, kwargs: see(input_of(layer, args, kwargs)), with_kwargs=True
            )
        ]

    def before_projection(_: Any, args: Any, kwargs: Any, out: Any) -> None:
        see(unprojected(owner).forward(*args, **kwargs)[0])

    return [owner.register_forward_hook(before_projection, with_kwargs=True)]


def unprojected(attention: torch.nn.MultiheadAttention) -> Any:
    """``attention``, over the same memory, with an identity in the place of its output projection."""
    import torch

    twin = copy.copy(attention)
    width = attention.out_proj.weight.shape[1]
    like = {"device": attention.out_proj.weight.device, "dtype": attention.out_proj.weight.dtype}
    identity = torch.nn.Linear(width, width, **like)
    identity.weight.data, identity.bias.data = torch.eye(width, **like), torch.zeros(width, **like)
    twin._modules = {**attention._modules, "out_proj": identity.requires_grad_(False)}
    return twin
