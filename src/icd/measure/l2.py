"""L2 and DRAM traffic of one forward, from Nsight Compute (ncu): its command line, and reading its output.

Sums over the kernels of the forward; percentages are never averaged:

    sectors            srcunit_tex_op_read lookup hit + miss, 32 bytes each: what the SMs read through L2
    l2_served_pct      100 (1 - dram bytes read / (32 sectors)): the share that did not come from DRAM
    l2_lookup_hit_pct  100 hit / sectors; on Hopper distorted by sector promotion and the far partition
    dram_bytes_per_token  (dram bytes read + written) / tokens

A CUDA graph is profiled as one (``--graph-profiling graph``): its kernels run as they are timed, and it takes
a fraction of a second. A warm and a cold cache are differences of two graphs (`icd.measure.regimes`). Kernel
by kernel (``node``) tells which of them move the bytes, each at a cost of its own and in a cache of ncu's
making. A marker kernel stands before everything that is profiled. Everything here is a pure function;
`icd.pipeline.profiling` runs ncu.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SECTOR_BYTES = 32
HIT = "lts__t_sectors_srcunit_tex_op_read_lookup_hit.sum"
MISS = "lts__t_sectors_srcunit_tex_op_read_lookup_miss.sum"
ALL = "lts__t_sectors.sum"
ALL_HIT = "lts__t_sectors_lookup_hit.sum"
READ = "dram__bytes_read.sum"
WRITE = "dram__bytes_write.sum"
UNITS = {HIT: "sector", MISS: "sector", ALL: "sector", ALL_HIT: "sector", READ: "byte", WRITE: "byte"}
FLAGS = (
    *("--clock-control", "none"),
    *("--cache-control", "none"),
    *("--profile-from-start", "off"),
    *("--target-processes", "application-only"),
    *("--print-units", "base"),
    "--csv",
)
BY_NCU = "ncu: "  # before an error in ncu's own words
MARKER = "spin_kernel"  # what torch.cuda._sleep launches
COLUMNS = ("ID", "Kernel Name", "Metric Name", "Metric Unit", "Metric Value")
# what ncu says when it never will read a counter here -> reason and remedy
FINAL = {
    "ERR_NVGPUCTRPERM": "the driver lets only administrators read GPU counters (ERR_NVGPUCTRPERM); run as "
    "root, in a container with --cap-add=SYS_ADMIN, or load the driver with "
    "NVreg_RestrictProfilingToAdminUsers=0",
    "LibraryNotLoaded": "ncu cannot load its profiling library here (LibraryNotLoaded), as in some "
    "virtualised machines; run on one that passes the GPU's counters through",
    "is not supported": "ncu does not support this GPU or driver; install a newer Nsight Compute",
    "Failed to find metric": "this GPU or this ncu does not have a metric that icd reads",
    "unrecognised option": "this ncu lacks an option that icd needs; install a newer Nsight Compute",
}
NO_METRIC = re.compile(r"Failed to find metric\W*(?:regex:\W*)?(\w+\.\w+)")
NUMBER = re.compile(r"(\d{1,3}(,\d{3})+|\d+)(\.\d+)?")
POINTS = re.compile(r"\d{1,3}(\.\d{3})+")  # 1.234: a thousand and more where a point stands between thousands


class Kernel(NamedTuple):
    """One launch: its name and the value of each metric, in sectors or bytes."""

    name: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Profile:
    """The kernels of one forward, in launch order."""

    kernels: tuple[Kernel, ...]

    def total(self, metric: str) -> float:
        """The metric summed over kernels."""
        return sum(kernel.values[metric] for kernel in self.kernels)

    def top(self, count: int = 10) -> list[dict[str, Any]]:
        """Kernels of one name together, by DRAM bytes: ``{name, launches, dram_bytes, share}``."""
        found: dict[str, list[float]] = defaultdict(list)
        for kernel in self.kernels:
            found[kernel.name].append(kernel.values[READ] + kernel.values[WRITE])
        total = self.total(READ) + self.total(WRITE)
        order = sorted(found, key=lambda name: (-sum(found[name]), name))[:count]
        return [
            {
                "name": name,
                "launches": len(found[name]),
                "dram_bytes": sum(found[name]),
                "share": sum(found[name]) / total if total else 0.0,
            }
            for name in order
        ]


@dataclass(frozen=True)
class Failure:
    """A forward that was not profiled; ``final`` when another attempt cannot help."""

    reason: str
    final: bool = False


@dataclass(frozen=True)
class Rates:
    """The figures of one forward; percentages from 0 to 100, bytes of DRAM traffic per token."""

    l2_served_pct: float
    l2_lookup_hit_pct: float
    dram_bytes_per_token: float


def command(ncu: str, log: str, graphs: str, metrics: Iterable[str] = UNITS) -> tuple[str, ...]:
    """The words in front of the profiled program's own; ncu writes its output to the file ``log``.

    ``graphs``: what a CUDA graph is profiled as, one ``graph`` or kernel by kernel, ``node``.
    """
    return (ncu, *FLAGS, "--graph-profiling", graphs, "--metrics", ",".join(metrics), "--log-file", log)


def parse(text: str, metrics: Iterable[str] = UNITS) -> Profile | Failure:
    """What ncu wrote: CSV, one row a kernel and metric, between lines that begin with ``==``.

    A Failure where ncu reports an error, profiled nothing, or left one of ``metrics`` of a kernel out.
    """
    hopeless = final(text)
    if hopeless:
        return hopeless
    errors = [line.removeprefix("==ERROR==").strip() for line in text.splitlines() if "==ERROR==" in line]
    if errors:
        return Failure(BY_NCU + re.sub(r" in process .*", "", errors[0]))
    rows = list(csv.reader(line for line in text.splitlines() if line.startswith('"')))
    if len(rows) < 2:
        return Failure("ncu profiled no kernel")
    at = {name: k for k, name in enumerate(rows[0])}
    lacking = [name for name in COLUMNS if name not in at]
    if lacking:
        return Failure(f"ncu's table lacks the columns {', '.join(lacking)}", final=True)
    names: dict[str, str] = {}
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows[1:]:
        if len(row) != len(rows[0]):
            return Failure(f"ncu wrote a row of {len(row)} cells where {len(rows[0])} are expected")
        number, name, metric, unit, value = (row[at[column]] for column in COLUMNS)
        names[number] = name
        if metric not in UNITS:
            continue
        if POINTS.fullmatch(value):
            return Failure(f"{metric}: {value} may be a fraction or thousands; is LC_ALL set?", final=True)
        if not NUMBER.fullmatch(value):
            return Failure(f"kernel {name}: no value of {metric} ({value or 'empty'})")
        if unit != UNITS[metric]:
            return Failure(f"{metric}: expected the unit {UNITS[metric]}, got {unit}", final=True)
        values[number][metric] = float(value.replace(",", ""))
    for number, name in names.items():
        absent = [metric for metric in metrics if metric not in values[number]]
        if absent:
            return Failure(f"kernel {name}: {', '.join(absent)} not collected")
    return Profile(tuple(Kernel(name, values[number]) for number, name in names.items()))


def final(text: str) -> Failure | None:
    """Why another attempt cannot help, if an ``==ERROR==`` of ``text`` says so."""
    errors = [line[line.index("==ERROR==") :] for line in text.splitlines() if "==ERROR==" in line]
    for sign, reason in FINAL.items():
        if any(sign in error for error in errors):
            named = dict.fromkeys(name for error in errors for name in NO_METRIC.findall(error))
            return Failure(f"{reason}: {', '.join(named)}" if named else reason, final=True)
    return None


def forwards(profile: Profile, count: int) -> list[Profile] | Failure:
    """What stands between ``count`` markers; a Failure unless there are as many, each with a kernel."""
    out: list[list[Kernel]] = []
    for kernel in profile.kernels:
        if MARKER in kernel.name:
            out.append([])
        elif not out:
            return Failure(f"kernel {kernel.name} was profiled before any forward began")
        else:
            out[-1].append(kernel)
    if len(out) != count or not all(out):
        full = sum(bool(kernels) for kernels in out)
        return Failure(f"expected {count} profiled forwards, got {full}")
    return [Profile(tuple(kernels)) for kernels in out]


def rates(profile: Profile, tokens: int, slack_bytes: float = 0.0) -> Rates | Failure:
    """The figures of one forward over ``tokens``; a Failure where a rate is not within 0 and 1.

    DRAM reads beyond what was read through the L2, or below 0, by ``slack_bytes`` at most: nothing was
    served, or all of it.
    """
    sectors = profile.total(HIT) + profile.total(MISS)
    if sectors <= 0:
        return Failure("the kernels read no sector through L2: the counters did not count")
    served = 1.0 - profile.total(READ) / (SECTOR_BYTES * sectors)
    if -slack_bytes <= SECTOR_BYTES * sectors - profile.total(READ) < 0.0:
        served = 0.0
    if -slack_bytes <= profile.total(READ) < 0.0:
        served = 1.0
    hit = profile.total(HIT) / sectors
    for name, rate in (("served", served), ("lookup hit", hit)):
        if not 0.0 <= rate <= 1.0:
            return Failure(f"a {name} rate of {rate:.4f}: expected 0 to 1")
    return Rates(100.0 * served, 100.0 * hit, (profile.total(READ) + profile.total(WRITE)) / tokens)


def sums(profile: Profile, metrics: Sequence[str] = tuple(UNITS)) -> dict[str, float]:
    """Every metric summed over the kernels."""
    return {metric: profile.total(metric) for metric in metrics}
