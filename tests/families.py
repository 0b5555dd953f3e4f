"""Every model of conf/model at the smallest size that it offers, found and not listed.

With ``ICD_OWN_CONF=FOLDER`` also those of ``FOLDER/model``: the models of a package beside icd.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from icd.config import conf_dir
from icd.contracts import Workload
from tests.conftest import ROOT

FOLDERS = [conf_dir(), *([Path(os.environ["ICD_OWN_CONF"])] if "ICD_OWN_CONF" in os.environ else [])]
FILES = sorted(file for folder in FOLDERS for file in (folder / "model").glob("*.yaml"))
VARIANTS = {  # which sites are declared; a model without such a choice has the first alone
    "": {},
    "all sites": {"sites": "kinds"},
    "dims": {"sites": "kinds", "attention": "dims"},
}


# sizes of a family that a smaller member stands for, and real weights: part of make test-all
LARGER = frozenset({"bert_large", "mamba", "mamba_3b", "minilm"})


def marked(case: Any, name: str) -> Any:
    """``case`` of ``name`` as a parameter; slow for what another model of its family stands for."""
    import pytest

    return pytest.param(case, marks=pytest.mark.slow) if name in LARGER else case


def spelt(file: Path) -> Any:
    """A model's YAML on top of the ones of its group that its ``defaults`` name, as Hydra composes them."""
    node: Any = OmegaConf.load(file)
    above = [name for name in node.pop("defaults", []) if isinstance(name, str) and name != "_self_"]
    return OmegaConf.merge(*(spelt(next(f for f in FILES if f.stem == name)) for name in above), node)


def target(file: Path) -> type:
    """The dataclass that a model's YAML names."""
    node: Any = OmegaConf.to_container(OmegaConf.load(file))
    module, _, name = node["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def cases() -> list[tuple[str, str]]:
    """(model, variant) of every YAML; variants of those that are small."""
    out = []
    for file in FILES:
        cls = target(file)
        fields = {f.name for f in dataclasses.fields(cls)}
        for variant, changes in VARIANTS.items():
            if not changes or (hasattr(cls, "tiny") and set(changes) <= fields):
                out.append((file.stem, variant))
    return out


def model(name: str, variant: str = "", **changes: Any) -> Any:
    """The dataclass as its YAML spells it, with random weights, ``tiny`` and the variant on top.

    ``tiny`` of a family's class names fields, and class attributes (``shape``), of a size for tests.
    """
    file = next(file for file in FILES if file.stem == name)
    cls: Any = target(file)
    fields = {f.name for f in dataclasses.fields(cls)}
    tiny = dict(getattr(cls, "tiny", {}))
    small = {"batch_size": 2, "seq_len": 16} if "default_seq_len" in fields else {}
    composed: Any = OmegaConf.to_container(
        OmegaConf.merge(
            {
                "batch_size": None,
                "seq_len": None,
                "seed": 0,
                "precision": {"format": "auto"},
                "model": spelt(file),
            },
            small,
        ),
        resolve=True,
    )
    node = {k: v for k, v in composed["model"].items() if k != "_target_"}
    node |= {
        k: v
        for k, v in {"weights": "random", "calibration_tokens": 1, "probe_sentences": 2}.items()
        if k in fields
    }
    node |= {k: v for k, v in tiny.items() if k in fields}
    chosen = VARIANTS[variant]
    node |= {k: list(cls.kinds) if v == "kinds" else v for k, v in chosen.items()}
    if name == "custom":
        node |= documented_custom()
    shaped = {k: v for k, v in tiny.items() if k not in fields}
    return (type(cls.__name__, (cls,), shaped) if shaped else cls)(**{**node, **changes})


@cache
def build(name: str, variant: str = "") -> Workload:
    """The workload, its parameters moved off their start: zero biases would hide a forgotten axis."""
    import torch

    workload = model(name, variant).build()
    torch.manual_seed(1)
    if workload.card.weights == "random":
        for parameter in workload.module.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return workload


@cache
def documented_custom() -> dict[str, str]:
    """The example of docs/adding.md, written to a folder on the path."""
    folder = Path(tempfile.mkdtemp())
    for name, text in documented_files("mymodel.py", "sites.yaml").items():
        (folder / name).write_text(text)
    sys.path.append(str(folder))
    return {"loader": "mymodel:load", "sites": str(folder / "sites.yaml")}


def documented_files(*names: str) -> dict[str, str]:
    """Code blocks of docs/adding.md that begin with ``# NAME``, by name."""
    text = (ROOT / "docs" / "adding.md").read_text("utf-8")
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", text, re.S)
    found = dict(blocks)
    return {name: found[name] for name in names} if names else found
