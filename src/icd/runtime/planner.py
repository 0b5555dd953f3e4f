"""Measured choices: a layer with one group of sites cut, against the same layer whole.

A model of one layer (the repeated one that holds the sites; the whole model where sites lie across layers, or
where its forward does not run with one) is built both ways, compiled and captured like the real step, and
timed on the real inputs in alternating blocks. Peers (the heads of one attention) are cut together. What was
measured is kept on disk under a hash of everything that decides it, so that processes and later runs on the
same device choose alike. Cutting computes less, so it is what is done unless nearly every round speaks
against it: on a device that others use, medians alone would choose by lot.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icd.contracts import PrecisionSpec, Site, Step, Workload
from icd.runtime.accelerate import Switch
from icd.runtime.cut import cut_sites, narrower
from icd.runtime.one_layer import one_layer, runs
from icd.runtime.plan_cache import Timed, plan_folder, plan_key, read_plan, write_plan
from icd.runtime.step import make_step
from icd.tensors import tensor

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

BLOCKS = 9  # rounds, a block of each candidate in each; the median of their means counts
AGAINST = 8  # rounds that compact has to lose: by chance it loses as many once in 51 times
BLOCK_SECONDS = 0.02
LEAST = 3  # forwards of a block at least

Kind = tuple[str, int, int, tuple[tuple[int, ...], ...]]


@dataclass(frozen=True)
class Choice:
    """What was measured for the ``sites`` of one kind, in the one-layer model, or in the ``whole`` one."""

    kind: Kind
    sites: int
    masked_ms: float
    compact_ms: float
    slower: int
    whole: bool
    cached: bool

    @property
    def chosen(self) -> str:
        """``masked`` where compact was ``slower`` in `AGAINST` rounds or more, else ``compact``."""
        return "masked" if self.slower >= AGAINST else "compact"


def kind_of(module: torch.nn.Module, site: Site, keep: Mapping[str, NDArray[np.int64]]) -> Kind:
    """What a choice is made for: the site's group, its size, the channels it keeps, the shapes it ties."""
    shapes = tuple(tuple(tensor(module, axis.parameter).shape) for axis in site.axes)
    return site.group, site.size, len(keep[site.name]), shapes


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
    """A choice for every kind of site that leaves something out."""
    kinds: dict[Kind, list[Site]] = {}
    for site in workload.sites:
        if len(keep[site.name]) < site.size:
            kinds.setdefault(kind_of(workload.module, site, keep), []).append(site)
    out = []
    for kind, sites in kinds.items():
        for one in (one_layer(workload, sites[0]), workload):
            cut = cut_of(one, kind)
            path = plan_folder() / f"{plan_key(one, cut, precision, device, compile, cuda_graph)}.json"
            found = read_plan(path, BLOCKS) if remember else None
            whole = one is workload
            if found is None and not (whole or runs(one)):
                continue
            timed = found
            if timed is None:
                steps = [
                    make_step(m, one, precision, device, compile=compile, cuda_graph=cuda_graph, executed={})
                    for m in (copy.deepcopy(one.module), cut_copy(one, cut))
                ]
                with narrower():
                    timed = alternate(steps, device)
                if remember:
                    write_plan(path, timed)
            out.append(Choice(kind, len(sites), *timed, whole=whole, cached=found is not None))
            break
    return out


def cut_of(one: Workload, kind: Kind) -> dict[str, NDArray[np.int64]]:
    """What every site of ``one`` keeps where those of the kind's group and size are cut."""
    group, size, kept, _ = kind
    return {s.name: np.arange(kept if (s.group, s.size) == (group, size) else s.size) for s in one.sites}


def cut_copy(workload: Workload, keep: Mapping[str, NDArray[np.int64]]) -> torch.nn.Module:
    """A copy of the module, cut."""
    module = copy.deepcopy(workload.module)
    cut_sites(module, workload.sites, keep)
    return module


def alternate(steps: Sequence[Step], device: str) -> Timed:
    """The two steps in alternating blocks, the masked one first."""
    count = [max(LEAST, round(BLOCK_SECONDS / max(run(step, LEAST, device), 1e-6))) for step in steps]
    times: list[list[float]] = [[], []]
    for _ in range(BLOCKS):
        for k, step in enumerate(steps):
            times[k].append(1e3 * run(step, count[k], device))
    masked, compact = (statistics.median(t) for t in times)
    return Timed(masked, compact, sum(c > m for m, c in zip(*times, strict=True)))


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
