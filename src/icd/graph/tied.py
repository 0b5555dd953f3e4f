"""A site's tied weights as numpy arrays in dense order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from icd.contracts import Site, TensorAxis, Workload, inverse
from icd.tensors import tensor


def tied_weights(workload: Workload, site: Site) -> Iterator[tuple[TensorAxis, NDArray[np.float32]]]:
    """Each tied tensor of two or more dimensions, float32 (D, repeat, other), channels in dense order.

    ``repeat`` is that of the axis. Indices and masks among buffers are no weights and are left out.
    """
    back = inverse(workload.layout(site))
    for axis in site.axes:
        tied = tensor(workload.module, axis.parameter)
        if tied.ndim < 2 or not tied.is_floating_point():
            continue
        first = tied.detach().movedim(axis.dim, 0).float().cpu().numpy()
        span = first[axis.offset : axis.offset + site.size * axis.repeat]
        yield axis, span.reshape(site.size, axis.repeat, -1)[back]
