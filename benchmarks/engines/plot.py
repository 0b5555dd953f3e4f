"""Time against sparsity, a panel a model and shape: python benchmarks/engines/plot.py TABLE PICTURE."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

STYLE = {
    "dense": ("o", "black"), "compact": ("o", "tab:red"), "masked": ("s", "tab:blue"),
    "auto": ("x", "tab:purple"), "built small": ("+", "tab:green"), "transformers, eager": ("v", "tab:gray"),
    "torch.compile, whole model": ("^", "tab:orange"),
}  # fmt: skip


def draw(table: Path, picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with table.open() as file:
        rows = list(csv.DictReader(file))
    panels = defaultdict(list)
    for row in rows:
        panels[f"{row['model']} {row['batch']}x{row['seq_len']}"].append(row)
    wide = min(3, len(panels))
    figure, axes = plt.subplots(
        -(-len(panels) // wide), wide, figsize=(4.4 * wide, 3.4 * -(-len(panels) // wide)), squeeze=False
    )
    for axis, (title, found) in zip(axes.flat, panels.items(), strict=False):
        for engine, (mark, colour) in STYLE.items():
            mine = sorted(
                (float(r["sparsity"]), float(r["median_ms"])) for r in found if r["engine"] == engine
            )
            if engine == "compact":
                mine = sorted(mine + [(0.0, float(r["median_ms"])) for r in found if r["engine"] == "dense"])
            line = "-" if engine == "compact" else ""
            axis.plot(
                [x for x, _ in mine], [y for _, y in mine], mark + line, color=colour, label=engine, ms=6
            )
        floor = sorted(
            (float(r["sparsity"]), float(r["roofline_ms"]))
            for r in found
            if r["engine"] in ("dense", "compact")
        )
        axis.plot([x for x, _ in floor], [y for _, y in floor], ":", color="tab:brown", label="roofline")
        top = 1.5 * max(float(r["median_ms"]) for r in found if r["engine"] == "dense")
        beyond = [r for r in found if float(r["median_ms"]) > top]
        for k, row in enumerate(beyond):
            ms = float(row["median_ms"])
            said = f"{row['engine']}: {ms:.0f} ms" if ms >= 100 else f"{row['engine']}: {ms:.3g} ms"
            axis.text(0.97, 0.95 - 0.08 * k, said, transform=axis.transAxes, ha="right", va="top", fontsize=8)
        axis.set_ylim(0, top)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("share of channels removed")
        axis.set_ylabel("ms a forward")
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=8)
    figure.savefig(picture, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
