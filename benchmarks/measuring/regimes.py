"""Whether a forward that ncu profiles finds the cache as it was left; on a GPU with ncu; writes regimes.csv.

    python benchmarks/measuring/regimes.py [--replay kernel app-range ...] [--out FOLDER]

One CUDA graph of one kernel reads 8 MB and writes 8 MB, far less than the L2 holds. It is profiled with the
flags of a run, under each of ncu's ways to replay, after

    again     itself: both buffers lie in the cache, so next to nothing should come from or go to DRAM
    read      `icd.measure.cold.Flush`: 8 MB should come from DRAM
    written   a buffer of four times the L2 that was written: the same, and up to the L2's size written back
    twice     `Flush` again, and the graph holds the kernel two times: what it reads beyond ``read`` is what a
              forward finds that follows its like, whatever ncu does before the first

Where ``again`` reads what ``read`` does, ncu empties the cache before what it profiles, and figures of a warm
cache cannot be had that way. ``passes``: how often ncu ran it, in a call of its own; above 1 the later ones
find what the first left behind.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from icd.contracts import Missing
from icd.measure.cold import TIMES_L2, Flush
from icd.measure.l2 import HIT, MISS, READ, SECTOR_BYTES, WRITE, Failure, command, forwards, parse
from icd.pipeline.isolate import PLAIN_NUMBERS
from icd.pipeline.underncu import find_ncu
from icd.runtime.accelerate import capture

BEFORE = ("again", "read", "written", "twice")
LAUNCHES = 3
PASSES = "profiler__replayer_passes"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replay", nargs="+", default=["kernel", "app-range"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        profiled()
        return
    ncu = find_ncu()
    if isinstance(ncu, Missing):
        sys.exit(f"regimes: {ncu.reason}")
    rows = [row for replay in given.replay for row in measure(ncu, replay)]
    given.out.mkdir(parents=True, exist_ok=True)
    if rows:
        with (given.out / "regimes.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def measure(ncu: str, replay: str) -> list[dict[str, str]]:
    """A row for each of `BEFORE`; none where ncu does not do it this way, and then what it says."""
    found = parse(run(ncu, replay))
    if replay == "kernel" and not isinstance(found, Failure):
        found = forwards(found, LAUNCHES * len(BEFORE))
    if isinstance(found, Failure):
        print(f"{replay}: {found.reason}", flush=True)
        return []
    each = found if isinstance(found, list) else [type(found)((kernel,)) for kernel in found.kernels]
    passes = run(ncu, replay, PASSES).splitlines()
    seen = {line.split('","')[-1].rstrip('"') for line in passes if PASSES in line}
    out = []
    for k, before in enumerate(BEFORE):
        mine = each[k * LAUNCHES : (k + 1) * LAUNCHES]
        totals = {m: statistics.median(p.total(m) for p in mine) for m in (READ, WRITE, HIT, MISS)}
        row = {
            "replay": replay,
            "before": before,
            "dram_read_mb": f"{totals[READ] / 1e6:.3f}",
            "dram_write_mb": f"{totals[WRITE] / 1e6:.3f}",
            "read_through_l2_mb": f"{SECTOR_BYTES * (totals[HIT] + totals[MISS]) / 1e6:.3f}",
            "passes": " ".join(sorted(seen)) or "not told",
        }
        print(*row.values(), flush=True)
        out.append(row)
    return out


def run(ncu: str, replay: str, metrics: str | None = None) -> str:
    """What ncu writes of this script's child."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        words = list(command(ncu, str(log), "graph"))
        if metrics:
            words[words.index("--metrics") + 1] += f",{metrics}"
        words += ["--replay-mode", replay, sys.executable, __file__, "--child"]
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **PLAIN_NUMBERS})
        return log.read_text() if log.is_file() else f"==ERROR== {(done.stdout + done.stderr).strip()[-300:]}"


def profiled() -> None:
    """The process that ncu watches."""
    x = torch.randn(2 << 20, device="cuda")  # 8 MB
    replay, _ = capture(lambda: x + 1)
    flush = Flush("cuda")
    size = torch.cuda.get_device_properties("cuda").L2_cache_size
    buffer = torch.empty(TIMES_L2 * size, dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    twice, _ = capture(lambda: (torch.add(x, 1, out=y), torch.add(x, 1, out=y))[1])
    make = {"again": replay, "read": flush, "written": buffer.zero_, "twice": flush}
    for before in BEFORE:
        for _ in range(LAUNCHES):
            replay()
            make[before]()
            torch.cuda.synchronize()
            torch.cuda.cudart().cudaProfilerStart()
            torch.cuda._sleep(1)
            (twice if before == "twice" else replay)()
            torch.cuda.synchronize()
            torch.cuda.cudart().cudaProfilerStop()


if __name__ == "__main__":
    main()
