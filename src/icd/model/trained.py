"""Trained weights of a directory in a class of the transformers library: all of them, or a sentence.

The library itself draws at random what a directory lacks, and loads another family's model where names agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from icd.errors import ConfigError
from icd.model.hub import CONFIG
from icd.model.weights import configuration


def read_trained(library: Any, folder: Path, name: str, **options: Any) -> Any:
    """A ``library`` model (a class) of ``folder``'s weights in float32, whatever they are stored in.

    ConfigError where ``folder`` holds a model of another type, or not every tensor in the right shape.
    """
    import torch

    wanted, found = library.config_class.model_type, configuration(folder).get("model_type")
    if found != wanted:
        raise ConfigError(
            f"model.weights: the directory {folder.name!r} holds a model of type {found}, and model={name} "
            f"is one of type {wanted}"
        )
    module, said = library.from_pretrained(
        folder,
        use_safetensors=True,
        local_files_only=True,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **options,
    )
    bad = sorted(said["missing_keys"]) + sorted(key for key, *_ in said["mismatched_keys"])
    if bad:
        raise ConfigError(
            f"model.weights: the weights in the directory {folder.name!r} lack {bad[0]} in the shape that "
            f"{CONFIG} says" + (f", and {len(bad) - 1} more" if bad[1:] else "")
        )
    return module
