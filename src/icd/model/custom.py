"""A user's torch module and inputs, without touching the package.

``loader`` names a function ``f(batch_size, seq_len, seed)`` that returns a mapping: ``module`` and
``inputs`` (name -> tensor, passed as ``module(**inputs)``), and if wanted

    calibration, probes   lists of such inputs
    weights               ``pretrained`` or ``random``; ``unknown`` where nothing is said
    tokens                of one forward over ``inputs``; else `icd.model.positions` counts them
    batch_dims            the dimension of each input's batch; what is not named has none, and is never cut
    tokenizer             called with a list of texts, it gives their ``input_ids``: ``prompts`` then take the
                          place of the inputs

``sites`` is a YAML list in the terms of `icd.contracts.Site`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from icd.consumers import named_once
from icd.contracts import ModelCard, Workload
from icd.copies import sharing
from icd.errors import ConfigError, MissingResource
from icd.model.loader import UNFIT, load, refuse, try_out
from icd.model.positions import batch_dims_of, convolved_shapes, few_rows, rows_of, tokens_of
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
        try:
            module = given["module"].float().cpu().eval().requires_grad_(False)
            sharing(module)  # every arm is a copy
            inputs, calibration, probes = placed(given)
        except UNFIT as error:
            refuse(
                self.loader, "expected a module and inputs that can be copied to the CPU in float32", error
            )
        said = Said(given.get("tokens"), given.get("batch_dims"))
        if self.prompts is not None:
            inputs, said = {"input_ids": self._own(given)}, Said(None, {"input_ids": 0})
        rows, tokens, dims, answer = self._tried(module, inputs, said)
        for key, several in (("calibration", calibration), ("probes", probes)):
            for batch in {_kind(batch): batch for batch in reversed(several)}.values():
                check_output(try_out(self.loader, partial(forward, module, batch), key, batch))
        return Workload(
            module=module,
            forward=answer,
            inputs=inputs,
            sites=named_once(module, read_sites(Path(self.sites))),
            card=ModelCard(
                name=self.name,
                family=type(module).__name__,
                params=sum(p.numel() for p in module.parameters()),
                weights=given.get("weights") or "unknown",
                source=self.loader,
                sha256=self._digest(module),
            ),
            calibration=calibration,
            probes=probes,
            rows=rows,
            tokens=tokens,
            batch_dims=dims,
            texts=prompts_used(self.prompts, rows),
        )

    def _tried(
        self, module: torch.nn.Module, inputs: Inputs, said: Said
    ) -> tuple[int, int, dict[str, int], Any]:
        """``rows``, ``tokens``, ``batch_dims`` and ``forward`` of a workload, after a forward or two."""
        run = partial(forward, module, inputs)
        out, convolved = try_out(self.loader, lambda: convolved_shapes(module, run), "inputs", inputs)
        check_output(out)
        if said.batch_dims is None:
            rows = rows_of(inputs, out)
            dims = batch_dims_of(inputs, out, partial(forward, module))
        else:
            dims = dict(said.batch_dims)
            rows = next(int(inputs[name].shape[dim]) for name, dim in dims.items())
            few = few_rows(inputs, dims)
            try_out(self.loader, partial(forward, module, few), "inputs, cut by batch_dims", few)
        tokens = said.tokens or tokens_of(inputs, rows, convolved)
        return rows, tokens, dims, answers(said.batch_dims, rows, out)

    def _digest(self, module: torch.nn.Module) -> str:
        digest = hashlib.sha256(Path(self.sites).read_bytes())
        for key, tensor in stored(module).items():
            digest.update(key.encode() + tensor.detach().contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    def _own(self, given: Mapping[str, Any]) -> torch.Tensor:
        assert self.prompts is not None
        if "tokenizer" not in given:
            raise ConfigError(
                f"model.prompts need a tokenizer and model.loader={self.loader!r} returns none; "
                "add tokenizer to the mapping that it returns"
            )
        texts = read(self.prompts)
        try:
            return encode(given["tokenizer"], texts, self.batch_size, self.seq_len)
        except UNFIT as error:
            refuse(self.loader, "tokenizer", error)


class Said(NamedTuple):
    """What a loader says of the shapes of its inputs, None where it says nothing."""

    tokens: int | None
    batch_dims: Mapping[str, int] | None


def _kind(batch: Inputs) -> tuple[Any, ...]:
    """What a module must take of a batch, whatever its lengths are."""
    return tuple((name, x.dtype, x.dim(), x.shape[-1:] * x.is_floating_point()) for name, x in batch.items())


def placed(given: Mapping[str, Any]) -> tuple[Inputs, tuple[Inputs, ...], tuple[Inputs, ...]]:
    """Inputs, calibration and probes of a loader, as `on_cpu` puts them."""
    calibration, probes = (tuple(map(on_cpu, given.get(key, ()))) for key in ("calibration", "probes"))
    return on_cpu(given["inputs"]), calibration, probes


def on_cpu(inputs: Inputs) -> dict[str, torch.Tensor]:
    """``inputs`` on the CPU, floating tensors in float32, as the module is."""
    return {
        name: (x.float() if x.is_floating_point() else x).detach().cpu() for name, x in dict(inputs).items()
    }


@dataclass(frozen=True)
class BatchFirst:
    """`forward` of a module whose batch is dimension ``dim`` of its output, with that dimension first."""

    dim: int

    def __call__(self, module: torch.nn.Module, inputs: Inputs) -> torch.Tensor:
        """(batch, ...)"""
        return forward(module, inputs).movedim(self.dim, 0)


def answers(said: Mapping[str, int] | None, rows: int, out: torch.Tensor) -> Any:
    """The forward that gives (batch, ...): where all inputs hold the batch in one dimension, other than the
    first, and the output is as long there, it does so too.
    """
    dims = set((said or {}).values())
    dim = dims.pop() if len(dims) == 1 else 0
    return BatchFirst(dim) if dim and out.dim() > dim and out.shape[dim] == rows else forward


def check_output(out: torch.Tensor) -> None:
    """ConfigError unless ``out`` holds real numbers that can be compared."""
    if not out.numel():
        raise ConfigError(
            f"model=custom: the module returned an empty tensor, shape {tuple(out.shape)}; expected values, "
            "and a row or more in inputs, calibration and probes"
        )
    if not out.is_floating_point():
        what = f"a tensor of {str(out.dtype).removeprefix('torch.')}, shape {tuple(out.shape)}"
        raise ConfigError(
            f"model=custom: the module returned {what}; expected one of floating-point numbers, for outputs "
            "are compared within a tolerance"
        )


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
    raise ConfigError(
        f"model=custom: the module returned {type(out).__name__}; expected a tensor, or an output with "
        "last_hidden_state or logits (a wrapper around the module can choose one)"
    )
