"""A cold cache: a buffer larger than the device's L2 is read before the step.

Read, not written: the cache writes back, so a written buffer would leave it full of lines that go to memory
while the step runs, up to the L2's size in its DRAM traffic (60 MB on an H200) and in its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TIMES_L2 = 4  # of the cache's size: what the step left is pushed out whatever the replacement policy


class Flush:
    """Call it to push everything else out of the L2 of ``device``; it is asynchronous, as a kernel is."""

    buffer: torch.Tensor
    sum: torch.Tensor

    def __init__(self, device: str) -> None:
        import torch

        size = torch.cuda.get_device_properties(device).L2_cache_size
        self.buffer = torch.zeros(TIMES_L2 * size // 4, dtype=torch.float32, device=device)
        self.sum = torch.zeros((), dtype=torch.float32, device=device)

    def __call__(self) -> None:
        """Read the buffer, every element once."""
        import torch

        torch.sum(self.buffer, dim=0, out=self.sum)
