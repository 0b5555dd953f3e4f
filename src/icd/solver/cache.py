"""Layouts kept on disk under a hash of everything that decides them."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import math
import os
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import icd
from icd.archives import check_layout
from icd.contracts import BoolArray, IntArray, Layout, Nets
from icd.places import not_kept
from icd.reading import read_json
from icd.solver.base import LayoutSolver
from icd.solver.problem import Problem, pose

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

log = logging.getLogger(__name__)
UNDECISIVE = ("time_budget_s", "on_timeout")


@dataclass(frozen=True)
class CachedSolver:
    """A solver that remembers its answers in a folder.

    The key covers W, nets, block, line, previous layout, the solver with its configuration, the code of
    this package and the solver's own file; not the time budget, since a layout that the budget cut short is
    never stored.
    ``stats["cache"]`` says ``hit`` or ``miss``; the other statistics of a hit are those of the solve.
    """

    solver: LayoutSolver
    directory: Path

    def solve(
        self,
        W: csr_matrix,
        nets: csr_matrix | BoolArray | Nets | None,
        *,
        block: int,
        line: int,
        previous: IntArray | None = None,
    ) -> Layout:
        """As ``solver.solve``, or what it answered before. A damaged entry is warned of and replaced:
        one that cannot be read, and one whose layout does not cost what it says.

        A folder that cannot be written is warned of, too.
        """
        problem = pose(W, nets, block=block, line=line, previous=previous, objective=self.solver.objective)
        path = Path(self.directory) / f"{layout_key(self.solver, problem)}.json"
        kept = _read(path, problem)
        if kept is not None:
            return Layout(kept.pi, {**kept.stats, "cache": "hit"})
        layout = self.solver.solve(W, nets, block=block, line=line, previous=previous)
        if not layout.stats["time_limited"]:
            try:
                _write(path, layout)
            except OSError as error:
                not_kept(path.parent, "solved layouts", error.strerror or str(error))
        return Layout(layout.pi, {**layout.stats, "cache": "miss"})


def layout_key(solver: LayoutSolver, problem: Problem) -> str:
    """SHA-256 of all that decides a layout, in hexadecimal."""
    digest = hashlib.sha256()
    fields = {name: value for name, value in asdict(solver).items() if name not in UNDECISIVE}
    shape = [problem.size, problem.block, problem.line]
    head = [code_version(), solver_version(type(solver)), fields, shape]
    digest.update(json.dumps(head, sort_keys=True).encode())
    W, nets, previous = problem.W, problem.nets, problem.previous
    arrays = [W.indptr, W.indices, W.data]
    if nets is not None:
        arrays += [nets.matrix.indptr, nets.matrix.indices, nets.weights]
    if previous is not None:
        arrays += [previous]
    for array in arrays:
        plain = np.ascontiguousarray(array, np.int64 if array.dtype.kind in "iu" else np.float64)
        digest.update(f"{plain.dtype}{plain.shape}".encode())
        digest.update(plain.tobytes())
    return digest.hexdigest()


@cache
def solver_version(cls: type) -> str:
    """Name of a solver's class and a hash of its file, which need not be in this package."""
    source = Path(inspect.getfile(cls)).read_bytes()
    return f"{cls.__module__}.{cls.__qualname__}-{hashlib.sha256(source).hexdigest()[:16]}"


@cache
def code_version() -> str:
    """Version of icd and a hash of this package's sources."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    return f"{icd.__version__}-{digest.hexdigest()[:16]}"


def _read(path: Path, problem: Problem) -> Layout | None:
    """What was kept for ``problem``, None where nothing was; what does not hold is warned of."""
    try:
        return _checked(read_json(path), problem)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        why = error.strerror or type(error).__name__
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        why = str(error)
    log.warning("cached layout %s is damaged (%s); solving again", path.name, why)
    return None


def _checked(entry: Any, problem: Problem) -> Layout:
    """The layout of an entry; ValueError unless it is one of the problem, with the costs that it says."""
    pi, stats = entry["pi"], entry["stats"]
    if _digest(pi, stats) != entry["sha256"]:
        raise ValueError("its checksum does not match")
    layout = check_layout(pi, "its layout")
    if len(layout) != problem.size:
        raise ValueError(f"its layout has {len(layout)} channels; expected {problem.size}")
    seconds, named = stats["seconds"], stats["chosen"]
    if type(seconds) not in (int, float) or seconds < 0 or stats["time_limited"] or type(named) is not str:
        raise ValueError("its statistics are not those of a finished solve")
    for when, judged in (("before", problem.initial), ("after", layout)):
        again = problem.evaluate(judged)
        if set(again) != set(stats[when]) or not all(_same(stats[when][key], again[key]) for key in again):
            raise ValueError(f"its cost {when} is not that of its layout")
    for name, score in stats["candidates"].items():
        if any(not _figure(score[key]) for key in ("T", "C", "Q", "J")):
            raise ValueError(f"its candidate {name[:40]!r} has no cost")
    return Layout(layout, stats)


def _figure(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def _same(kept: Any, again: float | None) -> bool:
    if kept is None or again is None:
        return kept is again
    return type(kept) in (int, float) and math.isclose(kept, again, rel_tol=1e-9, abs_tol=1e-12)


def _write(path: Path, layout: Layout) -> None:
    """Write beside the target and rename, so that a reader sees a whole entry or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pi, stats = layout.pi.tolist(), dict(layout.stats)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"sha256": _digest(pi, stats), "stats": stats, "pi": pi}, file)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _digest(pi: list[int], stats: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([pi, stats], sort_keys=True).encode()).hexdigest()
