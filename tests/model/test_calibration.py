"""Activations are those of the site's own channels, over all calibration tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from icd.model import calibration
from icd.model.calibration import collect
from tests.tiny import tiny_bert


def entering(workload, name):
    """What enters the submodule ``name`` over all calibration batches, float64 (tokens, width)."""
    seen = []
    hook = workload.module.get_submodule(name).register_forward_pre_hook(lambda _, a: seen.append(a[0]))
    for batch in workload.calibration:
        workload.forward(workload.module, batch)
    hook.remove()
    return torch.cat([x.reshape(-1, x.shape[-1]) for x in seen]).double().numpy()


@pytest.mark.parametrize("attention", ["heads", "dims"])
def test_each_site_sees_its_own_span_of_what_its_consumer_reads(attention, monkeypatch):
    monkeypatch.setattr(calibration, "MAX_TOKENS", 50)  # one batch of 32 tokens and a part of the next
    workload = tiny_bert(attention=attention)
    found = collect(workload)
    assert found.tokens == 64
    starts = []
    for site in (s for s in workload.sites if not s.factors):
        axis = next(a for a in site.axes if a.parameter == f"{site.activation}.weight" and a.dim == 1)
        span = slice(axis.offset, axis.offset + site.size * axis.repeat)
        a = entering(workload, site.activation)[:, span]
        assert found.norms[site.name] == pytest.approx(np.sqrt((a**2).sum(0)), rel=1e-5)
        channels = np.linalg.norm(a.reshape(len(a), site.size, -1), axis=-1)
        assert found.values[site.name] == pytest.approx(channels[:50], rel=1e-4, abs=1e-6)
        starts.append(axis.offset)
    assert (max(starts) > 0) == (attention == "dims")
