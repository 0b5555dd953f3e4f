"""Quality against time, one panel an instance: python benchmarks/solver/plot.py results.csv results.png."""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def draw(table: Path, picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with table.open() as file:
        rows = list(csv.DictReader(file))
    names = list(dict.fromkeys(row["instance"] for row in rows))
    figure, axes = plt.subplots(
        2, -(-len(names) // 2), figsize=(4.2 * -(-len(names) // 2), 7.6), squeeze=False
    )
    for axis, name in zip(axes.flat, names, strict=False):
        key = "T" if any(row["T"] for row in rows if row["instance"] == name) else "Q"
        for row in (row for row in rows if row["instance"] == name):
            mine = row["method"].startswith(("tile", "louvain"))
            x, y = max(float(row["seconds"]), 1e-3), float(row[key])
            axis.plot(x, y, "o", color="tab:red" if mine else "tab:blue")
            axis.annotate(row["method"], (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7)
        axis.set_xscale("log")
        axis.margins(0.18)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("seconds")
        axis.set_ylabel(
            "non-empty tiles (lower is better)" if key == "T" else "modularity (higher is better)"
        )
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(picture, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
