"""An interpreter that has everything imported and forks a copy of itself for each command line.

Importing torch, SciPy and matplotlib and loading the compiled kernels takes most of a small run's time, in
the command and in each of its child processes. ``command`` runs a command line in a fork of one warm
interpreter per test process, and the children of that command are forks as well. What a fork cannot show
(what the interpreter imports, how it starts, which environment libraries read when they are loaded) needs
real processes: ``tests.conftest.icd(..., cold=True)``.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
CHILD = "icd.pipeline.isolate"
_zygote: subprocess.Popen[str] | None = None


def command(words: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float) -> Any:
    """``python -m icd WORDS`` as a `subprocess.CompletedProcess` with its output as text."""
    zygote = _started()
    assert zygote.stdin is not None and zygote.stdout is not None
    out, err = (_memory(name) for name in ("out", "err"))
    paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
    order = {"words": list(words), "cwd": str(cwd), "env": dict(env), "paths": paths, "timeout": timeout}
    zygote.stdin.write(json.dumps(order) + "\n")
    zygote.stdin.flush()
    code = json.loads(zygote.stdout.readline())
    said = [_read(file) for file in (out, err)]
    if code is None:
        raise subprocess.TimeoutExpired(["icd", *words], timeout, *said)
    return subprocess.CompletedProcess(["icd", *words], code, *said)


def _memory(name: str) -> io.FileIO:
    return io.FileIO(os.memfd_create(name), "r+")


def _read(file: io.FileIO) -> str:
    with file:
        file.seek(0)
        return file.read().decode("utf-8", "surrogateescape")


def _started() -> subprocess.Popen[str]:
    global _zygote
    if _zygote is None:
        _zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    return _zygote


# --- in the warm interpreter ----------------------------------------------------------------------


class ForkedChild(subprocess.Popen):  # type: ignore[type-arg]
    """A process of icd's own is forked; every other command is started as ever."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        words = [os.fspath(word) for word in args] if isinstance(args, (list, tuple)) else []
        if words[:3] != [sys.executable, "-m", CHILD]:
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        _, preexec, _, _, _, env, _, _, _, *pipes = rest
        _, _, _, stdout, _, stderr = pipes[:6]
        self.pid = os.fork()
        if not self.pid:
            if pipes[11]:  # start_new_session
                os.setsid()
            if preexec is not None:
                preexec()
            _become({1: stdout, 2: stderr}, os.environ if env is None else env, Path.cwd())
            from icd.pipeline.isolate import serve

            _leave(serve, words[3])
        self._child_created = True
        self._close_pipe_fds(*pipes[:6])  # type: ignore[attr-defined]


def _become(files: Mapping[int, int], env: Mapping[str, str], cwd: Path) -> None:
    """Take on the streams, environment, search path and empty list of last duties of a fresh process."""
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]  # the folders of whoever forked us
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    for target, source in files.items():
        if source >= 0:
            os.dup2(source, target)
    os.chdir(cwd)
    env = dict(env)
    os.environ.clear()
    os.environ.update(env)
    own = [str(cwd), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:] = [*own, *(p for p in sys.path if p not in own and p != str(ROOT))]
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "wb", closefd=False)), "utf-8")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _leave(main: Any, *arguments: Any) -> NoReturn:
    """Run ``main`` to its end and leave without returning to the interpreter that was forked."""
    code = 1
    try:
        code = main(*arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the end of a process: the interpreter would print it as well
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(order: Mapping[str, Any]) -> int | None:
    """Fork, run the command line and give its exit code, or None where it was late and ended."""
    import signal

    pid = os.fork()
    if not pid:
        os.setsid()
        nothing, *files = (os.open(path, os.O_RDWR) for path in (os.devnull, *order["paths"]))
        _become({0: nothing, 1: files[0], 2: files[1]}, order["env"], Path(order["cwd"]))
        sys.argv = ["icd"]
        from icd.cli import main

        _leave(main, order["words"])

    def late(*_: Any) -> None:
        os.killpg(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, order["timeout"])
    _, status = os.waitpid(pid, 0)
    left = signal.setitimer(signal.ITIMER_REAL, 0)[0]
    return os.waitstatus_to_exitcode(status) if left else None


def serve() -> None:
    """Import what commands and their children need, then serve orders until the tests end."""
    import hydra.main  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import torch._dynamo  # noqa: F401

    import icd.cli
    import icd.pipeline.measuring
    import icd.pipeline.prepare
    import icd.report.html  # noqa: F401
    from icd.solver.warm import warm_search

    warm_search()
    subprocess.Popen = ForkedChild  # type: ignore[misc]
    answer, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        code = _run(json.loads(line))
        answer.write(json.dumps(code) + "\n")
        answer.flush()


if __name__ == "__main__":
    serve()
