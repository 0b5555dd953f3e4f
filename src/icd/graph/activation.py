"""W from activations: channels that are active for the same tokens are needed together.

W = A^T A, where row t of A holds the ``top_share`` largest absolute activations of token t and zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.contracts import Activations, CoAccess, Workload
from icd.errors import ConfigError
from icd.graph.sparsify import Normalize, sparsify


@dataclass(frozen=True)
class Activation:
    """Co-activation over calibration tokens."""

    top_share: float
    per_row: int
    nnz_cap: int
    normalize: Normalize

    def __post_init__(self) -> None:
        if not 0 < self.top_share <= 1:
            raise ConfigError(f"graph.top_share={self.top_share}: expected a share above 0 and up to 1")
        if self.per_row < 1 or self.nnz_cap < 1:
            raise ConfigError("graph.per_row and graph.nnz_cap: expected 1 or more")

    def needs_activations(self) -> bool:
        """Always."""
        return True

    def build(self, workload: Workload, activations: Activations | None) -> dict[str, CoAccess]:
        """One graph a site, in dense order; needs calibration inputs."""
        if activations is None:
            raise ConfigError(
                f"graph=activation needs calibration inputs and model={workload.card.name} has none; "
                "use graph=weights"
            )
        return {name: self._one(values, activations.tokens) for name, values in activations.values.items()}

    def _one(self, values: np.ndarray, tokens: int) -> CoAccess:
        """``values``: (tokens, D) absolute activations."""
        D = values.shape[1]
        active = max(2, round(self.top_share * D)) if D > 32 else D  # a few heads are all kept
        A = values.astype(np.float32)
        if active < D:
            cut = np.partition(A, D - active, axis=1)[:, D - active]
            A = np.where(A >= cut[:, None], A, 0.0)
        W = sparsify(A.T @ A, per_row=self.per_row, nnz_cap=self.nnz_cap, normalize=self.normalize)
        return CoAccess(W, "activation", {"tokens": tokens, "active_per_token": active, "nnz": int(W.nnz)})
