"""What quality is judged against."""

from __future__ import annotations

import dataclasses

import torch

from icd.pipeline import judging
from icd.pipeline.judging import Reference
from tests.tiny import tiny_bert


def test_the_reference_computes_each_probe_once_and_again_where_there_is_no_room(monkeypatch):
    calls = []
    workload = tiny_bert()
    counted = dataclasses.replace(workload, forward=lambda *a: calls.append(1) or workload.forward(*a))
    reference, probe = Reference(counted), workload.calibration[0]
    first, again = reference.on(probe), reference.on(probe)
    assert again is first and len(calls) == 1
    assert torch.equal(first, workload.forward(workload.module, probe))
    assert not torch.equal(reference.on(workload.calibration[1]), first) and len(calls) == 2
    monkeypatch.setattr(judging, "KEPT", first.nbytes)
    small = Reference(counted)
    for probe in (*workload.calibration, *workload.calibration):
        small.on(probe)
    assert len(calls) == 2 + 3
