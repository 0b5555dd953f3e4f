"""W as it was recorded: how often two channels of a site were read together.

W_ij = the summed weights of the records that read i and then j, or j and then i.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.contracts import Accesses, Activations, CoAccess, Workload
from icd.errors import ConfigError
from icd.graph.sparsify import Normalize, check_caps, finish


@dataclass(frozen=True)
class Trace:
    """The co-access counts of a workload's own trace."""

    nnz_cap: int
    normalize: Normalize

    def __post_init__(self) -> None:
        check_caps(nnz_cap=self.nnz_cap)

    def needs_activations(self) -> bool:
        """Never."""
        return False

    def build(self, workload: Workload, activations: Activations | None) -> dict[str, CoAccess]:
        """One graph a site, in dense order; ConfigError for a site whose reads were not recorded."""
        bare = [site.name for site in workload.sites if site.name not in workload.accesses]
        if bare:
            raise ConfigError(
                f"graph=trace needs recorded reads and model={workload.card.name} has none for {bare[0]}; "
                "use model=trace, or graph=activation, weights or pytorch"
            )
        return {site.name: self._one(workload.accesses[site.name], site.size) for site in workload.sites}

    def _one(self, accesses: Accesses, size: int) -> CoAccess:
        from scipy.sparse import csr_matrix

        counts = csr_matrix((accesses.weight, (accesses.source, accesses.target)), shape=(size, size))
        W = finish(counts + counts.T, nnz_cap=self.nnz_cap, normalize=self.normalize)
        if not W.nnz:
            raise ConfigError("graph=trace: no record joins two different rows; record pairs of reads")
        weight = float(np.sum(accesses.weight))
        return CoAccess(W, "trace", {"records": len(accesses.weight), "weight": weight, "nnz": int(W.nnz)})
