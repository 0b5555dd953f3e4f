"""The torch module behind model=trace: a table whose rows are read as a trace says.

B  sequences, N  reads a sequence, D  rows of the table, P  rows left of them, R  elements a row
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from icd.contracts import Reads, Site, TensorAxis

if TYPE_CHECKING:
    from icd.contracts import Inputs


class RowTable(nn.Module):
    """Rows in memory order, each with the channel it holds, so that a read finds its row in any order.

    ``weight`` (1, P R): the rows, one behind the other. ``ids`` int64 (P,): 1 + the channel of each row, 0
    where it was removed. A channel that no row holds reads as zeros.
    """

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.channels, self.row_elements = rows.shape
        self.weight = nn.Parameter(rows.reshape(1, -1), requires_grad=False)
        self.ids = nn.Parameter(torch.arange(1, self.channels + 1), requires_grad=False)

    def places(self, channels: torch.Tensor) -> torch.Tensor:
        """Row in which each of ``channels`` lies; P where none holds it."""
        held = self.ids.shape[0]
        place = torch.full((self.channels + 1,), held, device=self.ids.device)
        place = place.scatter(0, self.ids, torch.arange(held, device=self.ids.device))
        return place[channels + 1]

    def demand(self, src: torch.Tensor, dst: torch.Tensor) -> torch.Tensor:
        """Root of how often each sequence reads each row, for every element of it: (B, P R).

        These are the site's activations: their summed squares, which wanda takes, are the reads of a row.
        """
        held = self.ids.shape[0]
        places = torch.cat([self.places(src), self.places(dst)], dim=-1)  # (B, 2 N)
        count = self.weight.new_zeros(len(src), held + 1)
        count = count.scatter_add(1, places, count.new_ones(()).expand(places.shape))
        return count[:, :held].sqrt().repeat_interleave(self.row_elements, dim=1)

    def forward(self, demand: torch.Tensor, src: torch.Tensor, dst: torch.Tensor) -> torch.Tensor:
        """(B, N) channels twice to (B, N, R), the sum of both rows; ``demand`` is there for hooks alone."""
        rows = torch.cat(
            [self.weight.reshape(-1, self.row_elements), self.weight.new_zeros(1, self.row_elements)]
        )
        return rows[self.places(src)] + rows[self.places(dst)]

    def recorded_reads(self, inputs: Inputs) -> Reads:
        """Rows that a forward reads, source then target, in order; a removed row is not read."""
        pairs = torch.stack([inputs["src"], inputs["dst"]], dim=-1)  # (B, N, 2)
        held = self.ids.shape[0]
        places = self.places(pairs.to(self.ids.device).reshape(-1)).cpu().numpy()
        first = places[places < held].astype(np.int64) * self.row_elements
        return Reads(first, self.row_elements, held * self.row_elements)


class TraceModel(nn.Module):
    """One table, read along ``src`` and ``dst``."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.table = RowTable(rows)

    def forward(self, src: torch.Tensor, dst: torch.Tensor) -> torch.Tensor:
        """(B, N) channels twice to (B, N, R)."""
        return self.table(self.table.demand(src, dst), src, dst)

    def sites(self) -> tuple[Site, ...]:
        """The rows of the table."""
        table = self.table
        axes = (TensorAxis("table.weight", 1, repeat=table.row_elements), TensorAxis("table.ids", 0))
        return (Site("rows", table.channels, axes, "rows", "table"),)
