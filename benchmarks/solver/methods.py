"""Solvers under comparison. Each takes an instance and returns a layout, or community labels.

Peers that may leave blocks unequal are evened out by moving surplus channels to blocks with room. The
graph partitioners get the Jaccard 32-nearest-neighbour graph of the channels, built in their own time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from instances import Instance
from scipy import sparse

from icd.solver.communities import find_communities
from icd.solver.degree import Degree
from icd.solver.identity import Identity
from icd.solver.louvain import Louvain
from icd.solver.spectral import Spectral
from icd.solver.tile import Tile

NEIGHBOURS = 32
LONG_PROPOSALS = 130_000_000
Method = Callable[[Instance], np.ndarray]


def ours(solver) -> Method:
    def solve(instance: Instance) -> np.ndarray:
        w = instance.block
        return solver.solve(instance.W, instance.pins, block=w, line=w, previous=None).pi

    solver.compile()
    return solve


def communities(kicks: int) -> Method:
    Louvain().compile()
    return lambda instance: find_communities(instance.W, kicks=kicks)[0]


def metis(instance: Instance) -> np.ndarray:
    import pymetis

    graph = jaccard_graph(instance)
    blocks = graph.shape[0] // instance.block
    _, part = pymetis.part_graph(blocks, xadj=graph.indptr, adjncy=graph.indices, eweights=graph.data)
    return even_blocks(np.asarray(part), instance.block)


def leiden_sliced(instance: Instance) -> np.ndarray:
    """Communities of the neighbour graph, one after another, cut every block."""
    import leidenalg

    graph = jaccard_graph(instance)
    found = leidenalg.find_partition(
        igraph_of(graph),
        leidenalg.RBConfigurationVertexPartition,
        weights="weight",
        resolution_parameter=max(1.0, graph.shape[0] / instance.block / 4),
        seed=1,
    )
    return np.argsort(found.membership, kind="stable").astype(np.int32)


def mtkahypar(instance: Instance) -> np.ndarray:
    """Connectivity objective, equal blocks, default preset, two threads."""
    import mtkahypar as mtk

    channels = instance.pins.shape[1]
    machine = mtk.initialize(2)
    context = machine.context_from_preset(mtk.PresetType.DEFAULT)
    context.set_partitioning_parameters(channels // instance.block, 0.0, mtk.Objective.KM1)
    context.logging = False
    mtk.set_seed(1)
    nets = [
        row.tolist() for row in np.split(instance.pins.indices, instance.pins.indptr[1:-1]) if len(row) > 1
    ]
    graph = machine.create_hypergraph(context, channels, len(nets), nets)
    found = graph.partition(context)
    return even_blocks(np.array([found.block_id(v) for v in range(channels)]), instance.block)


def leidenalg_communities(instance: Instance) -> np.ndarray:
    import leidenalg

    graph = igraph_of(instance.W)
    found = leidenalg.find_partition(graph, leidenalg.ModularityVertexPartition, weights="weight", seed=1)
    return np.asarray(found.membership)


def igraph_communities(instance: Instance) -> np.ndarray:
    found = igraph_of(instance.W).community_leiden("modularity", weights="weight", n_iterations=2)
    return np.asarray(found.membership)


def networkx_communities(instance: Instance) -> np.ndarray:
    import networkx as nx

    labels = np.empty(instance.W.shape[0], np.int64)
    for label, members in enumerate(
        nx.community.louvain_communities(nx.from_scipy_sparse_array(instance.W), seed=1)
    ):
        labels[list(members)] = label
    return labels


def sknetwork_communities(instance: Instance) -> np.ndarray:
    from sknetwork.clustering import Louvain as PeerLouvain

    return PeerLouvain(random_state=1).fit_predict(instance.W)


def jaccard_graph(instance: Instance) -> sparse.csr_matrix:
    """Symmetric CSR of whole-number weights, 1000 x Jaccard overlap."""
    pins = instance.pins.toarray().astype(np.float32)
    size = pins.sum(axis=0)
    parts = []
    for start in range(0, len(size), 1024):
        common = pins[:, start : start + 1024].T @ pins
        overlap = common / np.maximum(size[start : start + 1024, None] + size[None, :] - common, 1.0)
        width = len(overlap)
        overlap[np.arange(width), np.arange(start, start + width)] = -1.0
        best = np.argpartition(-overlap, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        weight = np.maximum(1, np.take_along_axis(overlap, best, axis=1) * 1000).astype(np.int64)
        row = np.repeat(np.arange(width), NEIGHBOURS)
        parts.append(sparse.csr_matrix((weight.ravel(), (row, best.ravel())), shape=(width, len(size))))
    half = sparse.vstack(parts).tocsr()
    return half.maximum(half.T).tocsr()


def igraph_of(graph: sparse.csr_matrix):
    import igraph

    upper = sparse.triu(graph).tocoo()
    built = igraph.Graph(n=graph.shape[0], edges=np.stack([upper.row, upper.col], axis=1))
    built.es["weight"] = upper.data.tolist()
    return built


def even_blocks(part: np.ndarray, block: int) -> np.ndarray:
    """Layout of a partition after surplus channels moved to blocks with room."""
    blocks = len(part) // block
    part = part.copy()
    spare = [c for b in range(blocks) for c in np.flatnonzero(part == b)[block:]]
    part[spare] = -1
    room = np.repeat(np.arange(blocks), block - np.bincount(part[part >= 0], minlength=blocks))
    part[spare] = room
    return np.argsort(part, kind="stable").astype(np.int32)


LAYOUT_METHODS: dict[str, Callable[[], Method]] = {
    "identity": lambda: ours(Identity()),
    "degree": lambda: ours(Degree()),
    "fiedler": lambda: ours(Spectral()),
    "metis": lambda: metis,
    "leiden-sliced": lambda: leiden_sliced,
    "mtkahypar": lambda: mtkahypar,
    "louvain-layout": lambda: ours(Louvain()),
    "tile": lambda: ours(Tile()),
    "tile-long": lambda: ours(Tile(max_proposals=LONG_PROPOSALS)),
}
COMMUNITY_METHODS: dict[str, Callable[[], Method]] = {
    "sknetwork": lambda: sknetwork_communities,
    "networkx": lambda: networkx_communities,
    "igraph-leiden": lambda: igraph_communities,
    "leidenalg": lambda: leidenalg_communities,
    "louvain-quick": lambda: communities(0),
    "louvain": lambda: communities(10),
}
