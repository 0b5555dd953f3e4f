"""A site's tied weights as numpy arrays in dense order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from icd.contracts import Site, TensorAxis, Workload, inverse


def tied_weights(workload: Workload, site: Site) -> Iterator[tuple[TensorAxis, NDArray[np.float32]]]:
    """Each tied parameter of two or more dimensions, float32 (D, repeat, other), channels in dense order."""
    back = inverse(workload.layout(site))
    for axis in site.axes:
        parameter = workload.module.get_parameter(axis.parameter)
        if parameter.ndim < 2:
            continue
        first = parameter.detach().movedim(axis.dim, 0).float().cpu().numpy()
        span = first[axis.offset : axis.offset + site.size * axis.repeat]
        yield axis, span.reshape(site.size, axis.repeat, -1)[back]
