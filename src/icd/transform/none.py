"""``transform=none``: the control."""

from __future__ import annotations

from dataclasses import dataclass

from icd.contracts import Activations, Workload


@dataclass(frozen=True)
class Nothing:
    """Removes nothing."""

    def needs_activations(self) -> bool:
        """Never."""
        return False

    def apply(self, workload: Workload, activations: Activations | None) -> Workload:
        """``workload`` as it is."""
        return workload
