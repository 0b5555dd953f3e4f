"""A seeded random W for any site, unrelated to the model: for experiments on solvers.

``planted``: channels are dealt at random into groups, and an edge stays inside its group except for a
share ``outside``. ``lognormal``: partners are uniform, so that there is nothing to find but luck. Either
way every channel draws ``degree`` partners with weights exp(sigma N(0, 1)).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from icd.contracts import Activations, CoAccess, Workload
from icd.errors import ConfigError
from icd.graph.sparsify import Normalize, check_caps, finish


@dataclass(frozen=True)
class Synthetic:
    """Graphs drawn from ``seed`` and the site's name; nothing of the model but a site's size enters."""

    kind: Literal["planted", "lognormal"]
    group: int
    degree: int
    outside: float
    sigma: float
    nnz_cap: int
    normalize: Normalize
    seed: int

    def __post_init__(self) -> None:
        check_caps(nnz_cap=self.nnz_cap, degree=self.degree)
        if self.group < 2:
            raise ConfigError(f"graph.group={self.group}: expected 2 channels or more")
        if not 0 <= self.outside <= 1:
            raise ConfigError(f"graph.outside={self.outside}: expected a share from 0 to 1")
        if not 0 <= self.sigma <= 10:
            raise ConfigError(f"graph.sigma={self.sigma}: expected a number from 0 to 10")

    def needs_activations(self) -> bool:
        """Never."""
        return False

    def build(self, workload: Workload, activations: Activations | None) -> dict[str, CoAccess]:
        """One graph a site, in dense order."""
        return {site.name: self.draw(site.name, site.size) for site in workload.sites}

    def draw(self, name: str, size: int) -> CoAccess:
        """The graph of a site of ``size`` channels."""
        from scipy.sparse import csr_matrix

        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        member = rng.permutation(size)  # places -> channels; a group is a run of places
        i = np.repeat(np.arange(size), self.degree)
        j = rng.integers(0, size, len(i))
        if self.kind == "planted":
            first = i // self.group * self.group
            near = first + rng.integers(0, np.minimum(self.group, size - first))
            j = np.where(rng.random(len(i)) < self.outside, j, near)
        weight = np.exp(self.sigma * rng.standard_normal(len(i)))
        A = csr_matrix((weight, (member[i], member[j])), shape=(size, size))
        W = finish(A + A.T, nnz_cap=self.nnz_cap, normalize=self.normalize)
        return CoAccess(W, f"synthetic, {self.kind}", {"seed": self.seed, "nnz": int(W.nnz)})
