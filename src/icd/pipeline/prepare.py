"""The preparing process: model, graph, layouts, transform, equivalence. Nothing is timed here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icd.contracts import Footprint, Layouts, Workload
from icd.model.calibration import collect
from icd.model.declared import check_sites
from icd.names import check_file_name
from icd.pipeline.arms import Arm, Prepared, sliced_layout
from icd.pipeline.carried import check_carried
from icd.pipeline.checks import check_device, equivalence, small
from icd.pipeline.device import resolve
from icd.pipeline.experiment import Experiment
from icd.pipeline.layouts import Task, site_costs
from icd.pipeline.memory import check_gpu, check_host, news
from icd.pipeline.search import search
from icd.pipeline.soundness import check_activations, check_answers, check_read, check_weights
from icd.report.caveats import rejected_refits
from icd.tensors import stored
from icd.transform.calibrate import check_calibration, collect_amax

Tell = Callable[..., None]
RANDOM = (
    "model={}: RANDOM WEIGHTS of the exact shape are measured, for no trained ones are used; quality is null"
)


def prepare(experiment: Experiment, folder: Path, tell: Tell) -> Prepared:
    """Run everything before timing; the transformed weights are written below ``folder``."""
    device = "cpu" if experiment.model.simulated else resolve(experiment.device)
    experiment.check_device(device)
    experiment.precision.check(device)
    tell("stage", what="model", message=f"building {experiment.model.name}")
    known = experiment.model.footprint()
    check_memory(experiment, known, device)
    model = experiment.model.resolve()
    dense = model.build()
    for site in dense.sites:
        check_file_name(site.name)
    check_sites(dense.module, dense.sites)
    check_weights(dense)
    check_memory(experiment, news(known, dense), device)
    if small(dense):  # of a larger one the proof of equivalence asks, where it computes
        check_answers(dense, dense.inputs)
        check_read(dense)
    check_carried(dense)
    notice = RANDOM.format(model.name) if dense.card.weights == "random" else ""
    if notice:
        tell("notice", message=notice)
    static = experiment.precision.needs_calibration(device)
    if static:
        check_calibration(dense)
    needs = experiment.transform.needs_activations() or experiment.graph.needs_activations()
    activations = collect(dense) if needs else None
    check_activations(dense, activations)
    tell("stage", what="graph", message="co-access graphs")
    graphs = experiment.graph.build(dense, activations)

    found = search(experiment, dense, graphs, activations, device, tell)
    transformed, pi0, pi1 = found.transformed, found.pi0, found.pi1
    for said in rejected_refits(transformed.notes.get("recover") or {}):
        tell("notice", message=said)
    arms = experiment.pipeline.arms
    layouts: dict[str, Layouts] = {
        "dense": {s.name: np.arange(s.size, dtype=np.int32) for s in dense.sites},
        "linear": pi0,
        "iterative": pi1,
        "aa": pi0,
        "shuffle": pi0,
        "sliced": {s.name: sliced_layout(transformed.live_mask(s)) for s in dense.sites},
    }
    tell("stage", what="equivalence", message="proving equivalence in float64")
    proof = equivalence(
        dense,
        {name: layouts[name] for name in arms if name not in ("dense", "aa", "shuffle")},
        check_device(dense, device),
    )
    costs = {
        name: site_costs(experiment.solver, found.judge, layouts[name], None)
        for name in arms
        if name != "shuffle"
    }
    live = dict(transformed.live)
    amax = {n: collect_amax(w) for n, w in (("dense", dense), ("transformed", transformed)) if static}
    return Prepared(
        model=model,
        arms=_recipes(experiment, layouts, device),
        live={"dense": {}, "transformed": live},
        amax=amax,
        files=_write_values(dense, transformed, folder),
        facts={
            "device": device,
            "precision": experiment.precision.resolve(device),
            "card": dense.card,
            "notice": notice or None,
            "tokens": dense.tokens,
            "batch": dense.batch,
            "input_shape": {name: list(x.shape) for name, x in dense.inputs.items()},
            "input_sha256": _hash_inputs(dense),
            "equivalence": proof,
            "iterations": found.iterations,
            "solver": dict(found.stats),
            "costs": costs,
            "sites": [_site_row(task) for task in found.judge],
            "transform": {**({"order": found.order} if found.order else {}), **transformed.notes},
            "static_scales": amax,
            "texts": dict(dense.texts),
            "calibration_tokens": activations.tokens if activations else 0,
            "graphs": {name: {"source": g.source, **g.meta} for name, g in graphs.items()},
            "W": {name: g.W for name, g in graphs.items()},
            "pi0": pi0,
            "pi1": pi1,
            "live": live,
        },
    )


def check_memory(experiment: Experiment, footprint: Footprint | None, device: str) -> None:
    """MissingResource where a run of this footprint does not fit; nothing where there is none."""
    if footprint is None:
        return
    arms, element_bytes = len(experiment.pipeline.arms), experiment.precision.element_bytes(device)
    arms += element_bytes < 2 and "dense" in experiment.pipeline.arms  # dense_bf16
    name, allocations = experiment.model.name, experiment.measure.allocations
    check_host(name, footprint, arms, allocations, device)
    check_gpu(name, footprint, arms, element_bytes, allocations, device)


def _recipes(experiment: Experiment, layouts: Mapping[str, Layouts], device: str) -> tuple[Arm, ...]:
    out = []
    for name in experiment.pipeline.arms:
        values = "dense" if name == "dense" else "transformed"
        out.append(Arm(name, values, layouts[name], shuffled=name == "shuffle"))
    if experiment.precision.element_bytes(device) < 2 and "dense" in experiment.pipeline.arms:
        out.insert(1, Arm("dense_bf16", "dense", layouts["dense"], precision="bf16"))
    return tuple(out)


def _write_values(dense: Workload, transformed: Workload, folder: Path) -> dict[str, str]:
    """Save the tensors of ``transformed`` (dense order) that differ from the dense model's, once each."""
    import torch
    from safetensors.torch import save_file

    base = stored(dense.module)
    changed = {
        name: tensor.detach().clone()
        for name, tensor in stored(transformed.module).items()
        if name in base and not torch.equal(tensor, base[name])
    }
    path = folder / "transformed.safetensors"
    save_file(changed, str(path))
    return {"transformed": str(path)}


def _hash_inputs(workload: Workload) -> str:
    digest = hashlib.sha256()
    for name in sorted(workload.inputs):
        digest.update(workload.inputs[name].numpy().tobytes())
    return digest.hexdigest()[:16]


def _site_row(task: Task) -> dict[str, Any]:
    return {
        "site": task.site.name,
        "group": task.site.group,
        "channels": task.site.size,
        "repeat": task.site.repeat,
        "block": task.geometry.block,
        "line": task.geometry.line,
        "edges": int(task.graph.W.nnz) // 2,
        "nets": int(task.nets.matrix.shape[0]),
    }
