"""Arithmetic and least bytes of one forward of a step, operator by operator, as the engine executes it.

    kind        flops                                   bytes, each once
    linear      2 rows in out                           input, weight with scales and bias as stored, output
    attention   2 b h (q k) (e + e_v)                   Q, K, V, mask, output; scores stay on the chip
    matmul      2 elements of the output x inner size   both operands, output
    embedding   0                                       different rows looked up, output
    reads       0                                       recorded reads
    others      what a module says (`icd.contracts.OwnWork`): Mamba's conv and scan

Element-wise operations and norms ride along with their neighbours and are not counted. These are compulsory
bytes of a cold cache: what stays in cache from one operator, or one forward, to the next is moved less often.
A module that is called twice moves its weights once.

Counted by one forward outside all timing, uncompiled, with hooks on layers and a view on torch's operators
for what is no layer. Widths, element sizes and padding are those that the engine runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from icd.calls import input_of
from icd.contracts import AccessTrace, Inputs, LinearLike, OwnWork, Step, Work

RATES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float8_e4m3fn: "fp8",
    torch.int8: "int8",
}
STORED = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear")
SCORES = "scaled_dot_product"


def count(step: Step, inputs: Inputs) -> list[dict[str, Any]]:
    """The operators of one forward on ``inputs``, summed by kind and rate: `Work` as dicts with ``calls``."""
    counter = _Counter(str(step.executed["format"]))
    handles = [h for module in step.module.modules() for h in counter.watch(module, inputs)]
    try:
        with counter:
            step.on(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return counter.parts()


class _Counter(TorchDispatchMode):
    """Sums up what hooks and operators report; operators inside a counted module are part of it."""

    def __init__(self, format: str) -> None:
        super().__init__()
        self.format = format
        self.inside = 0
        self.seen: set[int] = set()
        self.found: list[Work] = []

    def parts(self) -> list[dict[str, Any]]:
        """The sums, in the order in which the kinds came first."""
        sums: dict[tuple[str, str], dict[str, Any]] = {}
        for work in self.found:
            start = {"kind": work.kind, "rate": work.rate, "calls": 0}
            row = sums.setdefault((work.kind, work.rate), start)
            row["calls"] += 1
            for key in ("flops", "bytes", "weight_bytes"):
                row[key] = row.get(key, 0.0) + float(getattr(work, key))
        return list(sums.values())

    def watch(self, module: nn.Module, inputs: Inputs) -> list[Any]:
        """Hooks on a module that is counted as a whole; none on others."""
        say = self._teller(module, inputs)
        if say is None:
            return []

        def enter(*_: Any) -> None:
            self.inside += 1

        def leave(called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            self.inside -= 1
            works = list(say(input_of(called, args, kwargs), out))
            if id(module) in self.seen:
                works = [w._replace(bytes=w.bytes - w.weight_bytes, weight_bytes=0.0) for w in works]
            self.seen.add(id(module))
            self.found += works

        return [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, with_kwargs=True),
        ]

    def _teller(self, module: nn.Module, inputs: Inputs) -> Callable[[Any, Any], Iterable[Work]] | None:
        if isinstance(module, OwnWork):
            own = module
            return lambda x, out: own.own_work(x)
        if isinstance(module, AccessTrace):
            trace = module
            return lambda x, out: [recorded(trace, inputs, out)]
        if isinstance(module, LinearLike):
            layer: Any = module
            return lambda x, out: [linear(layer, x, out, self.format)]
        if isinstance(module, nn.Embedding):
            table = module
            return lambda x, out: [embedding(table, x, out)]
        return None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if self.inside or not (name in PRODUCTS or SCORES in name):
            if not self.inside:
                with self:  # an operator that is made of others, seen as a whole in inference mode
                    parts = func.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            return func(*args, **kwargs)
        out = func(*args, **kwargs)
        self.found.append(attention(args, kwargs, out) if SCORES in name else product(name, args, out))
        return out


def linear(layer: Any, x: torch.Tensor, out: torch.Tensor, format: str) -> Work:
    """A linear layer; one whose weight is packed out of sight stores one element of ``format`` a weight."""
    rows = x.numel() // layer.in_features
    stored = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    if stored:
        own, rate = sum(map(_bytes, stored)), RATES[max(stored, key=torch.numel).dtype]
    else:
        own, rate = layer.in_features * layer.out_features * STORED[format], format
    return Work(
        "linear",
        rate,
        2.0 * rows * layer.in_features * layer.out_features,
        float(_bytes(x) + own + _bytes(out)),
        own,
    )


def embedding(table: nn.Embedding, ids: torch.Tensor, out: torch.Tensor) -> Work:
    """A look-up: the different rows that ``ids`` name, and the result."""
    row = table.weight.shape[1] * table.weight.element_size()
    read = float(ids.unique().numel() * row)
    return Work("embedding", RATES[out.dtype], 0.0, read + _bytes(out), read)


def recorded(trace: AccessTrace, inputs: Inputs, out: torch.Tensor) -> Work:
    """The recorded reads of a module, one by one, and its result."""
    reads = trace.recorded_reads(inputs)
    own = float(len(reads.first) * reads.length * out.element_size())
    return Work("reads", RATES[out.dtype], 0.0, own + _bytes(out), own)


def attention(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Work:
    """``softmax(Q K') V`` of (..., q, e), (..., k, e) and (..., k, e_v)."""
    q, k, v = (args[i] if i < len(args) else kwargs[n] for i, n in enumerate(("query", "key", "value")))
    mask = kwargs.get("attn_mask", args[3] if len(args) > 3 else None)
    causal = kwargs.get("is_causal", args[5] if len(args) > 5 else False)
    rows, columns = q.shape[-2], k.shape[-2]
    pairs = sum(min(i + 1, columns) for i in range(rows)) if causal is True else rows * columns
    heads = q.numel() // (rows * q.shape[-1])
    result = out[0] if isinstance(out, tuple | list) else out
    moved = [t for t in (q, k, v, mask, result) if isinstance(t, torch.Tensor)]
    flops = 2.0 * heads * pairs * (q.shape[-1] + v.shape[-1])
    return Work("attention", RATES[q.dtype], flops, float(sum(map(_bytes, moved))), 0.0)


def product(name: str, args: tuple[Any, ...], out: torch.Tensor) -> Work:
    """A matrix product that no layer owns."""
    a, b = args[1:3] if name in ("addmm", "baddbmm") else args[:2]
    moved = float(_bytes(a) + _bytes(b) + _bytes(out))
    return Work("matmul", RATES[out.dtype], 2.0 * out.numel() * a.shape[-1], moved, 0.0)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
