"""No connection of MLflow's own is opened, outside a test runner as well, where it would be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HOOK = """
import os, socket, sys, time
asked = []
def refuse(name):
    def ask(*words, **_):
        asked.append((name, str(words[:2])))
        raise OSError("no network")
    return ask
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, refuse(name))
for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, refuse(name))
"""
IMPORT = """
import mlflow
from mlflow.telemetry import get_telemetry_client
from mlflow.telemetry.events import CreateRunEvent
from mlflow.telemetry.track import record_usage_event
record_usage_event(CreateRunEvent)(lambda: None)()  # as MlflowClient.create_run is
end = time.monotonic() + 5
while not asked and get_telemetry_client() is not None and time.monotonic() < end:
    time.sleep(0.05)
print(get_telemetry_client(), asked)
"""
# what MLflow takes for a test runner or a build machine
TELLTALE = (
    "PYTEST",
    "CI",
    "GITHUB_",
    "GITLAB_",
    "BUILD",
    "JENKINS",
    "TRAVIS",
    "TF_BUILD",
    "CODEBUILD",
    "TEAMCITY",
)


def outside(code, **env):
    """What Python prints where nothing says that it is tested."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith((*TELLTALE, "MLFLOW", "DO_NOT_TRACK"))}
    env = {**kept, "HF_HUB_OFFLINE": "1", **env}
    done = subprocess.run([sys.executable, "-c", HOOK + code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_run_in_mlflow_asks_nobody_also_where_a_user_switched_it_on():
    told = {"MLFLOW_DISABLE_TELEMETRY": "false", "DO_NOT_TRACK": "false"}
    assert outside("import icd" + IMPORT, **told) == "None []"


def test_what_the_package_starts_inherits_it():
    code = "import subprocess, icd\nprint(subprocess.run([sys.executable, '-c', 'import os; "
    code += 'print(os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"])'
    code += "'], capture_output=True, text=True).stdout.strip())"
    assert outside(code) == "true true"


@pytest.mark.slow
def test_the_hook_itself_would_notice():
    assert "getaddrinfo" in outside(IMPORT)
