"""The page in a real browser: it shows something, complains about nothing and asks nothing of the network."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from icd.report.html import write_html
from tests.report.build import metrics, write_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--enable-logging=stderr",
)  # fmt: skip
BROWSERS_OWN = "not an origin"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]


def visit(page: Path, work: Path) -> tuple[Path, list[str], list[str]]:
    """A screenshot, what the page wrote to the console, and the requests that the page made."""
    work.mkdir()
    shot, log = work / "shot.png", work / "net.json"
    done = subprocess.run(
        [
            str(CHROMIUM), *QUIET, f"--user-data-dir={work / 'profile'}", f"--log-net-log={log}",
            f"--screenshot={shot}", "--window-size=1200,3000", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    events = json.loads(log.read_text())["events"]
    params = [event.get("params", {}) for event in events]
    asked = [str(p["url"]) for p in params if "url" in p and p.get("initiator", BROWSERS_OWN) != BROWSERS_OWN]
    return shot, console, asked


def test_report_renders_quietly_and_offline(tmp_path):
    from matplotlib.image import imread

    write_html(write_run(tmp_path / "run", metrics()))
    shot, console, asked = visit(tmp_path / "run" / "report.html", tmp_path / "report")
    assert console == []
    assert asked == []
    picture = imread(shot)
    assert picture.shape[:2] == (3000, 1200)
    assert picture[..., :3].std() > 0.05


def test_the_probe_sees_a_page_that_complains_and_asks(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('seen')</script><img src='http://127.0.0.1:9/seen.png'>")
    _, console, asked = visit(bad, tmp_path / "bad")
    assert any("seen" in line for line in console)
    assert any("seen.png" in url for url in asked)
