"""The user's loader: found, called, and what it returns tried once; a sentence for whatever does not fit."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from icd.errors import ConfigError, first_line

if TYPE_CHECKING:
    from icd.contracts import Inputs

T = TypeVar("T")
WEIGHTS = ("pretrained", "random", "unknown")  # the last where nobody says
WRAP = "; what else the module takes belongs in a wrapper around it"

# what code that does not fit raises; a disk or a network that fails (OSError) is no matter of configuration
UNFIT = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def load(loader: str, **given: int | None) -> Mapping[str, Any]:
    """What ``loader`` (package.module:function) returns for ``given``; ConfigError for what does not fit."""
    make = find(loader)
    try:
        inspect.signature(make).bind(**given)
    except ValueError:  # some callables have no signature; the call itself decides
        pass
    except TypeError as error:
        refuse(loader, f"expected a function of {', '.join(given)}", error)
    try:
        out = make(**given)
    except (*UNFIT, SystemExit) as error:  # a script's own way to end would end the run without a word
        refuse(loader, "the function raised", error)
    check(loader, out)
    return dict(out)


def find(loader: str) -> Callable[..., Any]:
    """The function, from a module here or on the path."""
    name, _, function = loader.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        make = getattr(importlib.import_module(name), function)
    except SystemExit as error:
        refuse(loader, "importing it raised", error)
    except UNFIT as error:
        refuse(loader, None, error)
    finally:
        sys.path.pop(0)
    if not callable(make):
        raise ConfigError(f"model.loader={loader!r}: expected a function, got {type(make).__name__}")
    return make  # type: ignore[no-any-return]


def refuse(loader: str, what: str | None, error: BaseException) -> NoReturn:
    """A ConfigError with the first line of ``error``."""
    before = "" if what is None else f"{what}: {type(error).__name__}: "
    raise ConfigError(f"model.loader={loader!r}: {before}{first_line(error)}") from error


def check(loader: str, given: Any) -> None:
    """ConfigError unless ``given`` holds a module and inputs, batches of tensors in every list, and what it
    says of them fits.
    """
    import torch

    def refuse(key: str, expected: str, value: Any, advice: str = "") -> NoReturn:
        got = f"got {type(value).__name__}{advice}"
        raise ConfigError(f"model.loader={loader!r}: {key}: expected {expected}, {got}")

    if not isinstance(given, Mapping) or not {"module", "inputs"} <= set(given):
        raise ConfigError(
            f"model.loader={loader!r}: expected a mapping with module and inputs, got {type(given).__name__}"
        )
    if not isinstance(given["module"], torch.nn.Module):
        refuse("module", "a torch.nn.Module", given["module"])
    if isinstance(given["module"], torch.jit.ScriptModule):
        refuse("module", "a module in Python, whose tensors can be exchanged", given["module"])
    for key in ("inputs", "calibration", "probes"):
        batches = [given[key]] if key == "inputs" else given.get(key, ())
        if not isinstance(batches, (list, tuple)):
            refuse(key, "a list of inputs", batches)
        for batch in batches:
            if not isinstance(batch, Mapping) or not batch:
                refuse(key, "a mapping of names to tensors", batch)
            for name, value in batch.items():
                if not isinstance(value, torch.Tensor):
                    refuse(f"{key}: {name}", "a tensor", value, WRAP)
                if value.layout != torch.strided or value.is_nested:
                    kind = "a nested" if value.is_nested else f"a {value.layout}"
                    raise ConfigError(
                        f"model.loader={loader!r}: {key}: {name}: expected a dense tensor, got {kind} one"
                    )
    check_said(loader, given)


def check_said(loader: str, given: Mapping[str, Any]) -> None:
    """ConfigError unless ``weights``, ``tokens`` and ``batch_dims`` are what they can be."""
    weights, tokens, dims = (given.get(key) for key in ("weights", "tokens", "batch_dims"))
    start = f"model.loader={loader!r}:"
    if weights is not None and (not isinstance(weights, str) or weights not in WEIGHTS):
        raise ConfigError(f"{start} weights: expected {' or '.join(WEIGHTS)}, got {weights!r:.60}")
    if tokens is not None and not _whole(tokens, 1):
        raise ConfigError(
            f"{start} tokens: expected a whole number of 1 or more, those of one forward over inputs, "
            f"got {tokens!r:.60}"
        )
    if dims is None:
        return
    inputs = given["inputs"]
    if not isinstance(dims, Mapping) or not dims or not set(dims) <= set(inputs):
        raise ConfigError(
            f"{start} batch_dims: expected a mapping of inputs ({', '.join(inputs)}) to their batch "
            f"dimension, got {dims!r:.60}"
        )
    for name, dim in dims.items():
        if not _whole(dim, 0) or dim >= inputs[name].dim():
            raise ConfigError(
                f"{start} batch_dims: {name} has {inputs[name].dim()} dimension(s), counted from 0, "
                f"and {dim!r:.60} is none of them"
            )
    lengths = {name: int(inputs[name].shape[dim]) for name, dim in dims.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ConfigError(f"{start} batch_dims: expected one batch of all inputs, got {said}")


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def try_out(loader: str, forward: Callable[[], T], key: str, batch: Inputs) -> T:
    """What one forward on ``batch``, one of ``key``, gives; ConfigError where the module does not take it."""
    import torch

    try:
        with torch.no_grad():
            return forward()
    except UNFIT as error:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in batch.items())
        refuse(loader, f"{key}: the module does not take {shapes}", error)
