"""The files of a run directory that hold layouts, graphs, raw samples and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icd.contracts import Layouts
from icd.measure.power import PowerRow
from icd.pipeline.files import write_bytes, write_json
from icd.pipeline.measurement import Measurement
from icd.pipeline.rollback import FOLDER
from icd.samples import encode


def write_measured(folder: Path, taken: Measurement) -> None:
    """Layouts, graphs and raw samples below ``folder``: what a later failure must not lose."""
    import scipy.sparse

    write_raw(folder, taken)
    facts = taken.prepared.facts
    (folder / "W").mkdir(exist_ok=True)
    for name, W in facts["W"].items():
        scipy.sparse.save_npz(folder / "W" / f"{name}.npz", W)
    write_layouts(folder / "perm_before.json", facts["pi0"], facts["live"])
    write_layouts(folder / "perm_after.json", facts["pi1"], facts["live"])


def write_first(folder: Path, first: Measurement) -> None:
    """Raw samples and the layout of the measurement before a rollback, in a folder of their own."""
    facts = first.prepared.facts
    write_raw(folder / FOLDER, first)
    write_layouts(folder / FOLDER / "perm_after.json", facts["pi1"], facts["live"])


def write_raw(folder: Path, taken: Measurement) -> None:
    """Raw samples, the profiler's record and the power draw of one measurement."""
    write_bytes(folder / "samples.csv.gz", encode(taken.samples))
    write_json(folder / "ncu.json", taken.l2.as_json())
    rows = (f"{r[0]},{r[1]},{r[2]},{r[3]:.4f},{r[4]:.3f}" for r in taken.power)
    write_bytes(folder / "power.csv", ("\n".join([",".join(PowerRow._fields), *rows]) + "\n").encode())


def write_layouts(path: Path, layouts: Layouts, live: Mapping[str, Any]) -> None:
    """``{layouts, live}`` by site: ``pi[new] = old``, and the channels that the transform left."""
    record = {
        "layouts": {name: np.asarray(pi).tolist() for name, pi in layouts.items()},
        "live": {name: np.flatnonzero(mask).tolist() for name, mask in live.items()},
    }
    write_bytes(path, (json.dumps(record, separators=(",", ":")) + "\n").encode())
