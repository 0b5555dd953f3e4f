"""The page that people open, and its plot, are those of the record."""

from __future__ import annotations

import re
import shutil

import pytest
from PIL import Image

from icd.errors import Exit
from icd.report.html import drawn_with
from icd.tools import verify as tool
from tests.tools.forge import Forgeries, check, sums, text

forgery = Forgeries()
PAGE, PLOT = "report.html", "plots/ratios.png"


@forgery(r"report\.html: line \d+, below 'the head of the page'")
def another_verdict(run):
    text(run, PAGE, r"<strong>WIN", "<strong>BIG WIN")


@forgery(r"report\.html: line \d+, below .*the record gives")
def a_verdict_sentence_with_another_number(run):
    text(run, PAGE, "made mock faster: latency −", "made mock faster: latency −3")


@forgery(r"report\.html: line \d+, below 'Caveats'")
def no_caveats(run):
    text(run, PAGE, r'<ul class="caveats">.*?</ul>', "<p>None that the record shows.</p>")


@forgery(r"report\.html: line \d+, below 'Caveats'")
def one_caveat_less(run):
    text(run, PAGE, r'(<ul class="caveats">)<li>.*?</li>', r"\1")


@forgery(r"report\.html: line \d+")
def no_badges(run):
    text(run, PAGE, r'<ul class="badges">.*?</ul>', "")


@forgery(r"report\.html: line \d+, below")
def a_number_in_a_table(run):
    text(run, PAGE, r"<td>10\.0", "<td>9.00")


@forgery(r"report\.html: line \d+, below 'Environment and configuration'")
def another_environment(run):
    text(run, PAGE, r"<dt>python</dt><dd>[^<]*", "<dt>python</dt><dd>4.0")


@forgery(r"report\.html: line \d+, below 'How to reproduce'")
def another_command_line(run):
    text(run, PAGE, "python -m icd model=mock", "python -m icd model=bert")


@forgery(r"report\.html: line \d+")
def a_script_that_rewrites_the_page(run):
    text(run, PAGE, "</head>", "<script>document.title='WIN'</script></head>")


@forgery(r"report\.html: line \d+")
def words_behind_the_end(run):
    (run / PAGE).write_text((run / PAGE).read_text() + "<h1>WIN</h1>")


@forgery(r"report\.html: the drawing 'Change of latency by comparison' .*a mark has")
def a_mark_of_the_ratio_plot_moved(run):
    text(
        run,
        PAGE,
        r'(<svg viewBox="[^"]+" role="img" aria-label="Change of latency.*?<path d="M )(\d+)',
        r"\g<1>1\2",
    )


@forgery(r"report\.html: the drawing 'Change of latency by comparison' .*it says")
def a_label_of_the_ratio_plot(run):
    text(run, PAGE, r'(aria-label="Change of latency.*?)iterative vs linear', r"\1iterative vs nothing")


@forgery(r"report\.html: the drawing .Latency samples.*it (says|has more or fewer marks)")
def a_drawing_left_empty(run):
    text(run, PAGE, r'(aria-label="Latency samples in measured order"[^>]*>).*?</svg>', r"\1</svg>")


@forgery(r"report\.html: the drawing 'Layouts of .*(pixels|marks|picture)")
def a_picture_of_a_graph_in_a_layout(run):
    found = re.findall(r"data:image/png;base64,[^\"]+", (run / PAGE).read_text())
    text(run, PAGE, re.escape(found[0]), found[-1])


@forgery(r"report\.html: the drawing .* is not that of the record")
def two_drawings_exchanged(run):
    first, second = re.findall(r"<svg.*?</svg>", (run / PAGE).read_text(), re.DOTALL)[:2]
    page = (run / PAGE).read_text().replace(first, "@").replace(second, first).replace("@", second)
    (run / PAGE).write_text(page)


@forgery(r"report\.html: the drawing 'Change of latency by comparison' .*a mark has")
def a_mark_moved_and_another_matplotlib_named(run):
    text(run, PAGE, f"matplotlib {drawn_with()}", "matplotlib 3.9.0")
    a_mark_of_the_ratio_plot_moved(run)


@forgery(r"plots/ratios\.png: it is not the ratio plot of the record: .*look different")
def a_plot_repainted_and_another_matplotlib_named(run):
    text(run, PAGE, f"matplotlib {drawn_with()}", "matplotlib 3.9.0")
    repainted(run)


@forgery(r"plots/ratios\.png: it is not the ratio plot of the record: \d+ pixels differ")
def repainted(run):
    with Image.open(run / PLOT) as picture:
        again = picture.convert("RGBA")
    again.paste((255, 0, 0, 255), (600, 100, 660, 160))
    again.save(run / PLOT)


@forgery(r"plots/ratios\.png: it is not the ratio plot of the record: .*not \d+ x \d+")
def a_plot_of_another_size(run):
    Image.new("RGBA", (40, 40)).save(run / PLOT)


@forgery(r"plots/ratios\.png: it is not the ratio plot of the record: it is no picture")
def a_plot_that_is_none(run):
    (run / PLOT).write_bytes(b"GIF89a")


@forgery(r"plots/ratios\.png: missing")
def no_plot(run):
    shutil.rmtree(run / "plots")


@forgery(r"report\.html: missing")
def no_page(run):
    (run / PAGE).unlink()


@pytest.mark.usefixtures("rendered_once")
@pytest.mark.parametrize("case", **forgery.cases())
def test_a_forged_report_is_found(case, bases, tmp_path, capsys, monkeypatch):
    check(case, bases, tmp_path, capsys, monkeypatch)


def test_drawings_of_another_matplotlib_pass_where_they_look_alike_and_the_output_says_so(
    measured_run, tmp_path, capsys
):
    out = shutil.copytree(measured_run, tmp_path / "measured")
    text(out, PAGE, f"matplotlib {drawn_with()}", "matplotlib 3.9.0")
    text(out, PAGE, r'(<path d="M )(\d+)\.(\d)', r"\1\2.9")
    sums(out)
    assert tool.main([str(out)]) == Exit.DONE
    assert (
        "drawings of report.html and plots/ratios.png were made with matplotlib 3.9.0"
        in capsys.readouterr().out
    )


def test_an_archive_without_graphs_may_show_pictures_of_them_and_nothing_else(measured_run, tmp_path, capsys):
    out = shutil.copytree(measured_run, tmp_path / "measured", ignore=shutil.ignore_patterns("W"))
    sums(out)
    assert tool.main(["--without-graphs", str(out)]) == Exit.DONE
    assert "pictures of layouts in report.html, which need W, were not compared" in capsys.readouterr().out
    text(out, PAGE, r'(aria-label="Layouts of [^>]*>)', r"\1<foreignObject><b>WIN</b></foreignObject>")
    sums(out)
    assert tool.main(["--without-graphs", str(out)]) == Exit.VERIFICATION_FAILED
    assert "report.html: the drawing 'Layouts of" in capsys.readouterr().out


def test_a_page_of_an_earlier_version_is_refused_with_the_remedy_which_helps(measured_run, tmp_path, capsys):
    from icd.tools import report

    out = shutil.copytree(measured_run, tmp_path / "measured")
    text(out, PAGE, "None that|Caveats", "Limits")
    sums(out)
    assert tool.main([str(out)]) == Exit.VERIFICATION_FAILED
    assert "icd report` renders it again, also where an earlier version" in capsys.readouterr().out
    assert report.main([str(out)]) == Exit.DONE and tool.main([str(out)]) == Exit.DONE


def test_a_run_that_was_renamed_still_verifies(measured_run, tmp_path):
    out = shutil.copytree(measured_run, tmp_path / "another name")
    assert tool.main([str(out)]) == Exit.DONE


def test_settings_of_the_user_s_matplotlib_change_no_report(measured_run):
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.grid": True}):
        assert tool.main([str(measured_run)]) == Exit.DONE
