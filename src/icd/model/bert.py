"""BERT (Devlin et al. 2019, arXiv 1810.04805): bert-base-uncased, trained where weights can be had.

Where none can be had within seconds, ``weights=auto`` builds the exact shape with random weights, says
so, tags ``random-weights`` and leaves quality null: latency, L2 and energy depend on shapes, quality on
what was learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from icd.contracts import Footprint, ModelCard, Workload
from icd.model.encoder import (
    check_positions,
    encoder_footprint,
    extend_positions,
    last_hidden_state,
    positions_of,
)
from icd.model.encoder_sites import BERT, KINDS, Attention, Names, encoder_sites
from icd.model.kinds import check_kinds
from icd.model.prompts import Prompts, check_prompts, own_inputs, prompts_used, rows_of
from icd.model.text import locate, texts_used
from icd.model.tokens import check_calibration, check_ids, random_tokens, text_tokens
from icd.model.trained import read_trained
from icd.model.weights import check_weights, digest, find, origin, shape_of

POSITIONS = 512  # of a position table, unless a shape or a directory says otherwise


@dataclass(frozen=True)
class Bert:
    """bert-base-uncased as an encoder without pooler; another family or size is a subclass.

    ``family`` and ``names``: what is recorded, and where the library's model keeps its parts; `library`:
    its classes. ``shape``: what the library's configuration of random weights has other than its defaults;
    ``tiny``: a shape for tests. ``licences``: as the model cards of repositories state them.
    """

    simulated: ClassVar[bool] = False
    family: ClassVar[str] = "bert"
    names: ClassVar[Names] = BERT
    kinds: ClassVar[tuple[str, ...]] = KINDS
    shape: ClassVar[Mapping[str, int]] = {}
    licences: ClassVar[Mapping[str, str]] = {
        "google-bert/bert-base-uncased": "Apache-2.0",
        "google-bert/bert-large-uncased": "Apache-2.0",
    }
    tiny: ClassVar[Mapping[str, Any]] = {
        "shape": {
            "num_hidden_layers": 2,
            "hidden_size": 64,
            "num_attention_heads": 4,
            "intermediate_size": 256,
            "vocab_size": 1200,
        }
    }

    name: str
    repo: str
    weights: str
    hub_timeout_s: float
    default_batch_size: int
    default_seq_len: int
    calibration_tokens: int
    probe_sentences: int
    batch_size: int | None
    seq_len: int | None
    extend_positions: bool
    seed: int
    calibration_text: str | None = None
    probe_text: str | None = None
    prompts: Prompts = None
    attention: Attention = "heads"
    sites: list[str] = field(default_factory=lambda: ["attention", "neurons"])

    def __post_init__(self) -> None:
        check_kinds(self.sites, self.kinds)
        check_weights(self.weights)
        check_calibration(self.calibration_tokens)
        if self.prompts is None or self.seq_len:  # else the length of the prompts decides
            asked, known = self.seq_len or self.default_seq_len, self._positions(self.weights)
            check_positions(asked, known, self.extend_positions, self.name)

    def _positions(self, weights: str) -> int:
        """Positions in the table of the shape, or of the model in the directory ``weights``."""
        word = "max_position_embeddings"
        rows = shape_of(weights, {word: POSITIONS + self.names.first_position, **self.shape})[word]
        return rows - self.names.first_position

    def check(self) -> None:
        """Nothing beyond the base packages is needed; ConfigError without a text that is named."""
        check_prompts(self.prompts, self.name, self.weights, self.repo)
        locate("calibration_text", self.calibration_text)
        locate("probe_text", self.probe_text)

    def resolve(self) -> Bert:
        """The same model with ``weights`` settled, so that every process of a run builds the same one."""
        folder = find(self.repo, self.weights, self.hub_timeout_s, self.name)
        return replace(self, weights="random" if folder is None else str(folder))

    def library(self) -> tuple[Any, Any, Mapping[str, Any]]:
        """The library's configuration, its model, and what the model is called with beside it."""
        from transformers import BertConfig, BertModel

        return BertConfig, BertModel, {"add_pooling_layer": False}

    def footprint(self) -> Footprint:
        """Of the shape; prompts without ``seq_len`` count as long as the default."""
        rows = rows_of(self.prompts, self.batch_size, self.default_batch_size)
        shape = shape_of(self.weights, self.shape)
        return encoder_footprint(shape, rows, self.seq_len or self.default_seq_len, self.names)

    def build(self) -> Workload:
        """Weights, sites, timed inputs and, for trained weights, calibration text and probes."""
        import torch

        from icd.model.fused_attention import fuser

        config, model, options = self.library()
        folder = find(self.repo, self.weights, self.hub_timeout_s, self.name)
        known = self._positions("random" if folder is None else str(folder))
        own = own_inputs(
            self.prompts,
            folder,
            model=self.name,
            repo=self.repo,
            batch_size=self.batch_size,
            seq_len=self.seq_len,
            positions=None if self.extend_positions else known,
        )
        batch, seq_len = self.batch_size or self.default_batch_size, self.seq_len or self.default_seq_len
        if own is not None:
            batch, seq_len = own.shape
        if folder is None:
            torch.manual_seed(self.seed)
            module = model(config(**self.shape), **options)
            vocabulary = module.config.vocab_size
            tokens = random_tokens(
                1000,
                vocabulary,
                (batch, seq_len),
                self.calibration_tokens,
                self.seed,
                longest=positions_of(module, self.names),
            )
        else:
            module = read_trained(model, folder, self.name, attn_implementation="sdpa", **options)
            tokens = text_tokens(
                folder,
                (batch, seq_len),
                self.calibration_tokens,
                self.probe_sentences,
                self.seed,
                calibration_text=self.calibration_text,
                probe_text=self.probe_text,
                longest=positions_of(module, self.names),
            )
        module.eval().requires_grad_(False)
        check_ids(self.name, module.config.vocab_size, own, tokens)
        check_positions(seq_len, positions_of(module, self.names), self.extend_positions, self.name)
        drawn = f"seed {self.seed}", None
        source, licence = drawn if folder is None else origin(folder, self.repo, self.licences)
        extended = extend_positions(module, seq_len, self.names)
        return Workload(
            module=module,
            forward=partial(last_hidden_state, names=self.names),
            inputs=tokens.inputs if own is None else {"input_ids": own},
            sites=encoder_sites(self.names, module.config, self.attention, self.sites),
            card=ModelCard(
                name=self.name,
                family=self.family,
                params=sum(p.numel() for p in module.parameters()),
                weights="random" if folder is None else "pretrained",
                source=source,
                sha256=None if folder is None else digest(folder),
                licence=licence,
                tags=("extended-positions",) if extended else (),
            ),
            calibration=tokens.calibration,
            probes=() if extended else tokens.probes,
            tokens=batch * seq_len,
            batch_dims={"input_ids": 0},
            fuse=fuser(self.names),
            texts=prompts_used(self.prompts, batch)
            | (
                {}
                if folder is None
                else texts_used(calibration_text=self.calibration_text, probe_text=self.probe_text)
            ),
        )
