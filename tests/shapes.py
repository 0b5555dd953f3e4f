"""Small modules whose channels lie where layers of many kinds put them, as workloads with sites.

Each case says what enters its consumer (by torch alone) and which weights multiply it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from icd.consumers import named_once
from icd.contracts import ModelCard, Site, TensorAxis, Workload

F = nn.functional


def site(
    size: int, activation: str, *axes: tuple[Any, ...], group: str = "neurons", name: str = "n", **more: Any
) -> Site:
    """``axes``: (parameter, dim, repeat, offset), the last two where they are not 1 and 0."""
    tied = tuple(
        TensorAxis(a[0], a[1], repeat=a[2] if len(a) > 2 else 1, offset=a[3] if len(a) > 3 else 0)
        for a in axes
    )
    return Site(name, size, tied, group, activation, **more)


def workload(module: nn.Module, sites: tuple[Site, ...], *shape: int, seed: int = 3) -> Workload:
    """``module(x)`` on normal inputs, four calibration batches of ``shape``."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():  # structured starts would hide a forgotten axis
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    module = module.eval().requires_grad_(False)

    def draw() -> dict[str, torch.Tensor]:
        return {"x": torch.randn(shape, generator=generator)}

    inputs, *calibration = (draw() for _ in range(5))
    return Workload(
        module=module,
        forward=lambda module, inputs: module(**inputs),
        inputs=inputs,
        sites=named_once(module, sites),
        card=ModelCard("own", "own", 1, "pretrained", "drawn"),
        calibration=tuple(calibration),
        tokens=shape[0] * shape[-1],
    )


class Net(nn.Module):
    """Layers by name and the function that calls them."""

    def __init__(self, run: Callable[[Any, torch.Tensor], torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


@dataclass(frozen=True)
class Case:
    """``entering(module, x)``: (positions, D, elements) that enter the consumer; ``weights(module)``: (D,
    elements), the summed squares of the weights that multiply each. Elements of several ``spans`` of an input
    follow one another.
    """

    module: nn.Module
    sites: tuple[Site, ...]
    shape: tuple[int, ...]
    entering: Callable[[Any, torch.Tensor], torch.Tensor]
    weights: Callable[[Any], torch.Tensor]
    spans: int = 1

    def workload(self) -> Workload:
        return workload(self.module, self.sites, *self.shape)

    def scores(self, given: Workload) -> torch.Tensor:
        """wanda's score of every channel, squared, (D,): weight times norm over all calibration inputs."""
        seen = torch.cat([self.entering(given.module, batch["x"]).double() for batch in given.calibration])
        return (self.weights(given.module).double() * seen.square().sum(0)).sum(1)


def time_steps() -> Case:
    """Two convolutions over 30 time steps, 40 channels."""
    net = Net(
        lambda m, x: m.b(torch.relu(m.a(x))),
        a=nn.Conv1d(8, 40, 3, padding=1),
        b=nn.Conv1d(40, 8, 3, padding=1),
    )
    return Case(
        net,
        (site(40, "b", ("a.weight", 0), ("a.bias", 0), ("b.weight", 1)),),
        (2, 8, 30),
        lambda m, x: torch.relu(m.a(x)).transpose(1, 2).reshape(-1, 40, 1),
        lambda m: m.b.weight.square().sum((0, 2))[:, None],
    )


def pixels_and_statistics() -> Case:
    """Convolutions over pixels with a batch norm between them, whose statistics are buffers."""
    net = Net(
        lambda m, x: m.b(torch.relu(m.norm(m.a(x)))),
        a=nn.Conv2d(3, 24, 3, bias=False),
        norm=nn.BatchNorm2d(24),
        b=nn.Conv2d(24, 6, 1),
    )
    net.norm.running_mean.normal_()
    net.norm.running_var.uniform_(0.5, 2)
    axes = [("a.weight", 0), *((f"norm.{p}", 0) for p in ("weight", "bias", "running_mean", "running_var"))]
    return Case(
        net,
        (site(24, "b", *axes, ("b.weight", 1)),),
        (3, 3, 6, 7),
        lambda m, x: torch.relu(m.norm(m.a(x))).permute(0, 2, 3, 1).reshape(-1, 24, 1),
        lambda m: m.b.weight.square().sum((0, 2, 3))[:, None],
    )


def depthwise(consumer: str = "b") -> Case:
    """Point-wise, depthwise (two filters a channel), point-wise; the depthwise one reads the site as well."""
    net = Net(
        lambda m, x: m.b(torch.relu(m.deep(torch.relu(m.a(x))))),
        a=nn.Conv1d(6, 24, 1),
        deep=nn.Conv1d(24, 48, 3, groups=24),
        b=nn.Conv1d(48, 6, 1),
    )
    axes = (("a.weight", 0), ("a.bias", 0), ("deep.weight", 0, 2), ("deep.bias", 0, 2), ("b.weight", 1, 2))
    if consumer == "deep":
        return Case(
            net,
            (site(24, "deep", *axes),),
            (2, 6, 20),
            lambda m, x: torch.relu(m.a(x)).transpose(1, 2).reshape(-1, 24, 1),
            lambda m: m.deep.weight.reshape(24, 6).square().sum(1)[:, None],
        )
    return Case(
        net,
        (site(24, "b", *axes),),
        (2, 6, 20),
        lambda m, x: torch.relu(m.deep(torch.relu(m.a(x)))).transpose(1, 2).reshape(-1, 24, 2),
        lambda m: m.b.weight.square().sum((0, 2)).reshape(24, 2),
    )


def whole_groups() -> Case:
    """A convolution of 12 groups that each read 2 and make 3: a channel is a group."""
    net = Net(
        lambda m, x: m.b(torch.relu(m.grouped(torch.relu(m.a(x))))),
        a=nn.Conv2d(4, 24, 1),
        grouped=nn.Conv2d(24, 36, 3, groups=12),
        b=nn.Conv2d(36, 4, 1),
    )
    axes = [("a.weight", 0, 2), ("a.bias", 0, 2), ("grouped.weight", 0, 3), ("grouped.bias", 0, 3)]
    return Case(
        net,
        (site(12, "grouped", *axes, ("b.weight", 1, 3)),),
        (2, 4, 6, 5),
        lambda m, x: torch.relu(m.a(x)).permute(0, 2, 3, 1).reshape(-1, 12, 2),
        lambda m: m.grouped.weight.reshape(12, 3, 2, 9).square().sum((1, 3)),
    )


def inside_groups() -> Case:
    """A convolution of 2 groups whose 16 inputs are moved alike: two spans enter it."""
    net = Net(
        lambda m, x: m.b(torch.relu(m.a(x))),
        a=nn.Conv1d(4, 32, 1),
        b=nn.Conv1d(32, 6, 3, groups=2),
    )
    axes = [(f"a.{p}", 0, 1, k * 16) for p in ("weight", "bias") for k in range(2)]
    return Case(
        net,
        (site(16, "b", *axes, ("b.weight", 1)),),
        (2, 4, 9),
        lambda m, x: torch.relu(m.a(x)).transpose(1, 2).reshape(-1, 2, 16).transpose(1, 2),
        lambda m: m.b.weight.reshape(2, 3, 16, 3).square().sum((1, 3)).T,
        spans=2,
    )


def flattened() -> Case:
    """Pixels of a channel flattened into a linear layer: one channel is 12 of its inputs."""
    net = Net(
        lambda m, x: m.out(torch.relu(m.a(x)).flatten(1)),
        a=nn.Conv2d(2, 16, 2),
        out=nn.Linear(16 * 12, 5),
    )
    return Case(
        net,
        (site(16, "out", ("a.weight", 0), ("a.bias", 0), ("out.weight", 1, 12)),),
        (6, 2, 4, 5),
        lambda m, x: torch.relu(m.a(x)).reshape(-1, 16, 12),
        lambda m: m.out.weight.square().sum(0).reshape(16, 12),
    )


def transposed() -> Case:
    """A transposed convolution reads along dimension 0 of its weight."""
    net = Net(
        lambda m, x: m.b(torch.relu(m.a(x))), a=nn.Conv1d(5, 16, 3), b=nn.ConvTranspose1d(16, 7, 4, stride=2)
    )
    return Case(
        net,
        (site(16, "b", ("a.weight", 0), ("a.bias", 0), ("b.weight", 0)),),
        (2, 5, 11),
        lambda m, x: torch.relu(m.a(x)).transpose(1, 2).reshape(-1, 16, 1),
        lambda m: m.b.weight.square().sum((1, 2))[:, None],
    )


def interleaved() -> Case:
    """Rows 2c and 2c + 1 of one projection make channel c: two repeats in one site."""
    net = Net(
        lambda m, x: x + m.down(torch.sigmoid(m.up(x)[..., ::2]) * m.up(x)[..., 1::2]),
        up=nn.Linear(20, 64),
        down=nn.Linear(32, 20),
    )
    return Case(
        net,
        (site(32, "down", ("up.weight", 0, 2), ("up.bias", 0, 2), ("down.weight", 1)),),
        (2, 9, 20),
        lambda m, x: (torch.sigmoid(m.up(x)[..., ::2]) * m.up(x)[..., 1::2]).reshape(-1, 32, 1),
        lambda m: m.down.weight.square().sum(0)[:, None],
    )


def twice_read() -> Case:
    """The same channels twice in one input, shifted the second time: two spans of one weight."""
    net = Net(
        lambda m, x: m.down(torch.cat([torch.relu(m.up(x)), torch.tanh(m.up(x)), x], -1)),
        up=nn.Linear(6, 24),
        down=nn.Linear(54, 6),
    )
    axes = (("up.weight", 0), ("up.bias", 0), ("down.weight", 1), ("down.weight", 1, 1, 24))
    return Case(
        net,
        (site(24, "down", *axes),),
        (3, 5, 6),
        lambda m, x: torch.stack([torch.relu(m.up(x)), torch.tanh(m.up(x))], -1).reshape(-1, 24, 2),
        lambda m: m.down.weight.square().sum(0)[:48].reshape(2, 24).T,
        spans=2,
    )


def attention(batch_first: bool = True) -> Case:
    """Heads of torch's attention, which never calls its output projection."""
    attn = nn.MultiheadAttention(32, 8, batch_first=batch_first)
    net = Net(lambda m, x: x + m.attn(x, x, x, need_weights=False)[0], attn=attn)
    axes = [(f"attn.in_proj_{p}", 0, 4, k * 32) for p in ("weight", "bias") for k in range(3)]
    heads = site(
        8,
        "attn.out_proj",
        *axes,
        ("attn.out_proj.weight", 1, 4),
        group="heads",
        counts=(("attn.num_heads", 1),),
    )

    def entering(m: Any, x: torch.Tensor) -> torch.Tensor:
        x = x if batch_first else x.transpose(0, 1)
        q, k, v = (
            F.linear(x, w, b).unflatten(-1, (8, 4)).transpose(1, 2)
            for w, b in zip(m.attn.in_proj_weight.chunk(3), m.attn.in_proj_bias.chunk(3), strict=True)
        )
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)  # (batch, positions, 8, 4)
        return (out if batch_first else out.transpose(0, 1)).reshape(-1, 8, 4)

    return Case(
        net, (heads,), (2, 7, 32), entering, lambda m: m.attn.out_proj.weight.square().sum(0).reshape(8, 4)
    )


class Grouped(nn.Module):
    """Attention of 8 heads of 4 over 4 heads of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.groups, self.q, self.kv = 4, nn.Linear(12, 32), nn.Linear(12, 32)
        self.out = nn.Linear(32, 12)

    def mixed(self, x: torch.Tensor) -> torch.Tensor:
        q = self.q(x).unflatten(-1, (2 * self.groups, 4)).transpose(1, 2)
        k, v = self.kv(x).unflatten(-1, (2, self.groups, 4)).permute(2, 0, 3, 1, 4).repeat_interleave(2, 2)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.out(self.mixed(x))


def grouped_queries() -> Case:
    """A head of keys and values with its two heads of queries: 8 rows here, 4 there, 8 columns at the end."""
    axes = [("layer.q.weight", 0, 8), ("layer.q.bias", 0, 8)]
    axes += [(f"layer.kv.{p}", 0, 4, k * 16) for p in ("weight", "bias") for k in range(2)]
    return Case(
        Net(lambda m, x: m.layer(x), layer=Grouped()),
        (
            site(
                4,
                "layer.out",
                *axes,
                ("layer.out.weight", 1, 8),
                group="heads",
                counts=(("layer.groups", 1),),
            ),
        ),
        (2, 7, 12),
        lambda m, x: m.layer.mixed(x).reshape(-1, 4, 8),
        lambda m: m.layer.out.weight.square().sum(0).reshape(4, 8),
    )


def encoder_layer() -> Case:
    """torch's encoder layer has a way of its own past its linear layers."""
    layer = nn.TransformerEncoderLayer(16, 2, 40, batch_first=True, activation="gelu")
    net = Net(lambda m, x: m.layer(x), layer=layer)
    axes = ("layer.linear1.weight", 0), ("layer.linear1.bias", 0), ("layer.linear2.weight", 1)

    def entering(m: Any, x: torch.Tensor) -> torch.Tensor:
        one = m.layer
        h = one.norm1(x + one.self_attn(x, x, x, need_weights=False)[0])
        return F.gelu(one.linear1(h)).reshape(-1, 40, 1)

    return Case(
        net,
        (site(40, "layer.linear2", *axes),),
        (2, 6, 16),
        entering,
        lambda m: m.layer.linear2.weight.square().sum(0)[:, None],
    )


def conv1d_of_transformers() -> Case:
    """GPT-2's linear layer, whose weight is (in, out)."""
    from transformers.pytorch_utils import Conv1D

    net = Net(lambda m, x: m.down(F.gelu(m.up(x))), up=Conv1D(48, 12), down=Conv1D(12, 48))
    return Case(
        net,
        (site(48, "down", ("up.weight", 1), ("up.bias", 0), ("down.weight", 0)),),
        (2, 7, 12),
        lambda m, x: F.gelu(m.up(x)).reshape(-1, 48, 1),
        lambda m: m.down.weight.square().sum(1)[:, None],
    )


def by_keyword() -> Case:
    """A consumer that is called by keyword."""
    net = Net(
        lambda m, x: m.down(input=torch.relu(m.up(input=x))), up=nn.Linear(6, 32), down=nn.Linear(32, 6)
    )
    return Case(
        net,
        (site(32, "down", ("up.weight", 0), ("up.bias", 0), ("down.weight", 1)),),
        (2, 7, 6),
        lambda m, x: torch.relu(m.up(x)).reshape(-1, 32, 1),
        lambda m: m.down.weight.square().sum(0)[:, None],
    )


class Mix(nn.Module):
    """A layer of one's own: (batch, channels, positions) to (batch, out, positions)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(out, channels))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return torch.einsum("oc,bct->bot", self.mix, h)


def own_layer(dim: int | None = 1) -> Case:
    """A consumer of a kind that nothing is known of, with the channels in dimension 1."""
    net = Net(lambda m, x: m.mix(torch.relu(m.a(x))), a=nn.Conv1d(5, 24, 1), mix=Mix(24, 5))
    return Case(
        net,
        (site(24, "mix", ("a.weight", 0), ("a.bias", 0), ("mix.mix", 1), activation_dim=dim),),
        (2, 5, 24),
        lambda m, x: torch.relu(m.a(x)).transpose(1, 2).reshape(-1, 24, 1),
        lambda m: m.mix.mix.square().sum(0)[:, None],
    )


class Recurrent(nn.Module):
    """Hidden units of an LSTM: a row of each of four gates, a column of what it says to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(6, 24, batch_first=True), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(x)[0])


def recurrent() -> Case:
    gates = [f"rnn.{kind}_{side}_l0" for kind in ("weight", "bias") for side in ("ih", "hh")]
    axes = [(name, 0, 1, k * 24) for name in gates for k in range(4)]
    units = site(
        24,
        "out",
        *axes,
        ("rnn.weight_hh_l0", 1),
        ("out.weight", 1),
        counts=(("rnn.hidden_size", 1),),
    )
    return Case(
        Recurrent(),
        (units,),
        (2, 7, 6),
        lambda m, x: m.rnn(x)[0].reshape(-1, 24, 1),
        lambda m: m.out.weight.square().sum(0)[:, None],
    )


def into_recurrent(kind: type[nn.RNNBase] = nn.GRU) -> Case:
    """Neurons that both directions of a recurrent layer read; its second layer reads its own units."""
    net = Net(
        lambda m, x: m.out(m.rnn(torch.relu(m.up(x)))[0]),
        up=nn.Linear(6, 24),
        rnn=kind(24, 10, num_layers=2, bidirectional=True, batch_first=True),
        out=nn.Linear(20, 5),
    )
    read = ("rnn.weight_ih_l0", 1), ("rnn.weight_ih_l0_reverse", 1)
    return Case(
        net,
        (site(24, "rnn", ("up.weight", 0), ("up.bias", 0), *read),),
        (2, 7, 6),
        lambda m, x: torch.relu(m.up(x)).reshape(-1, 24, 1).repeat(1, 1, 2),
        lambda m: torch.stack(
            [w.square().sum(0) for w in (m.rnn.weight_ih_l0, m.rnn.weight_ih_l0_reverse)], 1
        ),
        spans=2,
    )


def stream_of_convolutions() -> Case:
    """A residual stream that one convolution makes, two read and one adds to, read by the middle one."""
    net = Net(
        lambda m, x: m.out(m.stem(x) + m.b(torch.relu(m.a(m.stem(x))))),
        stem=nn.Conv2d(3, 16, 1),
        a=nn.Conv2d(16, 12, 3, padding=1),
        b=nn.Conv2d(12, 16, 1),
        out=nn.Conv2d(16, 4, 1),
    )
    axes = [(f"{layer}.{p}", 0) for layer in ("stem", "b") for p in ("weight", "bias")]
    return Case(
        net,
        (site(16, "a", *axes, ("a.weight", 1), ("out.weight", 1)),),
        (2, 3, 5, 4),
        lambda m, x: m.stem(x).permute(0, 2, 3, 1).reshape(-1, 16, 1),
        lambda m: m.a.weight.square().sum((0, 2, 3))[:, None],
    )


def called_again() -> Case:
    """One block called three times, its site declared under the second name."""
    block = Net(lambda m, x: x + m.down(torch.relu(m.up(x))), up=nn.Linear(6, 24), down=nn.Linear(24, 6))
    net = Net(lambda m, x: m.blocks[2](m.blocks[1](m.blocks[0](x))), blocks=nn.ModuleList([block] * 3))

    def entering(m: Any, x: torch.Tensor) -> torch.Tensor:
        out, b = [], m.blocks[0]
        for _ in range(3):
            out.append(torch.relu(b.up(x)).reshape(-1, 24, 1))
            x = b(x)
        return torch.cat(out)

    axes = ("blocks.1.up.weight", 0), ("blocks.2.up.bias", 0), ("blocks.1.down.weight", 1)
    return Case(
        net,
        (site(24, "blocks.1.down", *axes),),
        (2, 5, 6),
        entering,
        lambda m: m.blocks[0].down.weight.square().sum(0)[:, None],
    )


CASES: dict[str, Callable[[], Case]] = {
    "time steps": time_steps,
    "pixels and statistics": pixels_and_statistics,
    "depthwise": depthwise,
    "depthwise as consumer": lambda: depthwise("deep"),
    "whole groups": whole_groups,
    "inside groups": inside_groups,
    "flattened": flattened,
    "transposed": transposed,
    "interleaved": interleaved,
    "twice read": twice_read,
    "attention": attention,
    "attention, batch second": lambda: attention(batch_first=False),
    "grouped queries": grouped_queries,
    "encoder layer": encoder_layer,
    "transformers' Conv1D": conv1d_of_transformers,
    "by keyword": by_keyword,
    "own layer": own_layer,
    "recurrent": recurrent,
    "stream of convolutions": stream_of_convolutions,
    "called again": called_again,
}
