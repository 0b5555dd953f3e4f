"""Small workloads that tests build in milliseconds."""

from __future__ import annotations

from icd.model.mock import Mock
from icd.model.trace import Trace


def mock(**changes) -> Mock:
    """model=mock, smaller unless ``changes`` say otherwise."""
    fields = {
        "name": "mock",
        "layers": 2,
        "width": 64,
        "neurons": 256,
        "group": 64,
        "noise": 0.05,
        "default_batch_size": 2,
        "default_seq_len": 16,
        "batch_size": None,
        "seq_len": None,
        "seed": 0,
    }
    return Mock(**{**fields, **changes})


def trace(**changes) -> Trace:
    """model=trace with a small planted trace unless ``changes`` say otherwise."""
    fields = {
        "name": "trace",
        "path": None,
        "rows": 256,
        "row_bytes": 32,
        "max_reads": 100_000,
        "records": 4096,
        "group": 16,
        "inside": 0.9,
        "burst": 32,
        "weak": 0.25,
        "precision": "auto",
        "batch_size": None,
        "seq_len": None,
        "seed": 0,
    }
    return Trace(**{**fields, **changes})


def tiny_bert(layers: int = 2, heads: int = 4, hidden: int = 64, ffn: int = 256, **sites):
    """A BERT of random weights as a workload with calibration inputs."""
    import torch
    from transformers import BertConfig, BertModel

    from icd.contracts import ModelCard, Workload
    from icd.model.encoder import last_hidden_state
    from icd.model.encoder_sites import bert_sites
    from icd.model.fused_attention import fuse_bert

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=97,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=ffn,
        max_position_embeddings=32,
    )
    module = BertModel(config, add_pooling_layer=False).eval().requires_grad_(False)
    for parameter in module.parameters():  # biases start at zero, which would hide a forgotten axis
        parameter.data += 0.05 * torch.randn_like(parameter)

    def draw(seed: int):
        generator = torch.Generator().manual_seed(seed)
        return {"input_ids": torch.randint(0, 97, (2, 16), generator=generator)}

    return Workload(
        module=module,
        forward=last_hidden_state,
        inputs=draw(1),
        sites=bert_sites(config, **sites),
        card=ModelCard("tiny", "bert", 1, "random", "seed 0"),
        calibration=(draw(2), draw(3)),
        probes=({**draw(4), "attention_mask": torch.ones(2, 16, dtype=torch.long)},),
        tokens=32,
        fuse=fuse_bert,
    )


def tiny_mamba(**changes):
    """model=mamba_tiny at a short sequence, every parameter moved off its structured start."""
    import torch

    from icd.model.mamba_tiny import MambaTiny

    fields = {
        "name": "mamba_tiny",
        "repo": None,
        "weights": "random",
        "hub_timeout_s": 1.0,
        "scan": "auto",
        "default_batch_size": 2,
        "default_seq_len": 12,
        "calibration_tokens": 1,
        "probe_sentences": 1,
        "batch_size": None,
        "seq_len": None,
        "seed": 0,
    }
    workload = MambaTiny(**{**fields, **changes}).build()
    torch.manual_seed(1)
    for parameter in workload.module.parameters():  # equal rows of A and ones in D would hide an axis
        parameter.data += 0.05 * torch.randn_like(parameter)
    return workload
