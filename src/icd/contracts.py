"""The values that stages hand to one another, and the protocols that stages implement.

Symbols used throughout the package:

    D     size of a site, in channels
    pi    a layout, int32 of shape (D,): ``pi[new_position] = old_index``
    live  bool of shape (D,): False for channels that the transform removed
    W     co-access graph, symmetric non-negative zero-diagonal CSR of shape (D, D)

Layouts, graphs, nets and live masks of one run all refer to the channel order of the *dense* model;
only a permuted module is in another order, and the layouts that led there travel with it.

This file imports numpy alone, so that every stage can import it cheaply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

IntArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Layouts = Mapping[str, IntArray]
Inputs = Mapping[str, "torch.Tensor"]


# --- sites ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorAxis:
    """One dimension of one parameter or buffer that is tied to a site.

    The site's channel ``c`` owns the indices ``offset + c*repeat ... offset + (c+1)*repeat - 1`` of
    dimension ``dim``; indices outside the site's span (the other half of a fused axis) stay in place.
    """

    parameter: str
    dim: int
    offset: int = 0
    repeat: int = 1

    def expand(self, channels: NDArray[Any], size: int, length: int) -> NDArray[np.int64]:
        """Indices along this dimension (of ``length``) that select ``channels`` of a site of ``size``.

        Indices before and behind the site's span are kept, so the result serves for permuting
        (``channels`` a permutation) and for slicing (``channels`` a subset) alike.
        """
        span = size * self.repeat
        if self.offset + span > length:
            raise ValueError(
                f"axis {self.dim} of {self.parameter} has {length} entries; a site of {size} channels "
                f"x {self.repeat} at offset {self.offset} needs {self.offset + span}"
            )
        inner = np.asarray(channels, np.int64)[:, None] * self.repeat + np.arange(self.repeat)
        return np.concatenate(
            [np.arange(self.offset), self.offset + inner.ravel(), np.arange(self.offset + span, length)]
        )


@dataclass(frozen=True)
class Site:
    """One permutable axis of a model with everything tied to it. Its axes may repeat differently.

    ``group`` names the kind (``neurons``, ``heads``, ``d_inner``); ``activation`` names the module that
    reads the site: one of the axes is its input dimension (`icd.consumers` says where the site lies in what
    enters it; ``activation_dim`` says it where that does not follow from the module's kind). ``counts`` lists
    module attributes ``(path, factor)`` that hold ``factor`` x the number of channels and must follow when
    channels are sliced away.

    ``factors``, where a site's activations enter no module: the rows of the linear layers whose outputs,
    multiplied channel by channel, are the activations (Q and K dimensions); ``activation`` then names the
    layer that reads what comes of them. ``grain``: elements of a block where an engine may cut finer than
    a tile. Sites with the same ``peers`` are cut to the same width. A site with ``output`` is the order of
    the model's output as well: it is permuted, never removed.
    """

    name: str
    size: int
    axes: tuple[TensorAxis, ...]
    group: str
    activation: str
    counts: tuple[tuple[str, int], ...] = ()
    factors: tuple[TensorAxis, ...] = ()
    grain: int | None = None
    peers: str = ""
    output: bool = False
    activation_dim: int | None = None

    @property
    def repeat(self) -> int:
        """Elements per channel on the widest axis: 1 for neurons, the head size for heads."""
        return max(axis.repeat for axis in self.axes)

    def block(self, tile_cols: int) -> int:
        """Channels of one block: those in a tile's columns, or in a grain; a wider channel is its own.

        Solver, referee and engine all count in these blocks.
        """
        return max(1, min(tile_cols, self.grain or tile_cols) // self.repeat)


def check_permutation(pi: NDArray[Any], size: int, where: str) -> IntArray:
    """``pi`` as int32 after checking that it is a permutation of ``range(size)``."""
    pi = np.asarray(pi)
    if pi.shape != (size,) or not np.array_equal(np.sort(pi), np.arange(size)):
        raise ValueError(f"{where}: expected a permutation of {size} channels, got shape {pi.shape}")
    return pi.astype(np.int32)


def inverse(pi: NDArray[Any]) -> IntArray:
    """``pos`` with ``pos[pi[k]] = k``."""
    out = np.empty(len(pi), np.int32)
    out[pi] = np.arange(len(pi), dtype=np.int32)
    return out


# --- workload ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelCard:
    """What the record says about the model.

    A ``simulated`` model runs on a device that exists in the cache simulator only.
    """

    name: str
    family: str
    params: int
    weights: str
    source: str
    sha256: str | None = None
    licence: str | None = None
    tags: tuple[str, ...] = ()
    simulated: bool = False


class Footprint(NamedTuple):
    """What a model's memory is estimated from (`icd.pipeline.memory`).

    ``params``: parameters; ``tokens``: batch x seq_len; ``activations``: bytes in float32 that are alive at
    once in a forward over them; ``channels``: of all sites together; ``sites``: how many there are.
    """

    params: int
    tokens: int
    activations: int
    channels: int
    sites: int


@dataclass(frozen=True)
class Accesses:
    """Recorded reads of a site's channels, in dense order.

    Record k reads channel ``source[k]``, then ``target[k]`` (both int64, (records,)), ``weight[k]`` times
    (float64, above 0).
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: FloatArray


@dataclass(frozen=True)
class Workload:
    """A model ready to be transformed, executed and measured.

    ``forward(module, inputs)`` returns the tensor whose function must be kept, (batch, ...), for a language
    model (batch, seq_len, width). ``tokens``: of one forward over ``inputs``. ``rows``: sequences of a batch,
    0 for as many as the first input has; ``batch_dims``: the dimension in which an input holds them, by name
    (what is not named has none and is never cut). ``order`` holds the layouts already applied to ``module``;
    ``live`` the channels that are live, in dense order (sites that are not named are all live).
    ``fuse(module)``, if there is one, rewrites a module in place into an equal one of fewer kernels; engines
    call it when no site has to be found any more. For the record: ``choices(device)``, what the forward
    chooses by itself on a device (which scan); ``notes``, what a transform says of what it did; ``texts``,
    which files of the user's its text is from. ``accesses`` holds recorded reads of sites, where a workload
    is a trace.
    """

    module: torch.nn.Module
    forward: Callable[[torch.nn.Module, Inputs], torch.Tensor]
    inputs: Inputs
    sites: tuple[Site, ...]
    card: ModelCard
    calibration: tuple[Inputs, ...] = ()
    probes: tuple[Inputs, ...] = ()
    order: Layouts = field(default_factory=dict)
    live: Mapping[str, BoolArray] = field(default_factory=dict)
    tokens: int = 0
    rows: int = 0
    batch_dims: Mapping[str, int] = field(default_factory=dict)
    fuse: Callable[[torch.nn.Module], None] | None = None
    choices: Callable[[str], Mapping[str, Any]] = field(default=lambda device: {})
    notes: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    accesses: Mapping[str, Accesses] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Sequences (rows of features, images) in one forward over ``inputs``."""
        return self.rows or next((len(x) for x in self.inputs.values() if x.dim()), 1)

    def site(self, name: str) -> Site:
        """The site called ``name``; KeyError names the sites there are."""
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(f"no site {name!r}; there are {', '.join(s.name for s in self.sites)}")

    def layout(self, site: Site) -> IntArray:
        """The layout applied to ``site`` so far, identity if none."""
        return np.asarray(self.order.get(site.name, np.arange(site.size, dtype=np.int32)))

    def live_mask(self, site: Site) -> BoolArray:
        """Live channels of ``site`` in dense order."""
        return np.asarray(self.live.get(site.name, np.ones(site.size, bool)))

    def with_module(self, module: torch.nn.Module, **changes: Any) -> Workload:
        """The same workload around another module."""
        return replace(self, module=module, **changes)


@dataclass(frozen=True)
class Activations:
    """Activations of calibration tokens at each site, in dense order.

    ``values[site]``: float32 (tokens, D), the norm over the elements of a channel that enter the consumer;
    ``norms[site]``: float64 (D * repeat,), the root of the summed squares of each element, ``repeat`` being
    that of the consumer's axis; spans of several follow one another. A token is a position of what enters a
    consumer: a time step or a pixel of a convolution. ``tokens`` counts those of the site that has most.
    """

    values: Mapping[str, NDArray[np.float32]]
    norms: Mapping[str, FloatArray]
    tokens: int


# --- graph and solver ----------------------------------------------------------------------------


@dataclass(frozen=True)
class CoAccess:
    """The co-access graph of one site; ``source`` says how it was made."""

    W: csr_matrix
    source: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Nets:
    """Which channels each (weight, tile row) needs.

    ``matrix``: CSR bool (nets, D); ``weights``: bytes of one tile of that net, float64 (nets,).
    """

    matrix: csr_matrix
    weights: FloatArray


@dataclass(frozen=True)
class Layout:
    """A solver's answer: ``pi`` int32 (D,) and what it took and reached.

    ``stats`` keys: ``before`` and ``after`` (each ``T, C, Q, R_align, R_stab, J``), ``improved``,
    ``candidates`` (name -> ``T, C, Q, J``), ``chosen``, ``proposals``, ``seconds``, ``time_limited``.
    """

    pi: IntArray
    stats: Mapping[str, Any]


# --- runtime and measure -------------------------------------------------------------------------


@runtime_checkable
class Step(Protocol):
    """One forward of one arm, ready to be timed.

    ``executed`` says what runs: dtype, engine per site, kernels, scan, graph capture.
    """

    @property
    def executed(self) -> Mapping[str, Any]: ...

    @property
    def module(self) -> torch.nn.Module: ...

    def __call__(self) -> torch.Tensor:
        """Run on the timed inputs."""
        ...

    def on(self, inputs: Inputs) -> torch.Tensor:
        """Run on other inputs through the same engine (quality)."""
        ...


@runtime_checkable
class LinearLike(Protocol):
    """A linear layer in whatever precision: torch's own, a rounded or an executed eight-bit one."""

    in_features: int
    out_features: int


class Reads(NamedTuple):
    """Reads of one forward in order: ``length`` elements from ``first`` on, int64 (reads,), of ``span``."""

    first: NDArray[np.int64]
    length: int
    span: int


@runtime_checkable
class AccessTrace(Protocol):
    """A module that reads its memory as recorded data says; the cache simulator replays it."""

    def recorded_reads(self, inputs: Inputs) -> Reads: ...


class Work(NamedTuple):
    """Arithmetic of one operator in one call, and its least bytes: every operand and result once.

    ``kind``: linear, attention, scan, ...; ``rate``: the format whose peak rate bounds it (fp32, bf16, fp8,
    ...); ``weight_bytes``: how many of ``bytes`` are parameters.
    """

    kind: str
    rate: str
    flops: float
    bytes: float
    weight_bytes: float


@runtime_checkable
class OwnWork(Protocol):
    """A module that says itself what it computes beside the modules below it.

    For operators that are no module of torch's (a scan), and for layers that execute less than
    ``in_features`` x ``out_features``. ``x`` is what the module is called on.
    """

    def own_work(self, x: torch.Tensor) -> Iterable[Work]: ...


class Sample(NamedTuple):
    """One raw sample; a row of ``samples.csv.gz``.

    A block is the rows of one (arm, metric, process, allocation, round); ``order`` is the arm's
    position in its round; ``iteration`` counts inside the block. ``source``: measured | simulated.
    ``clock`` (MHz) and ``temperature`` (degrees C) are those seen around the block, None if unread.
    """

    arm: str
    metric: str
    process: int
    allocation: int
    round: int
    order: int
    iteration: int
    value: float
    unit: str
    source: str
    clock: float | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Missing:
    """A value that is not there, and why; written as null with a sibling ``reason``."""

    reason: str


# --- protocols: a method is a frozen dataclass whose fields are its configuration ------------------


class Model(Protocol):
    """Builds a workload in float32 on the CPU; deterministic once `resolve` has settled open choices."""

    simulated: ClassVar[bool]

    @property
    def name(self) -> str: ...

    def check(self) -> None: ...

    def resolve(self) -> Model: ...

    def footprint(self) -> Footprint | None:
        """What a run's memory is estimated from; None where that is not known before it is built."""
        ...

    def build(self) -> Workload: ...


class Graph(Protocol):
    """Co-access graphs of every site of a dense workload."""

    def needs_activations(self) -> bool: ...

    def build(self, workload: Workload, activations: Activations | None) -> dict[str, CoAccess]: ...


class Solver(Protocol):
    """A layout of one site. ``block`` and ``line`` are in channels."""

    @property
    def objective(self) -> Any: ...

    def solve(
        self, W: csr_matrix, nets: Nets | None, *, block: int, line: int, previous: IntArray | None
    ) -> Layout: ...


class Transform(Protocol):
    """Removes or changes values; never in place. The result's ``live`` says what is left.

    ``order``: ``sparsity_first``, or ``precision_first`` for weights that are rounded beforehand.
    """

    @property
    def order(self) -> str: ...

    def needs_activations(self) -> bool: ...

    def apply(self, workload: Workload, activations: Activations | None) -> Workload: ...


class PrecisionSpec(Protocol):
    """What an arm's module computes in, executed where the device can, else as ``on_missing`` says."""

    def resolve(self, device: str) -> str: ...

    def executes(self, device: str) -> bool: ...

    def check(self, device: str) -> None: ...

    def element_bytes(self, device: str) -> int: ...

    def tolerance(self, device: str) -> float: ...

    def cast(self, module: torch.nn.Module, device: str) -> tuple[torch.nn.Module, dict[str, Any]]: ...

    def round_weights(self, module: torch.nn.Module, device: str) -> torch.nn.Module | None: ...

    def needs_calibration(self, device: str) -> bool: ...


class Engine(Protocol):
    """Turns a workload into a step that profits from its layout as far as the engine can."""

    @property
    def tile_rows(self) -> int: ...

    @property
    def tile_cols(self) -> int: ...

    def prepare(self, workload: Workload, precision: PrecisionSpec, device: str) -> Step: ...


class Quality(Protocol):
    """How good a step's output is, against a reference step where the metric needs one."""

    def evaluate(
        self, step: Step, reference: Step, probes: Iterable[Inputs], card: ModelCard
    ) -> tuple[str, float] | Missing: ...
