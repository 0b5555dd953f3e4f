"""The user's loader: found, called, and what it returns tried once; a sentence for whatever does not fit."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from icd.errors import ConfigError, first_line

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs

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
    except UNFIT as error:
        refuse(loader, "the function raised", error)
    check(loader, out)
    return dict(out)


def find(loader: str) -> Callable[..., Any]:
    """The function, from a module here or on the path."""
    name, _, function = loader.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        make = getattr(importlib.import_module(name), function)
    except UNFIT as error:
        refuse(loader, None, error)
    finally:
        sys.path.pop(0)
    if not callable(make):
        raise ConfigError(f"model.loader={loader!r}: expected a function, got {type(make).__name__}")
    return make  # type: ignore[no-any-return]


def refuse(loader: str, what: str | None, error: Exception) -> NoReturn:
    """A ConfigError with the first line of ``error``."""
    before = "" if what is None else f"{what}: {type(error).__name__}: "
    raise ConfigError(f"model.loader={loader!r}: {before}{first_line(error)}") from error


def check(loader: str, given: Any) -> None:
    """ConfigError unless ``given`` holds a module and inputs, and batches of tensors in every list."""
    import torch

    def refuse(key: str, expected: str, value: Any) -> NoReturn:
        raise ConfigError(f"model.loader={loader!r}: {key}: expected {expected}, got {type(value).__name__}")

    if not isinstance(given, Mapping) or not {"module", "inputs"} <= set(given):
        raise ConfigError(
            f"model.loader={loader!r}: expected a mapping with module and inputs, got {type(given).__name__}"
        )
    if not isinstance(given["module"], torch.nn.Module):
        refuse("module", "a torch.nn.Module", given["module"])
    for key in ("inputs", "calibration", "probes"):
        batches = [given[key]] if key == "inputs" else given.get(key, ())
        if not isinstance(batches, (list, tuple)):
            refuse(key, "a list of inputs", batches)
        for batch in batches:
            if not isinstance(batch, Mapping) or not batch:
                refuse(key, "a mapping of names to tensors", batch)
            for name, value in batch.items():
                if not isinstance(value, torch.Tensor):
                    refuse(f"{key}: {name}", "a tensor", value)


def try_out(loader: str, forward: Callable[[], torch.Tensor], key: str, batch: Inputs) -> None:
    """One forward on ``batch``, the first of ``key``; ConfigError where the module does not take it."""
    import torch

    try:
        with torch.no_grad():
            forward()
    except UNFIT as error:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in batch.items())
        refuse(loader, f"{key}: the module does not take {shapes}", error)
