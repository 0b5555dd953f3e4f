"""The operator graph of a workload's forward, traced by torch.fx without computing anything.

One forward on the timed inputs is traced with fake tensors (``make_fx``), which follows Python control
flow that symbolic tracing cannot. Operators that only look at a tensor in another way (views, transposes,
slices) are no operators here: what they look at is passed on to whoever reads it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icd.errors import ConfigError, first_line
from icd.tensors import holding, stored

if TYPE_CHECKING:
    import torch

    from icd.contracts import Workload

# look alike, though their schema does not say so
LOOKS = {"_unsafe_view", "_reshape_alias", "lift_fresh_copy"}
# read the rows that they are asked for, no more than they hand on
LOOKUPS = {"embedding", "index", "index_select", "gather"}


@dataclass(frozen=True)
class OperatorGraph:
    """Operators numbered in the order in which they run.

    ``reads[operator][parameter]``: bytes of the parameter that the operator reads; ``neighbours[operator]``:
    operators that it hands a tensor to or gets one from.
    """

    names: list[str] = field(default_factory=list)
    reads: list[dict[str, int]] = field(default_factory=list)
    neighbours: list[set[int]] = field(default_factory=list)

    def readers(self, parameter: str) -> list[tuple[int, int]]:
        """``(operator, bytes)`` of every operator that reads ``parameter``, in order."""
        return [(k, read[parameter]) for k, read in enumerate(self.reads) if parameter in read]

    def within(self, start: int, hops: int) -> dict[int, int]:
        """Operators at most ``hops`` edges from ``start``, whatever their direction, with the distance."""
        found, queue = {start: 0}, deque([start])
        while queue:
            here = queue.popleft()
            if found[here] == hops:
                continue
            for there in sorted(self.neighbours[here]):
                if there not in found:
                    found[there] = found[here] + 1
                    queue.append(there)
        return found


def trace(workload: Workload) -> OperatorGraph:
    """The operators of one forward; ConfigError with torch's reason where it cannot be traced."""
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    state, keys = stored(workload.module), list(workload.inputs)

    def forward(tensors: list[torch.Tensor], inputs: list[torch.Tensor]) -> torch.Tensor:
        with holding(workload.module, dict(zip(map(id, state.values()), tensors, strict=True))):
            return workload.forward(workload.module, dict(zip(keys, inputs, strict=True)))

    try:
        with torch.no_grad():
            traced = make_fx(forward, tracing_mode="fake", _allow_non_fake_inputs=True)(
                list(state.values()), [workload.inputs[key] for key in keys]
            )
    except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError) as error:
        reason = first_line(error)
        raise ConfigError(
            f"graph=pytorch: torch.fx cannot trace model={workload.card.name} ({reason}); "
            "use graph=activation or graph=weights"
        ) from error
    return read_graph(traced.graph, list(state))


def read_graph(graph: torch.fx.Graph, tensors: list[str]) -> OperatorGraph:
    """Operators of ``graph``, whose first inputs are ``tensors`` (parameters and buffers) in this order."""
    out = OperatorGraph()
    origin: dict[Any, str | int | None] = {}  # node -> parameter or operator whose tensor it shows
    placeholders = iter(tensors)
    for node in graph.nodes:
        if node.op != "call_function":
            origin[node] = next(placeholders, None) if node.op == "placeholder" else None
        elif looks(node.target):
            origin[node] = origin[node.all_input_nodes[0]] if node.all_input_nodes else None
        else:
            origin[node] = _add(out, node, origin)
    return out


def _add(out: OperatorGraph, node: Any, origin: Mapping[Any, str | int | None]) -> int:
    number = len(out.names)
    out.names.append(str(node.target))
    out.reads.append({})
    out.neighbours.append(set())
    for given in node.all_input_nodes:
        source = origin[given]
        if isinstance(source, int):
            out.neighbours[number].add(source)
            out.neighbours[source].add(number)
        elif source is not None:
            size = min(_bytes(given), _bytes(node)) if _name(node.target) in LOOKUPS else _bytes(given)
            out.reads[number][source] = out.reads[number].get(source, 0) + size
    return number


def _bytes(node: Any) -> int:
    """Bytes of the tensors that a node shows, an expanded dimension counted once."""
    total = 0
    for value in _tensors(node.meta.get("val")):
        count = 1
        for size, stride in zip(value.shape, value.stride(), strict=True):
            count *= int(size) if stride else 1
        total += count * value.element_size()
    return total


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def looks(target: Any) -> bool:
    """Whether an operator only shows its first argument in another way, by its schema's alias annotations."""
    import operator

    schema = getattr(target, "_schema", None)
    if schema is None:
        return target is operator.getitem
    if _name(target) in LOOKS:
        return True
    returns = schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def _name(target: Any) -> str:
    """``embedding`` of ``aten::embedding``; empty for what is no operator of torch's."""
    schema = getattr(target, "_schema", None)
    return "" if schema is None else str(schema.name).partition("::")[2]
