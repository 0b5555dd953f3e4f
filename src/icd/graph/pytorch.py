"""W from the operator graph: channels that operators close to one another read are needed together.

Every operator that reads a weight tied to the site is an event. For channels i and j

    W_ij = sum over pairs of events (p, q), p = q included, of
           reuse_decay^hops(p, q) * bytes(p, q) * P_i . Q_j,        made symmetric

    P_i         absolute values of what event p reads of channel i, along the weight's other axis, scaled so
                that the mean square over channels is 1; P . Q is the dot product where both weights have
                equally many entries on that axis, else the product of the norms
    hops(p, q)  operators between p and q on the undirected graph plus one, 0 for p = q; views, transposes
                and slices are no operators (`icd.graph.operators`)
    bytes(p, q) sqrt(bytes(p) bytes(q)) of the tied weight that the events read, as a share of the site's
                largest; 1 with ``byte_weight=false``

``hops`` 0 looks at each operator alone and resembles graph=weights; with 2, an up-projection and the
down-projection behind its activation meet, so that a channel that writes what another one reads is its
neighbour. ``reuse_decay``: what a further hop leaves of the chance that a line is still in the cache.
``max_len``: two events count only when at most that many operators apart in the order of execution, however
short a residual connection makes the way between them; it bounds unrolled loops over time too (Mamba's
scan is one operator, whatever its length, but for ``model.scan=reference``). Biases and other
tensors of one dimension are not counted: they say nothing about which channels go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from icd.contracts import Activations, CoAccess, FloatArray, Site, TensorAxis, Workload
from icd.errors import ConfigError
from icd.graph.operators import OperatorGraph, trace
from icd.graph.sparsify import Normalize, check_caps, sparsify
from icd.graph.tied import tied_weights
from icd.tensors import first_names, tensor


@dataclass(frozen=True)
class Pytorch:
    """Co-access by nearness on the operator graph of one forward."""

    hops: int
    reuse_decay: float
    max_len: int
    byte_weight: bool
    per_row: int
    nnz_cap: int
    normalize: Normalize

    def __post_init__(self) -> None:
        check_caps(per_row=self.per_row, nnz_cap=self.nnz_cap)
        if self.hops < 0 or self.max_len < 0:
            raise ConfigError("graph.hops and graph.max_len: expected 0 or more")
        if not 0 <= self.reuse_decay <= 1:
            raise ConfigError(f"graph.reuse_decay={self.reuse_decay}: expected a number from 0 to 1")

    def needs_activations(self) -> bool:
        """Never."""
        return False

    def build(self, workload: Workload, activations: Activations | None) -> dict[str, CoAccess]:
        """One graph a site, in dense order; ConfigError where a forward cannot be traced or reads no site."""
        operators = trace(workload)
        return {site.name: self._one(workload, site, operators) for site in workload.sites}

    def _one(self, workload: Workload, site: Site, operators: OperatorGraph) -> CoAccess:
        axes, profiles, first = [], [], first_names(workload.module)
        for axis, weight in tied_weights(workload, site):
            if weight.any():
                name = first[id(tensor(workload.module, axis.parameter))]
                axes.append(replace(axis, parameter=name))
                profiles.append(profile(weight))
        spans = [
            p.size * axis.repeat / tensor(workload.module, axis.parameter).numel()
            for axis, p in zip(axes, profiles, strict=True)
        ]
        coupling, events = self.couple(axes, spans, operators)  # (axes, axes)
        if not events:
            raise ConfigError(
                f"graph=pytorch: no traced operator of model={workload.card.name} reads a weight of two or "
                f"more dimensions tied to {site.name}; use graph=weights or graph=activation"
            )
        W = sparsify(
            combine(profiles, coupling),
            per_row=self.per_row,
            nnz_cap=self.nnz_cap,
            normalize=self.normalize,
        )
        meta = {"operators": len(operators.names), "events": events, "nnz": int(W.nnz)}
        return CoAccess(W, "pytorch", meta)

    def couple(
        self, axes: Sequence[TensorAxis], spans: Sequence[float], operators: OperatorGraph
    ) -> tuple[FloatArray, int]:
        """How strongly what events read of each pair of tied weights counts, (axes, axes), and the events.

        ``spans``: the share of its parameter that an axis covers.
        """
        events = [
            (number, k, size * spans[k])
            for k, axis in enumerate(axes)
            for number, size in operators.readers(axis.parameter)
        ]
        largest = max((size for _, _, size in events), default=1.0)
        near = {number: operators.within(number, self.hops) for number in {e[0] for e in events}}
        coupling = np.zeros((len(axes), len(axes)))
        for (p, a, bytes_p), (q, b, bytes_q) in product(events, events):
            if q in near[p] and abs(p - q) <= self.max_len:
                moved = np.sqrt(bytes_p * bytes_q) / largest if self.byte_weight else 1.0
                coupling[a, b] += self.reuse_decay ** near[p][q] * moved
        return coupling, len(events)


def profile(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """``weight`` (D, repeat, other) as (D, other): absolute values, mean square of a row 1."""
    rows = np.abs(weight).sum(axis=1)
    scale = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1).mean())
    return np.asarray(rows / scale, np.float32)


def combine(profiles: Sequence[NDArray[np.float32]], coupling: FloatArray) -> FloatArray:
    """Sum of ``coupling[a, b] P_a . P_b`` over pairs of ``profiles``, each (D, other): (D, D), symmetric."""
    D = len(profiles[0])
    norms = [np.linalg.norm(p, axis=1) for p in profiles]
    total = np.zeros((D, D))
    for a, P in enumerate(profiles):
        alike = [b for b, Q in enumerate(profiles) if Q.shape == P.shape and coupling[a, b]]
        if alike:
            total += P @ sum(np.float32(coupling[a, b]) * profiles[b] for b in alike).T
        other = [b for b, Q in enumerate(profiles) if Q.shape != P.shape and coupling[a, b]]
        if other:
            total += np.outer(norms[a], sum(coupling[a, b] * norms[b] for b in other))
    return (total + total.T) / 2
