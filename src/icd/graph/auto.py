"""``graph=auto``: the graph that the model names as its own."""

from __future__ import annotations

from dataclasses import dataclass

from icd.contracts import Activations, CoAccess, Workload
from icd.graph.activation import Activation
from icd.graph.sparsify import Normalize
from icd.graph.weights import Weights


@dataclass(frozen=True)
class Auto:
    """`Weights` where the model says so, `Activation` elsewhere."""

    top_share: float
    per_row: int
    nnz_cap: int
    normalize: Normalize

    def __post_init__(self) -> None:
        self._activation()

    def _activation(self) -> Activation:
        return Activation(self.top_share, self.per_row, self.nnz_cap, self.normalize)

    def build(self, workload: Workload, activations: Activations | None) -> dict[str, CoAccess]:
        """One graph a site, in dense order."""
        if workload.card.graph == "weights":
            return Weights(self.per_row, self.nnz_cap, self.normalize).build(workload, activations)
        return self._activation().build(workload, activations)
