"""What the record says of recovery and of the executed precision, against itself and the lock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.pipeline.ran import EIGHT_BITS
from icd.tools.recheck.recorded import Recorded, differ
from icd.transform.moments import PART
from icd.transform.quantize import DTYPE


def recovered(run: Recorded) -> list[str]:
    """A refit counts exactly where it was better on tokens held out, and had enough of them to fit on."""
    found = run.metrics["transform"].get("recover")
    if found is None:
        return []
    if "held_out" not in found:  # nothing was tried, or by an earlier version, which judged no refit
        refitted = "consumers" in found and run.lock["transform"].get("recover") != "none"
        return differ(found["method"] != "none", refitted, "transform.recover: refitted")
    rows = found["consumers"]
    kept = bool(rows) and any(row["kept"] for row in rows)
    out = differ(found["method"], "lstsq" if kept else "none", "transform.recover.method")
    out += differ(found["held_out"], 1 / PART, "transform.recover.held_out")
    if run.lock["transform"].get("recover") == "none":
        out.append("transform.recover: refitted, and transform.recover=none was asked for")
    whole = found.get("outputs")
    for row in rows:
        where = f"transform.recover.consumers.{row['module']}"
        better = improved(row)
        again = better and (whole is None or improved(whole))
        out += differ(row["kept"], again, f"{where}.kept")
        out += differ("reason" in row, not row["kept"], f"{where}: a reason")
        if "missed_after" in row and row["tokens"] < row["live_inputs"]:
            out.append(f"{where}: fitted on fewer tokens than it has live inputs")
    if whole is not None:
        out += differ(whole["kept"], kept, "transform.recover.outputs.kept")
    return out


def improved(figures: Mapping[str, Any]) -> bool:
    """Whether less is missed than before; not where there are no figures."""
    return "missed_after" in figures and bool(figures["missed_after"] < figures["missed_before"])


def precision(run: Recorded) -> list[str]:
    """``dtype`` is what most weight bytes are in; eight bits run exactly where an operator says so."""
    out = []
    for name, arm in run.metrics["arms"].items():
        said: Mapping[str, Any] = arm["executed"]
        found = said.get("weight_bytes")  # not in records of earlier versions, nor of float32
        if found is None:
            continue
        most = max(found, key=lambda dtype: found[dtype], default="float32")
        out += differ(said["dtype"], most, f"arms.{name}.executed.dtype")
        rates = {part["rate"] for part in arm["roofline"]["parts"]}
        for eight in set(EIGHT_BITS) & rates:
            out += differ(DTYPE[eight] in found, True, f"arms.{name}.executed.weight_bytes: {eight}")
    return out
