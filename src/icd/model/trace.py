"""A recorded co-access trace instead of a neural model: a table whose rows are read along the trace.

The forward reads row ``src`` and then row ``dst`` of every record and adds them up, so that any order of
the rows gives the same output; what a layout changes is which cache lines those reads touch. The cache
simulator replays exactly these reads, on the device that ``hardware`` names; nothing is timed.

A trace says which rows are read, not what is in them. A row is a seeded direction whose squared norm is
its share of the reads, so that scores by magnitude and by wanda both remove the rows that are read least.
A weight is a number of reads, in units of the smallest one: there are round(sum w / min w) reads, or
``max_reads`` where that is fewer, and a record gets its share of them, rounded up or down so that the shares
of all records before it are kept (systematic sampling: nothing is drawn). It is read once in each pass over
the trace. What was executed says what a read stands for, and how many records are too light for one; graph
and T always have the exact weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from icd.contracts import Accesses, Footprint, ModelCard, Workload
from icd.errors import ConfigError
from icd.model.trace_file import MAX_ROWS, locate, read
from icd.model.trace_planted import planted
from icd.reading import sha256

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs

ELEMENT_BYTES = 4
PLANTED_ROWS = 2048
MOST_READS = 1 << 26  # two row numbers of eight bytes each, several times over
WINDOWS = 256  # sequences that the trace is cut into for calibration


@dataclass(frozen=True)
class Trace:
    """The trace in ``path``, or a planted one of ``records`` drawn from ``seed``.

    ``rows``: rows of the table (None: the largest row named, or 2,048 for a planted one); ``row_bytes``:
    of one row in float32, half of it in 16 bits.
    """

    simulated: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, int]] = {"rows": 256, "row_bytes": 32, "records": 4096, "group": 16}

    name: str
    path: str | None
    rows: int | None
    row_bytes: int
    max_reads: int
    records: int
    group: int
    inside: float
    burst: int
    weak: float
    precision: str
    batch_size: int | None
    seq_len: int | None
    seed: int

    def __post_init__(self) -> None:
        if self.batch_size is not None or self.seq_len is not None:
            raise ConfigError("model=trace reads the whole trace; leave batch_size and seq_len null")
        if self.precision in ("fp8", "int8"):
            raise ConfigError(
                f"precision={self.precision} is that of linear layers and model=trace has none; "
                "use auto, fp32, bf16 or fp16"
            )
        if self.row_bytes < ELEMENT_BYTES or self.row_bytes % ELEMENT_BYTES or self.row_bytes > 4096:
            raise ConfigError(f"model.row_bytes={self.row_bytes}: expected a multiple of 4 up to 4096")
        if self.rows is not None and not 2 <= self.rows <= MAX_ROWS:
            raise ConfigError(f"model.rows={self.rows}: expected null or 2 to {MAX_ROWS}")
        if min(self.max_reads, self.records, self.burst) < 1 or self.group < 2:
            raise ConfigError(
                "model=trace: expected max_reads, records and burst of 1 or more and group of 2 or more"
            )
        if max(self.max_reads, self.records) > MOST_READS:
            raise ConfigError(f"model=trace: expected max_reads and records of at most {MOST_READS:,}")
        if not 0 <= self.inside <= 1 or not 0 <= self.weak <= 1:
            raise ConfigError("model.inside and model.weak: expected numbers from 0 to 1")

    def check(self) -> None:
        """MissingResource where the trace is not, ConfigError where it cannot be read."""
        if self.path is not None:
            read(locate(self.path), self.rows)

    def resolve(self) -> Trace:
        """Nothing is left open."""
        return self

    def footprint(self) -> Footprint | None:
        """Of the table and the reads; of a recorded trace without ``rows`` not known before it is read."""
        if self.path is not None and self.rows is None:
            return None
        size, elements = self.rows or PLANTED_ROWS, self.row_bytes // ELEMENT_BYTES
        reads = self.max_reads if self.path else min(self.max_reads, self.records)
        return Footprint(size * elements, reads, 4 * (3 * reads + WINDOWS * size) * elements, size, 1)

    def build(self) -> Workload:
        """The table in float32 on the CPU, and the reads as its timed inputs."""
        from icd.model.trace_module import TraceModel

        accesses, size, card, texts = self._recorded() if self.path else self._planted()
        src, dst, unit, unread = unroll(accesses, self.max_reads)
        module = TraceModel(self._rows(accesses, size)).eval().requires_grad_(False)
        return Workload(
            module=module,
            forward=_forward,
            inputs=_batch(src, dst, 1),
            sites=module.sites(),
            card=card,
            calibration=windows(src, dst, min(WINDOWS, len(src))),
            tokens=len(src),
            choices=partial(
                _choices,
                {
                    "records": len(accesses.weight),
                    "reads": len(src),
                    "weight_of_a_read": unit,
                    **({"records_without_a_read": unread} if unread else {}),
                },
            ),
            texts=texts,
            accesses={"rows": accesses},
        )

    def _recorded(self) -> tuple[Accesses, int, ModelCard, dict[str, Mapping[str, Any]]]:
        assert self.path is not None
        path = locate(self.path)
        accesses, size = read(path, self.rows)
        digest = sha256(path)
        card = self._card(size, "drawn", path.name, digest)
        return accesses, size, card, {"path": {"file": path.name, "sha256": digest}}

    def _planted(self) -> tuple[Accesses, int, ModelCard, dict[str, Mapping[str, Any]]]:
        size = self.rows or PLANTED_ROWS
        accesses = planted(
            size,
            group=self.group,
            records=self.records,
            inside=self.inside,
            burst=self.burst,
            weak=self.weak,
            seed=self.seed,
        )
        return accesses, size, self._card(size, "planted", f"generated trace, seed {self.seed}", None), {}

    def _card(self, size: int, weights: str, source: str, digest: str | None) -> ModelCard:
        params = size * self.row_bytes // ELEMENT_BYTES
        return ModelCard(
            self.name, "trace", params, weights, source, digest, tags=("simulated",), simulated=True
        )

    def _rows(self, accesses: Accesses, size: int) -> torch.Tensor:
        """(D, elements a row); the squared norm of a row is its share of the reads, times D."""
        import torch

        use = np.bincount(accesses.source, accesses.weight, size)
        use += np.bincount(accesses.target, accesses.weight, size)
        rows = np.random.default_rng([self.seed, 1]).standard_normal((size, self.row_bytes // ELEMENT_BYTES))
        rows *= np.sqrt(use / use.mean())[:, None] / np.linalg.norm(rows, axis=1, keepdims=True)
        return torch.from_numpy(rows.astype(np.float32))


def unroll(accesses: Accesses, max_reads: int) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Source and target of every read in order, int64 (reads,), the weight that one read stands for, and how
    many records are not read.

    Pass k reads, in the order of the trace, the records that are read k times or more. A record's reads
    differ by less than one from its share of at most ``max_reads``.
    """
    share = accesses.weight / accesses.weight.max()
    total = float(share.sum())
    reads = max_reads if share.min() * max_reads < total else round(total / float(share.min()))
    until = np.cumsum(share) * (reads / total)  # of the reads, those due when a record has had its own
    until[-1] = reads
    due = np.floor(until + 0.5).astype(np.int64)
    times = due - np.concatenate([[0], due[:-1]])
    unit = float(accesses.weight.max()) * total / reads
    record = np.repeat(np.arange(len(times)), times)
    turn = np.arange(len(record)) - np.repeat(np.cumsum(times) - times, times)
    order = record[np.lexsort((record, turn))]
    return accesses.source[order], accesses.target[order], unit, int((times == 0).sum())


def windows(src: np.ndarray, dst: np.ndarray, count: int) -> tuple[Inputs, ...]:
    """The reads in order, cut into ``count`` sequences of one length and a last one of what is left over."""
    length = len(src) // count
    cut = count * length
    whole = _batch(src[:cut], dst[:cut], count)
    return (whole, _batch(src[cut:], dst[cut:], 1)) if cut < len(src) else (whole,)


def _batch(src: np.ndarray, dst: np.ndarray, sequences: int) -> Inputs:
    """int64 (sequences, reads) of source and target."""
    import torch

    return {
        name: torch.from_numpy(x.reshape(sequences, -1).copy()) for name, x in (("src", src), ("dst", dst))
    }


def _choices(trace: Mapping[str, Any], device: str) -> Mapping[str, Any]:
    return {"trace": dict(trace)}


def _forward(module: torch.nn.Module, inputs: Inputs) -> torch.Tensor:
    """(batch, reads) twice to (batch, reads, elements a row)."""
    return module(inputs["src"], inputs["dst"])
