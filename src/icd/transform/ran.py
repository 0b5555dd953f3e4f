"""What the weights of a cast module are stored in: the arithmetic that a forward can run, layer by layer."""

from __future__ import annotations

from collections import Counter

from torch import nn

from icd.transform.executed import DynamicInt8Linear, EightBitLinear

LOOKED_UP = (nn.Embedding, nn.EmbeddingBag)  # a forward copies rows of their tables and multiplies none


def weight_bytes(module: nn.Module) -> dict[str, int]:
    """Bytes of the matrices that a forward multiplies by, by the name of their type, most bytes first.

    Parameters of two dimensions and more and the weights of eight-bit layers, each once; where a model has
    none of these, all of its floating parameters.
    """
    found = _stored(module)
    if not found:
        for parameter in module.parameters():
            if parameter.is_floating_point():
                found[_name(parameter.dtype)] += parameter.nbytes
    return dict(found.most_common())


def _stored(module: nn.Module) -> Counter[str]:
    found: Counter[str] = Counter()
    seen: set[int] = set()
    for child in module.modules():
        if isinstance(child, DynamicInt8Linear):  # its weight is packed out of sight
            found["int8"] += child.in_features * child.out_features
        elif isinstance(child, EightBitLinear):
            for name, buffer in child.named_buffers(recurse=False):
                if name.startswith("weight"):
                    found[_name(buffer.dtype)] += buffer.nbytes
        elif not isinstance(child, LOOKED_UP):
            for parameter in child.parameters(recurse=False):
                if parameter.dim() > 1 and parameter.is_floating_point() and id(parameter) not in seen:
                    seen.add(id(parameter))
                    found[_name(parameter.dtype)] += parameter.nbytes
    return found


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")
