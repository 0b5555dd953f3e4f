"""A cold cache holds what was read last, and nothing that has yet to be written back."""

from types import SimpleNamespace

import torch

from icd.measure.cold import TIMES_L2, Flush

L2 = 1 << 16


def test_the_flush_reads_four_times_the_cache_and_writes_none_of_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(L2_cache_size=L2))
    flush = Flush("cpu")
    assert flush.buffer.numel() * flush.buffer.element_size() == TIMES_L2 * L2
    written = flush.buffer._version
    flush.buffer += 1
    flush()
    assert flush.sum == flush.buffer.numel()  # all of it was read
    assert flush.buffer._version == written + 1  # by the test alone
