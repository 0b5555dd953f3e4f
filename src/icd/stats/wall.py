"""The host's clock against the device's events: a check of how latency was timed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from icd.contracts import Sample


def wall_check(samples: Sequence[Sample]) -> dict[str, float] | None:
    """By how much the host's clock says more than the device's events, in % of a forward, by arm.

    The median over blocks; None where no device was timed by its own events.
    """
    blocks: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for s in samples:
        if s.metric == "latency_ms":
            blocks[s.arm, s.process, s.allocation, s.round].append(s.value)
    ratios: dict[str, list[float]] = defaultdict(list)
    for s in samples:
        if s.metric == "wall_ms":
            events = np.mean(blocks[s.arm, s.process, s.allocation, s.round])
            ratios[s.arm].append(s.value / float(events))
    return {arm: 100.0 * (float(np.median(r)) - 1.0) for arm, r in ratios.items()} or None
