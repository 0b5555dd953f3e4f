"""Measured choices: a layer with one group of sites cut, against the same layer whole.

A model of one layer (the repeated one that holds the sites) is built both ways, compiled and captured like
the real step, and timed on the real inputs in alternating blocks. Peers (the heads of one attention) are cut
together. Median times are kept on disk under a hash of everything that decides them, so that processes and
later runs on the same device choose alike.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import icd
from icd.contracts import PrecisionSpec, Site, Step, Workload
from icd.runtime.accelerate import Switch
from icd.runtime.cut import cut_sites
from icd.runtime.step import make_step

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

BLOCKS = 7  # alternating blocks of each candidate; the median of their means counts
BLOCK_SECONDS = 0.02
LEAST = 3  # forwards of a block at least


@dataclass(frozen=True)
class Choice:
    """What was measured for the sites of one group, size and kept width, in the one-layer model."""

    group: str
    size: int
    kept: int
    sites: int
    masked_ms: float
    compact_ms: float
    cached: bool

    @property
    def key(self) -> tuple[str, int, int]:
        """As `icd.runtime.auto.key_of`."""
        return self.group, self.size, self.kept

    @property
    def chosen(self) -> str:
        """``compact`` unless it is slower."""
        return "compact" if self.compact_ms <= self.masked_ms else "masked"


def choose(
    workload: Workload,
    keep: Mapping[str, NDArray[np.int64]],
    precision: PrecisionSpec,
    device: str,
    *,
    compile: Switch,
    cuda_graph: Switch,
    remember: bool,
) -> list[Choice]:
    """A choice for every distinct (group, size, kept width) that leaves something out."""
    kinds: dict[tuple[str, int, int], list[Site]] = {}
    for site in workload.sites:
        if len(keep[site.name]) < site.size:
            kinds.setdefault((site.group, site.size, len(keep[site.name])), []).append(site)
    out = []
    for (group, size, kept), sites in kinds.items():
        one = one_layer(workload, sites[0])
        same = [s for s in one.sites if s.group == group and s.size == size]
        cut = {s.name: np.arange(kept if s in same else s.size) for s in one.sites}
        key = plan_key(one, cut, precision, device, compile, cuda_graph)
        path = plan_folder() / f"{key}.json"
        found = read_plan(path) if remember else None
        if found is None:
            steps = [
                make_step(module, one, precision, device, compile=compile, cuda_graph=cuda_graph, executed={})
                for module in (copy.deepcopy(one.module), cut_copy(one, cut))
            ]
            times = alternate(steps, device)
            if remember:
                write_plan(path, times)
        else:
            times = found
        out.append(Choice(group, size, kept, len(sites), *times, cached=found is not None))
    return out


def one_layer(workload: Workload, site: Site) -> Workload:
    """``workload`` with the one repeated layer that holds ``site``; itself where no list of layers does."""
    import torch

    lists = {n: m for n, m in workload.module.named_modules() if isinstance(m, torch.nn.ModuleList)}
    parameter = site.axes[0].parameter
    name = next((n for n in lists if parameter.startswith(f"{n}.")), None)
    if name is None:
        return workload
    index = parameter.removeprefix(f"{name}.").partition(".")[0]
    layers: Sequence[torch.nn.Module] = list(lists[name])
    others = {id(layer): torch.nn.Identity() for k, layer in enumerate(layers) if str(k) != index}
    module = copy.deepcopy(workload.module, memo=dict(others))
    owner, _, last = name.rpartition(".")
    kept = module.get_submodule(f"{name}.{index}")
    setattr(module.get_submodule(owner), last, torch.nn.ModuleList([kept]))
    prefix = f"{name}.{index}."
    sites = tuple(renamed(s, prefix, f"{name}.0.") for s in workload.sites if belongs(s, prefix))
    names = {renamed(s, prefix, f"{name}.0.").name: s.name for s in workload.sites if belongs(s, prefix)}
    return replace(
        workload,
        module=module,
        sites=sites,
        order={new: workload.order[old] for new, old in names.items() if old in workload.order},
        live={new: workload.live[old] for new, old in names.items() if old in workload.live},
    )


def belongs(site: Site, prefix: str) -> bool:
    """Whether all of a site lies below ``prefix``."""
    return all(axis.parameter.startswith(prefix) for axis in site.axes)


def renamed(site: Site, old: str, new: str) -> Site:
    """``site`` with every name below ``old`` moved to below ``new``."""

    def move(name: str) -> str:
        return new + name.removeprefix(old) if name.startswith(old) else name

    return replace(
        site,
        axes=tuple(replace(axis, parameter=move(axis.parameter)) for axis in site.axes),
        activation=move(site.activation),
        counts=tuple((move(path), factor) for path, factor in site.counts),
    )


def cut_copy(workload: Workload, keep: Mapping[str, NDArray[np.int64]]) -> torch.nn.Module:
    """A copy of the module, cut."""
    module = copy.deepcopy(workload.module)
    cut_sites(module, workload.sites, keep)
    return module


def alternate(steps: Sequence[Step], device: str) -> tuple[float, float]:
    """Median milliseconds of the two steps over alternating blocks."""
    count = [max(LEAST, round(BLOCK_SECONDS / max(run(step, LEAST, device), 1e-6))) for step in steps]
    times: list[list[float]] = [[], []]
    for _ in range(BLOCKS):
        for k, step in enumerate(steps):
            times[k].append(1e3 * run(step, count[k], device))
    first, second = (statistics.median(t) for t in times)
    return first, second


def run(step: Step, count: int, device: str) -> float:
    """Seconds of one of ``count`` forwards, after one that is not timed."""
    import torch

    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    step()
    wait()
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait()
    return (time.perf_counter() - start) / count


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
