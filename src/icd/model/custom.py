"""A user's torch module and inputs, without touching the package.

``loader`` names a function ``f(batch_size, seq_len, seed)`` that returns a mapping: ``module`` and
``inputs`` (name -> tensor, passed as ``module(**inputs)``), and if wanted ``calibration`` and ``probes``
(lists of such inputs), ``weights`` (``pretrained`` or ``random``) and ``tokenizer`` (called with a list of
texts, it gives their ``input_ids``: ``prompts`` then take the place of the inputs). ``sites`` is a YAML
list in the terms of `icd.contracts.Site`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from icd.consumers import named_once
from icd.contracts import ModelCard, Workload
from icd.errors import ConfigError, MissingResource
from icd.model.loader import load, try_out
from icd.model.prompts import Prompts, check_prompts, encode, prompts_used, read
from icd.model.sites_file import read_sites
from icd.tensors import stored

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs


@dataclass(frozen=True)
class Custom:
    """``module(**inputs)`` of ``loader``, with the sites of the file ``sites``."""

    simulated: ClassVar[bool] = False

    name: str
    loader: str
    sites: str
    batch_size: int | None
    seq_len: int | None
    seed: int
    prompts: Prompts = None

    def __post_init__(self) -> None:
        module, colon, function = self.loader.partition(":")
        if not colon or not module or not function.isidentifier():
            raise ConfigError(f"model.loader={self.loader!r}: expected package.module:function")
        if not Path(self.sites).is_file():
            name = Path(self.sites).name
            raise MissingResource(f"model.sites={name!r}: no such file; expected a YAML list of sites")

    def check(self) -> None:
        """ConfigError where the sites file or the prompts cannot be read."""
        check_prompts(self.prompts, self.name, "given", None)
        read_sites(Path(self.sites))

    def resolve(self) -> Custom:
        """Nothing is left open."""
        return self

    def footprint(self) -> None:
        """Not known before the loader ran."""

    def build(self) -> Workload:
        """The user's module in eval mode, float32, on the CPU."""
        given = load(self.loader, batch_size=self.batch_size, seq_len=self.seq_len, seed=self.seed)
        module, inputs = given["module"].float().eval().requires_grad_(False), in_float32(given["inputs"])
        if self.prompts is not None:
            inputs = {"input_ids": self._own(given)}
        calibration, probes = (
            tuple(in_float32(batch) for batch in given.get(key, ())) for key in ("calibration", "probes")
        )
        for key, batches in (("inputs", (inputs,)), ("calibration", calibration), ("probes", probes)):
            for batch in batches[:1]:
                try_out(self.loader, partial(forward, module, batch), key, batch)
        sites = named_once(module, read_sites(Path(self.sites)))
        digest = hashlib.sha256(Path(self.sites).read_bytes())
        for key, tensor in stored(module).items():
            digest.update(key.encode() + tensor.detach().contiguous().cpu().numpy().tobytes())
        shape = next(iter(inputs.values())).shape
        return Workload(
            module=module,
            forward=forward,
            inputs=inputs,
            sites=sites,
            card=ModelCard(
                name=self.name,
                family=type(module).__name__,
                params=sum(p.numel() for p in module.parameters()),
                weights=str(given.get("weights", "pretrained")),
                source=self.loader,
                sha256=digest.hexdigest(),
            ),
            calibration=calibration,
            probes=probes,
            tokens=int(shape[0] * shape[1]) if len(shape) > 1 else int(shape[0]),
            texts=prompts_used(self.prompts, int(shape[0])),
        )

    def _own(self, given: Mapping[str, Any]) -> torch.Tensor:
        assert self.prompts is not None
        if "tokenizer" not in given:
            raise ConfigError(
                f"model.prompts need a tokenizer and model.loader={self.loader!r} returns none; "
                "add tokenizer to the mapping that it returns"
            )
        return encode(given["tokenizer"], read(self.prompts), self.batch_size, self.seq_len)


def in_float32(inputs: Inputs) -> dict[str, torch.Tensor]:
    """``inputs`` with floating tensors in float32, as the module is."""
    return {name: x.float() if x.is_floating_point() else x for name, x in inputs.items()}


def forward(module: torch.nn.Module, inputs: Inputs) -> torch.Tensor:
    """The tensor that the module returns; ``last_hidden_state`` or ``logits`` of a structured output."""
    import torch

    out = module(**inputs)
    if isinstance(out, torch.Tensor):
        return out
    for name in ("last_hidden_state", "logits"):
        value = getattr(out, name, None)
        if isinstance(value, torch.Tensor):
            return value
    raise ConfigError(f"model=custom: the module returned {type(out).__name__}; expected a tensor")
