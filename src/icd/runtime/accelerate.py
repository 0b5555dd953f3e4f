"""What every arm's step gets alike: compiled repeated layers and one CUDA graph for the forward.

Nothing falls back silently: a layer that cannot be compiled as one graph and a forward that cannot be
captured end the run with the cause.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from icd.errors import MeasurementError, first_line

if TYPE_CHECKING:
    import torch

Switch = bool | Literal["auto"]
T = TypeVar("T")
SHAPES = 256  # distinct layer shapes that may be compiled; beyond the framework's own 8, never eager
WARM_UP = 3  # forwards before a capture, as CUDA graphs need


def switched_on(switch: Switch, device: str) -> bool:
    """``auto`` means on CUDA, where launches and unfused kernels would dominate."""
    return device.startswith("cuda") if switch == "auto" else switch


def compiled_units(module: torch.nn.Module) -> list[torch.nn.Module]:
    """What is compiled: the members of the longest list of modules (a transformer's layers), and beside
    them every submodule with parameters that does not contain the list, except torch's own (an embedding
    alone). The module itself where there is no list whose members can be called.
    """
    import torch

    lists = [
        found
        for found in module.modules()
        if isinstance(found, torch.nn.ModuleList) and len(list(found)) and all(map(callable_itself, found))
    ]
    longest = max(lists, key=lambda found: len(list(found)), default=None)
    if longest is None:
        return [module]
    units: list[torch.nn.Module] = []

    def descend(parent: torch.nn.Module) -> None:
        for child in parent.children():
            if child is longest:
                units.extend(child)
            elif any(inner is longest for inner in child.modules()) or not callable_itself(child):
                descend(child)
            elif any(True for _ in child.parameters()) and not type(child).__module__.startswith("torch.nn"):
                units.append(child)

    descend(module)
    return units


def callable_itself(module: torch.nn.Module) -> bool:
    """Whether it has a forward; a list or a dictionary of modules has none, and none is ever called."""
    import torch

    return type(module).forward is not torch.nn.Module.forward


def compile_unit(unit: torch.nn.Module) -> None:
    """Compile ``unit``, in place. torch compiles no frame of its own code, so that a layer of torch's (a
    linear one, a sequence, an encoder layer) is called from one of ours.
    """
    import torch

    if not type(unit).forward.__module__.startswith("torch.nn"):
        unit.compile(fullgraph=True, dynamic=False)
        return
    forward = unit.forward

    def call(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    unit.forward = torch.compile(call, fullgraph=True, dynamic=False)


def compile_layers(module: torch.nn.Module) -> dict[str, Any]:
    """Compile the units of ``module``, in place; for the record.

    Units of one shape share one compilation. Compilation happens at the first call.
    """
    import torch

    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, SHAPES)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 16 * SHAPES)
    config.fail_on_recompile_limit_hit = True
    units = compiled_units(module)
    for unit in units:
        compile_unit(unit)
    return {"compile": "torch.compile, inductor", "compiled_modules": len(units)}


def compile_now(forward: Callable[[], torch.Tensor]) -> None:
    """The first call, in which compilation happens; MeasurementError with the cause when it fails, and where
    nothing was compiled: some versions of torch then run what is written without a word.
    """
    import torch

    try:
        forward()
    except torch._dynamo.exc.TorchDynamoException as error:
        line = first_line(error)
        raise MeasurementError(
            f"torch.compile failed ({type(error).__name__}: {line}); runtime.compile=false runs without it"
        ) from error
    except RuntimeError as error:
        if "found no compiled frames" not in first_line(error):
            raise
        refuse_uncompiled(error)
    if not torch._dynamo.utils.counters["stats"]["unique_graphs"]:
        refuse_uncompiled(None)


def refuse_uncompiled(error: RuntimeError | None) -> NoReturn:
    """MeasurementError that says why nothing was compiled."""
    switches = ("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE")
    found = [f"{name}=1 is set" for name in switches if os.environ.get(name) == "1"]
    why = " and ".join(found) or "the forward calls none of the modules that repeat"
    raise MeasurementError(
        f"torch.compile compiled nothing ({why}); runtime.compile=false runs without it"
    ) from error


def first_cause(error: BaseException) -> str:
    """The first line of the exception that came first: leaving a failed capture raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    return first_line(error)


def capture(
    forward: Callable[[], T],
    *,
    pool: Any = None,
    remedy: str = "; runtime.cuda_graph=false runs without it",
) -> tuple[Callable[[], None], T]:
    """A CUDA graph of ``forward`` as ``(replay, static output)``.

    ``pool``: of memory, shared with graphs whose results are no longer read (`torch.cuda.graph_pool_handle`).
    Raises MeasurementError when capture fails, with the ``remedy``.
    """
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            forward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, pool=pool):
            output = forward()
    except RuntimeError as error:
        line = first_cause(error)
        raise MeasurementError(f"CUDA graph capture failed ({line}){remedy}") from error
    return graph.replay, output
