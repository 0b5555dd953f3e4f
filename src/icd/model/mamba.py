"""Mamba-1 (Gu and Dao 2023, arXiv 2312.00752): mamba-130m, trained where weights can be had.

Where none can be had within seconds, ``weights=auto`` builds the exact shape with random weights, says
so, tags ``random-weights`` and leaves quality null. The scan that ran is part of what is recorded as
executed; figures of ``scan=reference`` carry the tag ``reference-scan`` and are not to be published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from icd.contracts import Footprint, ModelCard, Workload
from icd.model.kinds import check_kinds
from icd.model.prompts import Prompts, check_prompts, own_inputs, prompts_used, rows_of
from icd.model.scan import PACKAGE, check_installed, check_scan, executed_scan
from icd.model.tokens import check_calibration, check_ids, random_tokens, text_tokens
from icd.model.trained import read_trained
from icd.model.weights import check_weights, digest, find, origin, shape_of

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs

KINDS = ("d_inner", "dt_rank", "d_state", "residual")
ELEMENTS = 1 << 18  # of the states that `icd.model.scan.chunked` holds at a time


@dataclass(frozen=True)
class Shape:
    """What defines a Mamba-1, in the names of transformers' ``MambaConfig``."""

    hidden_size: int = 768
    num_hidden_layers: int = 24
    vocab_size: int = 50280
    state_size: int = 16
    conv_kernel: int = 4
    expand: int = 2

    @property
    def params(self) -> int:
        """Parameters of the stack, embeddings included."""
        inner, rank = self.expand * self.hidden_size, -(-self.hidden_size // 16)
        projections = inner * (3 * self.hidden_size + 2 * rank + 2 * self.state_size)
        own = inner * (self.conv_kernel + self.state_size + 3)  # convolution with bias, A, D, dt's bias
        return self.num_hidden_layers * (projections + own + self.hidden_size) + self.hidden_size * (
            self.vocab_size + 1
        )

    def footprint(self, batch: int, seq_len: int) -> Footprint:
        """Alive at once in a layer: the residual stream, its norm and sum, and in the scan ``chunked`` nine
        tensors of d_inner (halves of in_proj, u, dt, their products, y, the output) and a chunk's states.
        """
        inner, tokens = self.expand * self.hidden_size, batch * seq_len
        states = self.state_size * inner  # of a token
        chunk = min(tokens * states, max(ELEMENTS, 8 * batch * states))
        return Footprint(
            params=self.params,
            tokens=tokens,
            activations=4 * (tokens * (3 * self.hidden_size + 9 * inner) + 3 * chunk),
            channels=self.num_hidden_layers * inner + self.hidden_size,
            sites=self.num_hidden_layers + 1,  # those of dt_rank and d_state are small
        )


@dataclass(frozen=True)
class Mamba:
    """mamba-130m: embeddings, 24 layers and the final norm, without a language-model head."""

    simulated: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = KINDS
    shape: ClassVar[Shape] = Shape()
    tiny: ClassVar[Mapping[str, Any]] = {
        "shape": Shape(hidden_size=128, num_hidden_layers=2, vocab_size=1000)
    }

    name: str
    repo: str | None
    weights: str
    hub_timeout_s: float
    scan: str
    default_batch_size: int
    default_seq_len: int
    calibration_tokens: int
    probe_sentences: int
    batch_size: int | None
    seq_len: int | None
    seed: int
    prompts: Prompts = None
    sites: list[str] = field(default_factory=lambda: ["d_inner"])

    def __post_init__(self) -> None:
        check_weights(self.weights)
        check_calibration(self.calibration_tokens)
        check_kinds(self.sites, self.kinds)
        check_scan(self.scan)

    def check(self) -> None:
        """MissingResource where the scan's package is not installed."""
        check_installed(self.scan)
        check_prompts(self.prompts, self.name, self.weights, self.repo)

    def resolve(self) -> Mamba:
        """The same model with ``weights`` settled, so that every process of a run builds the same one."""
        folder = find(self.repo, self.weights, self.hub_timeout_s, self.name)
        return replace(self, weights="random" if folder is None else str(folder))

    def footprint(self) -> Footprint:
        """Of the shape; prompts without ``seq_len`` count as long as the default."""
        rows = rows_of(self.prompts, self.batch_size, self.default_batch_size)
        given = shape_of(self.weights, asdict(self.shape))
        shape = Shape(**{part.name: given[part.name] for part in fields(Shape)})
        return shape.footprint(rows, self.seq_len or self.default_seq_len)

    def build(self) -> Workload:
        """Weights, sites, timed inputs and, for trained weights, calibration text and probes."""
        from transformers import MambaModel

        from icd.model.mamba_module import MambaStack, fuse_mamba
        from icd.model.mamba_sites import mamba_sites

        folder = find(self.repo, self.weights, self.hub_timeout_s, self.name)
        own = own_inputs(
            self.prompts,
            folder,
            model=self.name,
            repo=self.repo,
            batch_size=self.batch_size,
            seq_len=self.seq_len,
        )
        batch, seq_len = self.batch_size or self.default_batch_size, self.seq_len or self.default_seq_len
        if own is not None:
            batch, seq_len = own.shape
        model = self._random() if folder is None else read_trained(MambaModel, folder, self.name)
        module = MambaStack(model, self.scan).eval().requires_grad_(False)
        if folder is None:
            tokens = random_tokens(
                0, self.shape.vocab_size, (batch, seq_len), self.calibration_tokens, self.seed
            )
        else:
            tokens = text_tokens(
                folder, (batch, seq_len), self.calibration_tokens, self.probe_sentences, self.seed
            )
        check_ids(self.name, module.embeddings.num_embeddings, own, tokens)
        drawn = f"seed {self.seed}", None
        source, licence = drawn if folder is None else origin(folder, self.repo, {})
        return Workload(
            module=module,
            forward=hidden_states,
            inputs=tokens.inputs if own is None else {"input_ids": own},
            sites=mamba_sites(module, self.sites),
            card=ModelCard(
                name=self.name,
                family="mamba",
                params=sum(p.numel() for p in module.parameters()),
                weights="random" if folder is None else "pretrained",
                source=source,
                sha256=None if folder is None else digest(folder),
                licence=licence,
                tags=("reference-scan",) if self.scan == "reference" else (),
            ),
            calibration=tokens.calibration,
            probes=tokens.probes,
            tokens=batch * seq_len,
            batch_dims={"input_ids": 0},
            fuse=fuse_mamba,
            choices=partial(choices, self.scan),
            texts=prompts_used(self.prompts, batch),
        )

    def _random(self) -> Any:
        """The library's model, initialised from ``seed`` as the paper's own code does.

        The library's default (standard deviation 0.1 everywhere) makes a stack of 24 layers chaotic:
        rounding to bf16 changes all of its output, and no engine could be checked.
        """
        import torch
        from transformers import MambaConfig, MambaModel

        torch.manual_seed(self.seed)
        return MambaModel(
            MambaConfig(
                **asdict(self.shape),
                initializer_range=(3 * self.shape.hidden_size) ** -0.5,
                rescale_prenorm_residual=True,
            )
        )


def hidden_states(module: torch.nn.Module, inputs: Inputs) -> torch.Tensor:
    """Hidden states behind the final norm, (batch, seq_len, hidden); padding is on the right."""
    return module(inputs["input_ids"])


def choices(scan: str, device: str) -> Mapping[str, Any]:
    """The scan, and the convolution beside it, that run on ``device``, for the record.

    Where another one was asked for by name, that as well and why it does not run.
    """
    name = executed_scan(scan, device)
    ran = {"scan": name, "conv": "triton" if name in PACKAGE else "plain"}
    if scan in ("auto", name):
        return ran
    return {**ran, "scan_asked": scan, "scan_reason": f"{scan} runs on CUDA alone, and this is {device}"}
