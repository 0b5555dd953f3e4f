"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): distilbert-base-uncased, as `icd.model.bert` builds it.

The distilled BERT: half of the layers, no token types, and the library's own names for all of its parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from icd.model.bert import Bert
from icd.model.encoder_sites import Names


@dataclass(frozen=True)
class DistilBert(Bert):
    """distilbert-base-uncased: 6 layers, hidden 768, 12 heads of 64, FFN 3072."""

    family: ClassVar[str] = "distilbert"
    names: ClassVar[Names] = Names(
        layers="transformer.layer",
        attention="attention",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        out="attention.out_lin",
        up="ffn.lin1",
        down="ffn.lin2",
        norms=("sa_layer_norm", "output_layer_norm"),
        heads="n_heads",
        width="dim",
        tables=("word_embeddings", "position_embeddings"),
        words={"hidden_size": "dim", "num_hidden_layers": "n_layers", "intermediate_size": "hidden_dim"},
    )
    shape: ClassVar[Mapping[str, int]] = {"n_layers": 6}
    licences: ClassVar[Mapping[str, str]] = {"distilbert/distilbert-base-uncased": "Apache-2.0"}
    tiny: ClassVar[Mapping[str, Any]] = {
        "shape": {"n_layers": 2, "dim": 64, "n_heads": 4, "hidden_dim": 256, "vocab_size": 1200}
    }

    def library(self) -> tuple[Any, Any, Mapping[str, Any]]:
        """The library's configuration and model; there is no pooler to leave out."""
        from transformers import DistilBertConfig, DistilBertModel

        return DistilBertConfig, DistilBertModel, {}
