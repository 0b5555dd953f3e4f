"""Trained weights of a directory in a class of the transformers library: all of them, or a sentence.

The library itself draws at random what a directory lacks, and loads another family's model where names agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from icd.errors import ConfigError, first_line
from icd.model.hub import CONFIG
from icd.model.loader import UNFIT
from icd.model.weights import configuration


def read_trained(library: Any, folder: Path, name: str, **options: Any) -> Any:
    """A ``library`` model (a class) of ``folder``'s weights in float32, whatever they are stored in.

    ConfigError where ``folder`` holds a model of another type, not every tensor in the right shape, or what
    the library cannot read.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    wanted, found = library.config_class.model_type, configuration(folder).get("model_type")
    if found != wanted:
        raise ConfigError(
            f"model.weights: the directory {folder.name!r} holds a model of type {found}, and model={name} "
            f"is one of type {wanted}"
        )
    try:
        module, said = library.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    except (*UNFIT, OSError, SafetensorError, StrictDataclassError) as error:
        why = first_line(error).replace(str(folder), folder.name)
        raise ConfigError(
            f"model.weights: the directory {folder.name!r} cannot be read as model={name}: "
            f"{type(error).__name__}: {why}"
        ) from error
    bad = sorted(said["missing_keys"]) + sorted(key for key, *_ in said["mismatched_keys"])
    if bad:
        raise ConfigError(
            f"model.weights: the weights in the directory {folder.name!r} lack {bad[0]} in the shape that "
            f"{CONFIG} says" + (f", and {len(bad) - 1} more" if bad[1:] else "")
        )
    return module
