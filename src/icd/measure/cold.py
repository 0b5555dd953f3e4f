"""A cold cache: a buffer larger than the device's L2 is written before the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TIMES_L2 = 4  # of the cache's size: what the step left is pushed out whatever the replacement policy


class Flush:
    """Call it to push everything else out of the L2 of ``device``; it is asynchronous, as a kernel is."""

    buffer: torch.Tensor

    def __init__(self, device: str) -> None:
        import torch

        size = torch.cuda.get_device_properties(device).L2_cache_size
        self.buffer = torch.empty(TIMES_L2 * size, dtype=torch.uint8, device=device)

    def __call__(self) -> None:
        """Write the buffer."""
        self.buffer.zero_()
