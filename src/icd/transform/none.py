"""``transform=none``: the control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from icd.contracts import Activations, Workload


@dataclass(frozen=True)
class Nothing:
    """Removes nothing, so there is nothing to order."""

    order: ClassVar[str] = "sparsity_first"

    def needs_activations(self) -> bool:
        """Never."""
        return False

    def apply(self, workload: Workload, activations: Activations | None) -> Workload:
        """``workload`` as it is."""
        return workload
