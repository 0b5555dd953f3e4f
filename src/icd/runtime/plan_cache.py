"""Measured times of layers on disk, below a hash of everything that decides them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import icd
from icd.contracts import PrecisionSpec, Workload
from icd.runtime.accelerate import Switch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def plan_key(
    one: Workload,
    cut: Mapping[str, NDArray[np.int64]],
    precision: PrecisionSpec,
    device: str,
    compile: Switch,
    cuda_graph: Switch,
) -> str:
    """A hash of what decides the times: shapes, widths, precision, switches, device, versions."""
    import torch

    cuda = device.startswith("cuda")
    what = {
        "shapes": {n: list(p.shape) for n, p in one.module.named_parameters()},
        "type": type(one.module).__qualname__,
        "inputs": {n: [list(x.shape), str(x.dtype)] for n, x in one.inputs.items()},
        "cut": {n: len(keep) for n, keep in sorted(cut.items())},
        "precision": [repr(precision), precision.resolve(device)],
        "switches": [compile, cuda_graph],
        "choices": dict(one.choices(device)),
        "device": torch.cuda.get_device_name(device) if cuda else f"cpu x {torch.get_num_threads()}",
        "versions": [torch.__version__, icd.__version__],
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def plan_folder() -> Path:
    """``plans`` below ICD_CACHE_DIR, else below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ICD_CACHE_DIR") or Path(base) / "icd") / "plans"


def read_plan(path: Path) -> tuple[float, float] | None:
    """The two times of an entry; None where there is none or it cannot be read."""
    try:
        masked, compact = json.loads(path.read_text("utf-8"))["ms"]
        return float(masked), float(compact)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_plan(path: Path, times: tuple[float, float]) -> None:
    """Store the two times under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
        json.dump({"ms": list(times)}, file)
    Path(file.name).replace(path)
