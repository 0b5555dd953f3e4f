"""What was measured of layers, on disk, below a hash of everything that decides them."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import icd
from icd.contracts import PrecisionSpec, Workload
from icd.places import cache_dir, not_kept
from icd.processors import cpu_model
from icd.reading import read_json
from icd.runtime.accelerate import Switch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


class Timed(NamedTuple):
    """Median milliseconds of both candidates, and in how many rounds the compact one was the slower."""

    masked_ms: float
    compact_ms: float
    slower: int


def plan_key(
    one: Workload,
    cut: Mapping[str, NDArray[np.int64]],
    precision: PrecisionSpec,
    device: str,
    compile: Switch,
    cuda_graph: Switch,
) -> str:
    """A hash of what decides the times: shapes, widths, precision, switches, device, versions.

    A site counts by what it ties, not by its name, which says from which layer ``one`` was made.
    """
    import torch

    cuda = device.startswith("cuda")
    what = {
        "shapes": {n: list(p.shape) for n, p in one.module.named_parameters()},
        "modules": {n: type(m).__qualname__ for n, m in one.module.named_modules()},
        "inputs": {n: [list(x.shape), str(x.dtype)] for n, x in one.inputs.items()},
        "cut": [[repr(site.axes), len(cut[site.name])] for site in one.sites],
        "precision": [repr(precision), precision.resolve(device)],
        "switches": [compile, cuda_graph],
        "choices": dict(one.choices(device)),
        "device": torch.cuda.get_device_name(device) if cuda else [cpu_model(), torch.get_num_threads()],
        "versions": [torch.__version__, icd.__version__],
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def plan_folder() -> Path:
    """Where measured plans are kept between runs."""
    return cache_dir() / "plans"


def read_plan(path: Path, rounds: int) -> Timed | None:
    """An entry of ``rounds`` rounds; None where there is none, or a damaged one, which is warned of."""
    try:
        return _timed(read_json(path), rounds)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _damaged(path.name, error.strerror or type(error).__name__)
    except (LookupError, TypeError, ValueError) as error:
        _damaged(path.name, str(error))
    return None


def _timed(entry: Any, rounds: int) -> Timed:
    """ValueError unless the entry holds two positive times and a number of rounds."""
    masked, compact = entry["ms"]
    slower = entry["slower"]
    if any(type(ms) not in (int, float) or not ms > 0 for ms in (masked, compact)):
        raise ValueError("expected two times above 0")
    if type(slower) is not int or not 0 <= slower <= rounds:
        raise ValueError(f"expected 0 to {rounds} slower rounds")
    return Timed(float(masked), float(compact), slower)


@cache
def _damaged(name: str, why: str) -> None:
    """Warn, once a process, of an entry that is not used."""
    log.warning("measured plan %s is damaged (%s); measuring again", name, why)


def write_plan(path: Path, timed: Timed) -> None:
    """Store an entry under a temporary name, then rename; a folder that takes none is warned of."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
            json.dump({"ms": [timed.masked_ms, timed.compact_ms], "slower": timed.slower}, file)
        Path(file.name).replace(path)
    except OSError as error:
        not_kept(path.parent, "measured plans", error.strerror or str(error))
