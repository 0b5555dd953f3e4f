"""A generated trace with planted communities, for runs without a recorded one.

Rows of one community are read together, in bursts, and lie scattered over the table. Half of each
community is read less often, by ``weak``: removing the least used half of the rows leaves every community
half alive, as in model=mock.
"""

from __future__ import annotations

import numpy as np

from icd.contracts import Accesses


def planted(
    rows: int, *, group: int, records: int, inside: float, burst: int, weak: float, seed: int
) -> Accesses:
    """``records`` reads of source and target, weight 1 each.

    ``group``: rows of a community; ``inside``: share of targets in the source's community; ``burst``:
    consecutive records with sources of one community.
    """
    rng = np.random.default_rng(seed)
    member = rng.permutation(rows)  # places -> rows; a community is a run of places
    first = rng.integers(0, -(-rows // group), -(-records // burst)).repeat(burst)[:records] * group

    def draw() -> np.ndarray:
        """A place of each record's community, weak ones (its second half) less often."""
        size = np.minimum(group, rows - first)
        strong = np.maximum(1, size // 2)
        is_weak = (rng.random(records) < weak / (1 + weak)) & (size > strong)
        low = np.where(is_weak, strong, 0)
        return first + rng.integers(low, np.where(is_weak, size, strong))

    source, target = draw(), draw()
    away = rng.random(records) >= inside
    target = np.where(away, rng.integers(0, rows, records), target)
    return Accesses(member[source], member[target], np.ones(records))
