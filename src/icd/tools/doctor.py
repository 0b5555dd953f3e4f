"""``icd doctor``: what can be measured on this machine, a line each, with the reason and the remedy.

Nothing is changed and nothing heavy is loaded: torch answers from a process of its own, and the GPU is
asked through NVML. This file imports the standard library alone, so that it can say which package is
missing; `icd.tools.machine` looks at the rest.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from icd.errors import ConfigError, Exit
from icd.tools.remains import clean, found

TORCH = """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}))
"""
ENOUGH_GIB = 5
CLEAN = "--clean"


@dataclass(frozen=True)
class Finding:
    """One line: whether it works (None: it works with a limit), what was found, what would help."""

    name: str
    ok: bool | None
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        mark = {True: "yes", False: "no", None: "part"}[self.ok]
        return f"{mark:4}  {self.name:11}  {self.what}" + (f"; {self.remedy}" if self.remedy else "")


def main(words: Sequence[str]) -> int:
    """Print what can be measured here; 3 when a base package or torch itself is broken, else 0.

    With ``--clean`` what killed runs left is removed instead, a line each.
    """
    if words and list(words) != [CLEAN]:
        raise ConfigError(f"usage: icd doctor [{CLEAN}]; it takes no arguments but that")
    if words:
        print("\n".join(clean(Path.cwd())) or "nothing that a killed run left is here")
        return int(Exit.DONE)
    base = packages()
    print(base)
    if base.ok is False:
        return int(Exit.MISSING_RESOURCE)
    asked = subprocess.Popen(
        [sys.executable, "-c", TORCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    from icd.tools.machine import gpu, l2, models, processor

    gpus = [*gpu()]
    has_gpu = any(found.name == "gpu" and found.ok for found in gpus)
    rest = [*gpus, l2(has_gpu), *models(), tracking(), disk(Path.cwd()), processor()]
    framework = torch_finding(asked)
    for finding in (framework, compilers(), *rest, *leftovers(Path.cwd())):
        print(finding)
    return int(Exit.MISSING_RESOURCE if framework.ok is False else Exit.DONE)


def packages() -> Finding:
    """Python and the base dependencies that the package itself names."""
    try:
        named = [r for r in requires("icd") or () if "extra ==" not in r]
    except PackageNotFoundError:
        return Finding(
            "packages", None, "icd is run from its sources and is not installed", "pip install -e ."
        )
    lacking = [name for name in (re.split(r"[^\w.-]", r)[0] for r in named) if not _installed(name)]
    what = f"Python {platform.python_version()}, icd {version('icd')}"
    if lacking:
        return Finding("packages", False, f"{what}; missing: {', '.join(lacking)}", "pip install icd")
    return Finding("packages", True, f"{what}, {len(named)} base packages")


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def torch_finding(asked: subprocess.Popen[str], timeout_s: float = 60.0) -> Finding:
    """What torch said in its own process."""
    try:
        out, err = asked.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        asked.kill()
        asked.communicate()
        return Finding("torch", None, f"importing torch took more than {timeout_s:g} s")
    if asked.returncode != 0:
        last = (err.strip().splitlines() or ["it said nothing"])[-1]
        return Finding(
            "torch", False, f"torch cannot be imported: {last}", "install it again: pip install torch"
        )
    said = json.loads(out.strip().splitlines()[-1])
    if said["gpus"]:
        return Finding("torch", True, f"{said['version']}, CUDA {said['cuda']}: {', '.join(said['gpus'])}")
    why = "a CPU build" if said["cuda"] is None else f"built for CUDA {said['cuda']}, and finds no device"
    return Finding(
        "torch", None, f"{said['version']}, {why}: device=cpu", "a GPU needs a CUDA build and a driver"
    )


def compilers() -> Finding:
    """What torch.compile needs: Triton and a C compiler on a GPU, a C++ compiler on a CPU."""
    cxx = next((name for name in ("g++", "c++", "clang++") if shutil.which(name)), None)
    triton = find_spec("triton") is not None
    what = f"C++ compiler: {cxx or 'none'}; triton: {'there' if triton else 'not installed'}"
    if cxx is None:
        return Finding("compile", False, what, "install g++, or run with runtime.compile=false")
    return Finding("compile", True if triton else None, what + ("" if triton else " (a GPU needs it)"))


def tracking() -> Finding:
    """Whether runs can be logged to MLflow."""
    if _installed("mlflow"):
        return Finding("mlflow", True, version("mlflow"))
    return Finding("mlflow", False, "not installed", "runs finish without; icd sync RUN logs them later")


def leftovers(folder: Path) -> list[Finding]:
    """What killed runs left, one line for all of it; nothing where there is nothing."""
    paths = found(folder)
    if not paths:
        return []
    more = "" if len(paths) == 1 else f" and {len(paths) - 1} more"
    what = f"killed runs left {paths[0].name}{more}"
    return [Finding("leftovers", None, what, f"icd doctor {CLEAN} removes what no process uses")]


def disk(folder: Path) -> Finding:
    """Free space where runs are written."""
    free = shutil.disk_usage(folder).free / 2**30
    short = free < ENOUGH_GIB
    return Finding("disk", None if short else True, f"{free:.0f} GiB free here", "make room" if short else "")
