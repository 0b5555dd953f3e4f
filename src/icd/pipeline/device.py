"""Which device a run executes on; asked inside the child, where torch lives."""

from __future__ import annotations

from icd.errors import MissingResource


def resolve(asked: str) -> str:
    """``cpu`` or ``cuda:N`` for ``asked``; MissingResource where CUDA was asked for and is not there."""
    import torch

    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise MissingResource(
            f"device={asked}: torch {torch.__version__} finds no CUDA device; "
            "use device=cpu or install a CUDA build"
        )
    index = int(asked.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise MissingResource(f"device={asked}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return f"cuda:{index}"


def enter(device: str) -> None:
    """Make ``device`` the current one of this process, so that streams and events are its own."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.set_device(device)
