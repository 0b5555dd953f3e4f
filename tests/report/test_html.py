"""The page shows every part of a run, escapes data, and asks nothing of the network."""

from __future__ import annotations

import html.parser
import json
import re
import subprocess
import sys

import pytest

from icd.errors import ConfigError
from icd.report import facts, tables
from icd.report.html import write_html
from tests.report.build import earlier, metrics, ratio, simulate, write_run

SECTIONS = (
    "Gates", "Arms", "Comparisons", "Samples over time", "Layout figures against measured figures", "Layouts",
    "Iterations and solver", "What was executed", "Protocol", "Caveats", "Environment and configuration",
    "How to reproduce",
)  # fmt: skip
VOID = {"meta", "link", "br", "path", "use", "image", "stop"}


class Balance(html.parser.HTMLParser):
    """Every tag that opens also closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def page_of(folder, record, **options) -> str:
    write_html(write_run(folder, record, **options))
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return page_of(tmp_path_factory.mktemp("page") / "run", metrics())


def test_sections_stand_in_order(page):
    found = re.findall(r"<h2>(.*?)</h2>", page)
    assert tuple(found) == SECTIONS
    assert page.index('class="verdict"') < page.index("<h2>Gates")


def test_tags_balance(page):
    checked = Balance(page)
    assert checked.wrong == []
    assert checked.open == []


def test_nothing_is_fetched_and_nothing_runs(page):
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert not [u for u in re.findall(r"url\(([^)]*)\)", page) if not u.startswith("#")]
    assert not [u for u in re.findall(r'(?:href|src)="([^"]*)"', page) if not u.startswith(("#", "data:"))]


def test_no_id_is_used_twice_and_every_reference_has_its_target(page):
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', page)) <= set(ids)


def test_figures_follow_the_page_colours(page):
    assert "var(--ink)" in page
    assert not re.search(r"#01020[3-6]", page)


def test_page_is_small(page):
    assert len(page.encode()) < 2_500_000


def test_verdict_gates_and_reasons_are_shown(page):
    assert "<strong>WIN</strong>" in page
    for word in ("pass", "fail", "undecided", "upper end -18"):
        assert word in page
    assert "icd verify run" in page
    assert "model=tiny pipeline=iterative transform=channel" in page


def test_a_check_has_a_name_a_direction_and_a_unit(page):
    for shown in ("<td>C, cache distance</td><td>≤ −10 %</td>", "<td>L2 served</td><td>≥ 5 pp</td>"):
        assert shown in page


def test_the_protocol_lists_what_was_measured_and_no_more(page):
    protocol = page[page.index("<h2>Protocol") : page.index("<h2>Caveats")]
    assert "<dt>allocations a process</dt>" in protocol and "<dt>samples</dt>" in protocol
    assert "L2 profiles" not in protocol and "<dd>–</dd>" not in protocol


def test_the_mean_of_all_iterations_has_a_column_beside_the_median(page):
    for heading in ("latency<small>%, median</small>", "mean<small>%, all iterations</small>"):
        assert heading in page
    assert "<td>−20.0 [−22.0 to −18.0]</td>" in page
    assert "it is the median of its rounds" in page


def test_a_record_that_names_no_summary_is_shown_as_of_the_mean():
    record = earlier(metrics())
    table = tables.comparisons(record)
    assert ("latency", "%") in table.headings and "mean" not in dict(table.headings)
    assert {len(row) for row in table.rows} == {len(table.headings)}
    assert [part.headings[-1][0] for part in tables.comparison_parts(table)] == ["p", "quality vs dense"]
    assert "averaged over rounds" in facts.unit(record) and "median of its rounds" not in facts.unit(record)


def test_nulls_are_dashes_with_a_footnote(page):
    assert "–<sup>1</sup>" in page
    assert "no L2 counter is read on this device" in page
    assert not re.search(r"\bNone\b|\bnan\b", page)


def test_data_is_escaped(tmp_path):
    record = metrics()
    bad = '<script>alert("x")</script>'
    record["model"]["name"] = bad
    record["tags"] = ["<b>tag</b>"]
    record["arms"]["dense"]["executed"]["kernel"] = bad
    record["gates"]["smoke"]["checks"][0]["reason"] = bad
    page = page_of(tmp_path / "run", record)
    assert "<script" not in page
    assert "<b>tag</b>" not in page
    assert "&lt;script&gt;" in page


def test_names_in_figures_are_escaped_and_not_read_as_mathematics(tmp_path):
    record = metrics()
    record["compare"]["<i>a$b$_vs_linear"] = {"latency": ratio(-1.0, [-2.0, 0.0], "AMBIGUOUS")}
    page = page_of(tmp_path / "run", record)
    assert "<i>a" not in page
    assert "&lt;i&gt;a$b$ vs linear" in page


def test_simulated_run_is_marked_everywhere(tmp_path):
    page = page_of(tmp_path / "run", simulate(metrics()))
    assert "<strong>SIMULATED</strong>" in page
    assert "simulated, not measured" in page
    assert "rolled-back" in page


@pytest.mark.parametrize(
    ("arms", "pipeline"),
    [(("dense",), "dense"), (("dense", "linear", "aa"), "linear"), (("linear",), "linear")],
)
def test_other_pipelines_render(tmp_path, arms, pipeline):
    record = metrics(arms, pipeline)
    page = page_of(tmp_path / "run", record)
    assert tuple(re.findall(r"<h2>(.*?)</h2>", page)) == SECTIONS
    assert "This pipeline has no re-permutation" in page


def test_a_bare_record_renders(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"schema": "icd.metrics/1", "run_id": "x"}))
    write_html(folder)
    assert "This run compares nothing" in (folder / "report.html").read_text("utf-8")


def test_null_latency_everywhere_renders(tmp_path):
    record = metrics()
    for arm in record["arms"].values():
        arm["latency_ms"] = {
            "mean": None,
            "p50": None,
            "p95": None,
            "ci95": None,
            "n": 0,
            "reason": "no clock",
        }
        arm["throughput_tok_s"] = None
    for block in record["compare"].values():
        block["latency"] = {"delta_pct": None, "ci95": None, "verdict": None, "reason": "no clock"}
    page = page_of(tmp_path / "run", record)
    assert "No change was measured" in page
    assert "No panels for latency p50, ms: no clock." in page


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="did not finish"):
        write_html(tmp_path)


def test_ratio_plot_is_a_file_too(tmp_path):
    page_of(tmp_path / "run", metrics())
    assert (tmp_path / "run" / "plots" / "ratios.png").read_bytes().startswith(b"\x89PNG")


def test_same_run_gives_the_same_page(tmp_path):
    folder = write_run(tmp_path / "run", metrics())
    write_html(folder)
    first = (folder / "report.html").read_bytes()
    write_html(folder)
    assert (folder / "report.html").read_bytes() == first


def test_importing_the_report_imports_nothing_heavy():
    code = (
        "import sys, icd.report.html, icd.report.csv, icd.tracking.mlflow, icd.tools.report, icd.tools.sync;"
        "heavy = ('matplotlib', 'jinja2', 'mlflow', 'torch', 'scipy', 'requests');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_no_text_is_escaped_and_costs_no_report(tmp_path):
    record = metrics()
    record["model"]["name"] = "caf\udce9"
    run = write_run(tmp_path / "run", record)
    write_html(run)
    assert "caf\\udce9" in (run / "report.html").read_text("utf-8")


def test_a_report_is_written_through_no_link(tmp_path):
    run = write_run(tmp_path / "run", metrics())
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for name in (".report.html.tmp", "report.html"):
        (run / name).symlink_to(outside)
    (run / "plots").mkdir()
    (run / "plots" / ".ratios.png.tmp").symlink_to(outside)
    write_html(run)
    assert outside.read_text() == "mine" and not (run / "report.html").is_symlink()
    (run / "plots" / "ratios.png").unlink()
    (run / "plots").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (run / "plots").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="run/plots: expected a folder, got a link"):
        write_html(run)
    assert list((tmp_path / "elsewhere").iterdir()) == []
