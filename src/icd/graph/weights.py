"""W from weights: channels that read from or write to the same places are needed together.

W = sum over tied weights of |A| |A|^T, A being the weight with the site's axis first, its other axes
flattened.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.contracts import Activations, CoAccess, Site, Workload
from icd.errors import ConfigError
from icd.graph.sparsify import Normalize, sparsify
from icd.graph.tied import tied_weights


@dataclass(frozen=True)
class Weights:
    """Similarity of absolute weights."""

    per_row: int
    nnz_cap: int
    normalize: Normalize

    def __post_init__(self) -> None:
        if self.per_row < 1 or self.nnz_cap < 1:
            raise ConfigError("graph.per_row and graph.nnz_cap: expected 1 or more")

    def needs_activations(self) -> bool:
        """Never."""
        return False

    def build(self, workload: Workload, activations: Activations | None) -> dict[str, CoAccess]:
        """One graph a site, in dense order."""
        return {site.name: self._one(workload, site) for site in workload.sites}

    def _one(self, workload: Workload, site: Site) -> CoAccess:
        total = np.zeros((site.size, site.size))
        for _, weight in tied_weights(workload, site):
            A = np.abs(weight).reshape(site.size, -1).astype(np.float32)
            total += A @ A.T
        W = sparsify(total, per_row=self.per_row, nnz_cap=self.nnz_cap, normalize=self.normalize)
        return CoAccess(W, "weights", {"nnz": int(W.nnz)})
