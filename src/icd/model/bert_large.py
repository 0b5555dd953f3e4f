"""BERT large (Devlin et al. 2019, arXiv 1810.04805): bert-large-uncased, as `icd.model.bert` builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from icd.model.bert import Bert


@dataclass(frozen=True)
class BertLarge(Bert):
    """bert-large-uncased: 24 layers, hidden 1024, 16 heads of 64, FFN 4096."""

    shape: ClassVar[Mapping[str, int]] = {
        "num_hidden_layers": 24,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
