"""What a pipeline does: its arms, and when a re-permutation is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icd.errors import ConfigError

ARMS = ("dense", "linear", "sliced", "iterative", "shuffle", "aa")
START = "layout before the transform"  # reason of an iteration that is no re-permutation
NEEDS = {"aa": "linear", "shuffle": "linear", "sliced": "linear", "iterative": "linear"}


@dataclass(frozen=True)
class Pipeline:
    """``arms`` in the order of the report; ``eps_T`` and ``eps_J`` are shares of the value before.

    ``rollback``: the iterative arm goes back to linear's layout, and is measured again, when two of
    latency, L2 and energy are measured to be worse (`icd.stats.rollback`).
    """

    name: str
    arms: list[str]
    max_iters: int
    eps_T: float
    eps_J: float
    rollback: bool = False

    def __post_init__(self) -> None:
        for arm in self.arms:
            if arm not in ARMS:
                raise ConfigError(f"pipeline.arms: unknown arm {arm!r}; there are {', '.join(ARMS)}")
            if arm in NEEDS and NEEDS[arm] not in self.arms:
                raise ConfigError(
                    f"pipeline.arms: {arm} is compared with {NEEDS[arm]}, which is not in the list"
                )
        if not self.arms or len(set(self.arms)) != len(self.arms):
            raise ConfigError("pipeline.arms: expected one or more different arms")
        if self.name == "iterative" and "iterative" in self.arms and self.max_iters < 1:
            raise ConfigError("pipeline.max_iters: pipeline=iterative re-permutes at least once")
        if self.eps_T < 0 or self.eps_J < 0:
            raise ConfigError("pipeline.eps_T and pipeline.eps_J: expected shares of 0 or more")


def accept(
    before: Mapping[str, Any], after: Mapping[str, Any], *, eps_T: float, eps_J: float
) -> tuple[bool, str]:
    """Whether a re-permutation is kept, and why.

    ``before`` and ``after`` are model-wide costs with ``T`` (bytes) and ``J``. Kept when T falls by more
    than ``eps_T``, or T stays within ``eps_T`` and J falls by more than ``eps_J`` of its magnitude.
    """
    t0, t1, j0, j1 = before["T"], after["T"], before["J"], after["J"]
    change_t = (t1 - t0) / t0 if t0 else 0.0
    change_j = (j1 - j0) / abs(j0) if j0 else 0.0
    if change_t < -eps_T:
        return True, f"T fell by {-100 * change_t:.2f} %"
    if change_t <= eps_T and change_j < -eps_J:
        return True, f"T within {100 * eps_T:g} % and J fell by {-100 * change_j:.2f} %"
    if change_t > eps_T:
        return False, f"T rose by {100 * change_t:.2f} %: rolled back"
    return False, f"T changed by {100 * change_t:+.2f} % and J by {100 * change_j:+.2f} %: rolled back"
