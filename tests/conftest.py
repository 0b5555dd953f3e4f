"""Shared by all tests: the repository's root, tiny workloads, one finished run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.drawn import _drawn_once as _drawn_once

# Read when torch is loaded, here and in every child: the tests' tensors are tiny, and threads that wait for
# one another spin, which takes the cores from the other test processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from tests.fake_hub import FakeHub

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Layouts solved by tests are kept apart from the user's."""
    os.environ["ICD_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


def icd(
    *words: str, cwd: Path, timeout: float = 240, cold: bool = False, **env: str
) -> subprocess.CompletedProcess[str]:
    """``python -m icd WORDS`` in ``cwd``, forked from a warm interpreter; ``cold``: in one of its own.

    Variables of the environment that libraries read when they are loaded need a process of its own as well.
    """
    if cold or sys.platform != "linux" or not set(env) <= {"ICD_CACHE_DIR", "PYTHONPATH"}:
        return subprocess.run(
            [sys.executable, "-m", "icd", *words],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **env},
        )
    from tests import warm

    return warm.command(words, cwd, {**os.environ, **env}, timeout)


@pytest.fixture(scope="session")
def mock_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of ``python -m icd gate=mock`` with everything at its default otherwise.

    Processes of one session make it once: whoever comes later waits for it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mock"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "run" / "SHA256SUMS").exists():
            done = icd("tracking=none", "gate=mock", "hydra.run.dir=run", cwd=folder, cold=True)
            assert done.returncode == 0, done.stderr + done.stdout
    return folder / "run"


@pytest.fixture(scope="session")
def mock_workload():
    """model=mock at its default size."""
    from tests.tiny import mock

    return mock().build()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub on this machine that is the one configured, and a cache that starts empty."""
    from tests.fake_hub import serve

    for name in (
        "ICD_DATA_DIR",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # read once, when the library is imported
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serve() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
