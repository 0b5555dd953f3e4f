"""How many tokens a forward takes, and which dimension of its inputs is the batch: from their shapes.

A token is a position of the input. With n rows in a batch (the length of the output's first dimension):

    whole numbers (n, l), (n, k, l)   token ids: each is a token
    floats (n, l, f)                  n l, for the last dimension holds features; of (n, c, l), as a
                                      one-dimensional convolution takes it, n l as well, and l of (c, l)
    any other input (n, ...)          n: a row of features or an image is one token
    bool, and what has no dimension   none: masks and flags

The input with the most decides. One that does not begin with n (a mask over l x l, a table) counts only where
none does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs

FEW = 2  # rows of a check that need not see all of them
SAME = 1e-4  # of the largest output: what another batch size may change in float32


def rows_of(inputs: Inputs, out: torch.Tensor) -> int:
    """Rows of the batch, n: of the output where an input has as many, else of the first input, else 1."""
    lengths = [len(x) for x in inputs.values() if x.dim()]
    if out.dim() and len(out) in lengths:
        return len(out)
    return lengths[0] if lengths else 1


def tokens_of(inputs: Inputs, rows: int, convolved: set[tuple[int, ...]]) -> int:
    """Tokens of a forward over ``inputs`` with ``rows`` in a batch; ``convolved``: see `convolved_shapes`."""
    found = [(len(x), _positions(x, convolved)) for x in inputs.values() if x.dim() and _counts(x)]
    own = [count for length, count in found if length == rows]
    return max(own or [count for _, count in found], default=rows)


def _counts(x: torch.Tensor) -> bool:
    import torch

    return x.dtype != torch.bool


def _positions(x: torch.Tensor, convolved: set[tuple[int, ...]]) -> int:
    import torch

    if x.dtype in (torch.int32, torch.int64) and x.dim() <= 3:
        return x.numel()
    if x.dim() == 2 and tuple(x.shape) in convolved:  # (c, l) without a batch
        return x.shape[1]
    if x.dim() == 3:
        return len(x) * x.shape[2 if tuple(x.shape) in convolved else 1]
    return len(x)


def convolved_shapes(module: torch.nn.Module, forward: Callable[[], Any]) -> tuple[Any, set[tuple[int, ...]]]:
    """What ``forward`` returns, and the shapes (n, c, l) that entered one-dimensional convolutions."""
    import torch

    seen: set[tuple[int, ...]] = set()

    def note(_: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        seen.update(tuple(x.shape) for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor))

    hooks = [
        child.register_forward_pre_hook(note, with_kwargs=True)
        for child in module.modules()
        if isinstance(child, torch.nn.Conv1d)
    ]
    try:
        return forward(), seen
    finally:
        for hook in hooks:
            hook.remove()


def batch_dims_of(
    inputs: Inputs, out: torch.Tensor, forward: Callable[[Inputs], torch.Tensor]
) -> dict[str, int]:
    """The batch dimension of every input that has one, by name; empty where that cannot be shown.

    Inputs that begin with as many entries as the output are cut to `FEW`, and the answer must be the first
    rows of ``out``: then they are rows of a batch, and rows do not depend on one another.
    """
    import torch

    if not out.dim() or len(out) <= FEW:
        return {}  # nothing to cut
    dims = {name: 0 for name, x in inputs.items() if x.dim() and len(x) == len(out)}
    try:
        with torch.no_grad():
            few = forward(few_rows(inputs, dims))
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError):
        return {}
    if few.shape != (FEW, *out.shape[1:]):
        return {}
    limit = SAME * float(out.abs().max())
    return dims if float((few - out[:FEW]).abs().max()) <= limit else {}


def few_rows(inputs: Inputs, dims: Mapping[str, int], rows: int = FEW) -> Inputs:
    """``inputs`` with the first ``rows`` of the batch; those without a batch dimension in ``dims`` whole."""
    return {
        name: x.narrow(dims[name], 0, min(rows, x.shape[dims[name]])) if name in dims else x
        for name, x in inputs.items()
    }
