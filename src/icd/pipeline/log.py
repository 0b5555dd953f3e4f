"""``run.log``: what a run did and when."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from icd.recording import told


class RunLog:
    """``run.log``: one JSON object a line with ``ts, stage, ok, meta``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, stage: str, ok: bool = True, **meta: Any) -> None:
        """Append one line."""
        ts = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"ts": ts, "stage": stage, "ok": ok, "meta": told(meta)}) + "\n")
