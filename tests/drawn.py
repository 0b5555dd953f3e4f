"""Within one process of tests, what a record shows as drawings is drawn once, and its words every time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DRAWN: dict[Any, Any] = {}


DRAWING = ("test_mock_run.py", "test_forged_report.py", "test_drawings.py", "test_html.py", "test_results.py")


@pytest.fixture(scope="module", autouse=True)
def _drawn_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """``verify`` draws again what the run has drawn, which takes longer than all else that it does.

    That drawings follow from the record alone is proved in the modules of `DRAWING`, where all are drawn.
    """
    if request.path.name in DRAWING:
        yield
        return
    from icd.report import html

    with pytest.MonkeyPatch.context() as patch:
        for name in ("ratio_plots", "timeline_plot", "layout_pictures"):
            patch.setattr(html, name, once(getattr(html, name), lambda run: files(run.folder)))
        patch.setattr(html, "correlation_rows", once(html.correlation_rows, lambda *given: json.dumps(given)))
        yield


def once(function: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, computed once for each ``key`` of its arguments."""

    def cached(*given: Any) -> Any:
        at = (function.__name__, key(*given))
        if at not in DRAWN:
            DRAWN[at] = function(*given)
        return DRAWN[at]

    return cached


def files(folder: Path) -> tuple[str, ...]:
    """The digests of all that a drawing is made from."""
    from icd.pipeline.files import sha256

    found = [*folder.glob("*.json"), *folder.glob("W/*"), *folder.glob("samples.csv.gz")]
    return tuple(f"{file.name} {sha256(file)}" for file in sorted(found))
