"""What a failed compilation or capture is told by."""

from __future__ import annotations

import pytest
import torch

from icd.errors import MeasurementError
from icd.runtime.accelerate import capture, compile_now


class Graph:
    """Stands for torch.cuda.graph: leaving it after a failure fails as well."""

    def __init__(self, graph, pool=None):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if error[0] is not None:
            raise RuntimeError("the capture was invalidated")


class Stream:
    def wait_stream(self, other):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def cuda(monkeypatch):
    for name, fake in {
        "Stream": Stream,
        "stream": lambda stream: stream,
        "current_stream": Stream,
        "CUDAGraph": object,
        "graph": Graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (RuntimeError("operation not permitted\nwhen capturing"), "operation not permitted"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_failed_capture_is_told_by_what_failed_first(cuda, cause, told):
    calls = []

    def forward():
        calls.append(1)
        if len(calls) > 3:  # the warm-up passes
            raise cause
        return torch.zeros(1)

    with pytest.raises(MeasurementError, match=rf"capture failed \({told}\); runtime.cuda_graph=false"):
        capture(forward)


@pytest.mark.parametrize(("said", "told"), [("no graph\nbecause", "no graph"), ("", "Unsupported")])
def test_a_failed_compilation_is_told_in_a_line(said, told):
    def forward():
        error = torch._dynamo.exc.Unsupported.__new__(torch._dynamo.exc.Unsupported)
        error.args = (said,)
        raise error

    with pytest.raises(MeasurementError, match=rf"torch.compile failed \(Unsupported: {told}\)"):
        compile_now(forward)
