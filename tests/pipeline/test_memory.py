"""Memory is estimated for every model from its shape, and what does not fit is refused in a sentence."""

import dataclasses
import os
from types import SimpleNamespace

import pytest
import torch

from icd.config import conf_dir
from icd.contracts import Footprint, Missing
from icd.errors import ConfigError, MissingResource
from icd.model.bert import Bert
from icd.model.bert_large import BertLarge
from icd.model.encoder import encoder_footprint
from icd.model.mamba_3b import Mamba3B
from icd.model.mamba_tiny import MambaTiny
from icd.model.minilm import SHAPE
from icd.pipeline import memory
from tests.model.test_mamba import FIELDS
from tests.tiny import mock, tiny_bert, tiny_mamba, trace

GIB = 1 << 30


def mamba_3b(**changes):
    return Mamba3B(**{"name": "mamba_3b", **FIELDS, **changes})


@pytest.mark.parametrize("shape", [Bert.shape, BertLarge.shape, SHAPE], ids=["bert", "bert_large", "minilm"])
def test_the_parameter_count_of_an_encoder_is_exact(shape):
    from transformers import BertConfig, BertModel

    heads = {"num_attention_heads": 12} if "num_attention_heads" not in shape else {}
    with torch.device("meta"):
        model = BertModel(BertConfig(**shape, **heads), add_pooling_layer=False)
    assert sum(p.numel() for p in model.parameters()) == encoder_footprint(shape, 1, 128).params


def test_the_parameters_and_sites_of_a_built_model_are_those_estimated():
    for model in (mock(), trace()):
        built, told = model.build(), model.footprint()
        assert sum(p.numel() for n, p in built.module.named_parameters() if "ids" not in n) == told.params
        assert (sum(s.size for s in built.sites), len(built.sites)) == (told.channels, told.sites)
        assert memory.news(told, built) is None or built.tokens > told.tokens


@pytest.mark.parametrize(
    ("workload", "footprint"),
    [
        (tiny_bert(), encoder_footprint({"hidden_size": 64, "intermediate_size": 256}, 2, 16)),
        (tiny_mamba(), MambaTiny.shape.footprint(2, 12)),
    ],
    ids=["encoder", "mamba"],
)
def test_activations_of_a_layer_are_those_that_torch_allocates(workload, footprint):
    """The peak of what is alive in a forward, by torch's own record of allocations and frees."""
    from torch.profiler import ProfilerActivity, profile

    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        workload.forward(workload.module, workload.inputs)
    alive = peak = 0
    for event in sorted(prof.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    assert 0.6 * peak < footprint.activations < 2.5 * peak


def test_an_estimate_grows_with_batch_times_sequence_and_with_arms():
    short, long = (mamba_3b(batch_size=1, seq_len=n).footprint() for n in (512, 2048))
    assert (short.tokens, long.tokens) == (512, 2048) and 3.7 < long.activations / short.activations <= 4
    assert 2.7e9 < long.params < 2.8e9
    sizes = [memory.host_bytes(long, arms, gpu=gpu) for arms, gpu in ((1, True), (6, True), (6, False))]
    assert sizes == sorted(sizes) and sizes[0] < 60 * GIB and 75 * GIB < sizes[1] < 80 * GIB
    assert memory.host_bytes(long, 6, gpu=True) > memory.host_bytes(short, 6, gpu=True)
    assert 31 * GIB < memory.gpu_bytes(long, 6, 2) < 34 * GIB


def test_steps_of_the_allocation_before_are_still_there_while_the_next_are_made():
    long = mamba_3b(batch_size=1, seq_len=2048).footprint()
    one, two, three = (memory.gpu_bytes(long, 6, 2, n) - memory.CONTEXT for n in (1, 2, 3))
    assert two == three == 2 * one
    assert memory.host_bytes(long, 6, gpu=False, allocations=2) == (
        memory.host_bytes(long, 12, gpu=False, allocations=1)
    )
    assert memory.host_bytes(long, 6, gpu=True, allocations=2) == memory.host_bytes(long, 6, gpu=True)


def test_eight_bits_are_made_of_a_copy_in_float32():
    long = mamba_3b(batch_size=1, seq_len=2048).footprint()
    two, one = (long.params * size + long.activations // 2 for size in (2, 1))
    assert memory.gpu_bytes(long, 6, 2) == memory.CONTEXT + 6 * two
    assert memory.gpu_bytes(long, 6, 1) == memory.CONTEXT + 6 * one + 4 * long.params


def test_the_measured_peak_of_bert_is_a_little_below_its_estimate():
    # getrusage of model=bert measure=smoke measure.processes=1 on a CPU, float32, six arms, by allocations
    for allocations, measured in ((1, 4_692_000_000), (2, 6_199_000_000)):
        estimate = memory.host_bytes(encoder_footprint({}, 1, 128), 6, gpu=False, allocations=allocations)
        assert 1.0 < estimate / measured < 1.35


def test_a_model_that_does_not_fit_is_refused_with_a_sentence(monkeypatch, tmp_path):
    footprint = mamba_3b(batch_size=1, seq_len=2048).footprint()
    monkeypatch.setattr(memory, "DRIVER", tmp_path)  # there is a GPU
    monkeypatch.setattr(memory, "available_bytes", lambda: 16 * GIB)
    with pytest.raises(
        MissingResource,
        match=r"model=mamba_3b has 2\.77 billion parameters, .* at 2048 tokens needs about 77\.\d GiB "
        r"of memory, of which 16\.0 GiB are free",
    ):
        memory.check_host("mamba_3b", footprint, 6, 2, "auto")
    monkeypatch.setattr(memory, "available_bytes", lambda: 90 * GIB)
    memory.check_host("mamba_3b", footprint, 6, 2, "auto")
    monkeypatch.setattr(memory, "DRIVER", tmp_path / "absent")
    with pytest.raises(MissingResource, match=r"17\d\.\d GiB.*measure\.allocations=1"):
        memory.check_host("mamba_3b", footprint, 6, 2, "auto")


def test_a_run_on_the_cpu_of_a_machine_with_a_gpu_holds_its_steps_itself(monkeypatch, tmp_path):
    footprint = mamba_3b(batch_size=1, seq_len=2048).footprint()
    monkeypatch.setattr(memory, "DRIVER", tmp_path)  # there is a GPU
    monkeypatch.setattr(memory, "available_bytes", lambda: 90 * GIB)
    memory.check_host("mamba_3b", footprint, 6, 1, "cuda:0")
    with pytest.raises(MissingResource, match=r"11\d\.\d GiB of memory"):
        memory.check_host("mamba_3b", footprint, 6, 1, "cpu")


def test_a_machine_that_grows_on_demand_can_be_told_its_memory(monkeypatch):
    monkeypatch.setenv("ICD_MEMORY_GIB", "120.5")
    assert memory.available_bytes() == int(120.5 * GIB)
    monkeypatch.setenv("ICD_MEMORY_GIB", "much")
    with pytest.raises(ConfigError, match="ICD_MEMORY_GIB='much': expected a number of GiB"):
        memory.available_bytes()


class Nvml:
    """The one call that is made of pynvml."""

    NVMLError = RuntimeError

    def __init__(self, free):
        self.free = free

    def nvmlDeviceGetMemoryInfo(self, handle):
        if self.free is None:
            raise self.NVMLError("not supported")
        return SimpleNamespace(free=self.free)


@pytest.mark.parametrize(
    ("free", "fits"), [(20 * GIB, False), (40 * GIB, False), (70 * GIB, True), (None, True)]
)
def test_the_gpu_s_free_memory_is_asked_for_as_well(monkeypatch, free, fits):
    footprint = mamba_3b(batch_size=1, seq_len=2048).footprint()
    monkeypatch.setattr(memory, "open_meter", lambda device: SimpleNamespace(nvml=Nvml(free), handle=0))
    if fits:
        memory.check_gpu("mamba_3b", footprint, 6, 2, 2, "cuda:0")
        return
    said = rf"6\d\.\d GiB of the memory of cuda:0, of which {free / GIB:.1f} GiB are free.*allocations=1"
    with pytest.raises(MissingResource, match=said):
        memory.check_gpu("mamba_3b", footprint, 6, 2, 2, "cuda:0")


def test_a_cpu_has_no_memory_of_its_own(monkeypatch):
    monkeypatch.setattr(memory, "open_meter", lambda device: Missing("a CPU"))
    memory.check_gpu("mamba_3b", mamba_3b().footprint(), 6, 4, 2, "cpu")


def test_what_only_the_built_model_tells_is_looked_at_then():
    workload = dataclasses.replace(tiny_bert(), tokens=4096)
    told = memory.news(None, workload)
    assert told == Footprint(1, 4096, 0, 2 * (4 + 256), 4)
    assert memory.news(Footprint(1, 1024, 100, 0, 0), workload) == Footprint(1, 4096, 400, 0, 0)
    assert memory.news(Footprint(1, 4096, 100, 0, 0), workload) is None


def test_every_model_tells_what_it_takes_or_that_it_cannot():
    import importlib

    import yaml

    for file in sorted((conf_dir() / "model").glob("*.yaml")):
        module, _, name = yaml.safe_load(file.read_text())["_target_"].rpartition(".")
        assert callable(getattr(importlib.import_module(module), name).footprint), file.stem


def test_available_memory_is_a_sensible_number():
    assert 1 << 20 < memory.available_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(("gib", "refused"), [(0.8, True), (1.0, True), (64.0, False)])
def test_too_few_addresses_for_the_packages_are_refused_before_an_import_never_ends(
    gib, refused, monkeypatch
):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (int(gib * 2**30), resource.RLIM_INFINITY))
    if refused:
        with pytest.raises(MissingResource, match=rf"may map {gib} GiB here \(ulimit -v\).*raise that limit"):
            memory.check_address_space()
    else:
        memory.check_address_space()


def test_no_limit_of_addresses_is_no_limit(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    memory.check_address_space()
