"""``tracking=none``: the run directory is all there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NoTracking:
    """Logs nothing."""

    def log(self, run_dir: Path) -> str | None:
        """None: there is nothing to say."""
        return None

    def log_sweep(self, folder: Path) -> str | None:
        """None: there is nothing to say."""
        return None
