"""``report.html``: one self-contained page of a run, readable without scripts and without a network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from icd.newfile import folder_below, replace_file
from icd.report import cache, diagnostics, facts, rollback, rooflines, site_tables, tables
from icd.report.caveats import badges, caveats
from icd.report.figures import correlation, layouts, ratios, timeline
from icd.report.figures.canvas import GLYPHS, PAGE, PAPER, arm_colour, arm_marker, png, svg
from icd.report.folder import Run, dig, load
from icd.report.phrases import compression, model, no_device, why
from icd.report.words import solver_sentence, verdict

TEMPLATE = "template.html.j2"
RATIO_PLOT = Path("plots") / "ratios.png"
ARMS = {
    "dense": "the model before compression",
    "linear": "permuted once, then compressed",
    "sliced": "compressed, live channels kept in their original order, no solver",
    "iterative": "permuted, compressed, permuted again",
    "shuffle": "linear in random order, another for every allocation",
    "aa": "a second allocation of linear: what differs is noise",
}


def write_html(folder: Path) -> None:
    """Write ``folder/report.html``, and the ratio plot as ``plots/ratios.png`` when there is one."""
    write_files(folder, drawn_files(folder))


def write_files(folder: Path, files: Mapping[Path, bytes]) -> None:
    """Each below ``folder``, through no link."""
    for name, data in files.items():
        if name.parent.name:
            folder_below(folder, name.parent.name)
        replace_file(folder / name, data)


def drawn_files(folder: Path) -> dict[Path, bytes]:
    """What `write_html` writes, by name; a character that is no text (of a file's name) is escaped."""
    run = load(folder)
    drawn = ratios.draw(run.metrics, "latency", PAPER)
    plots = {} if drawn is None else {RATIO_PLOT: png(drawn)}
    return {**plots, Path("report.html"): render(run).encode("utf-8", "backslashreplace")}


def render(run: Run, name: str | None = None) -> str:
    """The page as text; everything that comes from data is escaped by the template.

    The same record gives the same page wherever and whenever it is rendered, so that `icd verify` can
    compare; only the drawings depend on matplotlib's version, which the page states. ``name``: of the run
    directory, where it is called otherwise by now.
    """
    import jinja2

    text = resources.files("icd.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    page = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    own = run.folder.name.removeprefix(".").partition(".unfinished-")[0]
    return page.from_string(text).render({**context(run), "folder": name or own})


def context(run: Run) -> dict[str, Any]:
    """Everything that the template shows."""
    metrics = run.metrics
    said, arms, comparisons = verdict(metrics), tables.arms(metrics), tables.comparisons(metrics)
    names = list(metrics.get("arms") or {})
    pipeline = facts.plain(dig(metrics, "config", "pipeline"))
    return {
        "title": f"{model(metrics)}: {compression(metrics)}, pipeline {pipeline}",
        "identity": [*facts.identity(metrics), ("device", facts.device(run))],
        "simulated": no_device(metrics),
        "badges": badges(metrics),
        "verdict": said,
        "sentences": [tie(s) for s in said.sentences],
        "gates": tables.gates(metrics),
        "arms": arms,
        "arms_parts": [arms.columns(1, 9), arms.columns(9)],
        "legend": [(n, arm_colour(n, names), GLYPHS[arm_marker(n)], ARMS.get(n, "")) for n in names],
        "rooflines": rooflines.rooflines(metrics),
        "roofline_device": tie(rooflines.device(metrics)),
        "comparisons": comparisons,
        "comparison_parts": tables.comparison_parts(comparisons),
        "diagnostics": diagnostics.diagnostics(metrics),
        "cache_arms": cache.arms(metrics),
        "cache_pairs": cache.comparisons(metrics),
        "cache_regimes": cache.regimes(run.ncu),
        "kernels": cache.kernels(run.ncu),
        "no_kernels": run.ncu.get("kernels_reason"),
        "ratios": ratio_plots(run),
        "timeline": timeline_plot(run),
        "correlations": correlation_rows(metrics, names),
        "layouts": layout_pictures(run),
        "drawn_with": drawn_with(),
        "iterations": site_tables.iterations(metrics),
        "solver": tie(solver_sentence(metrics)),
        "rollback": [tie(s) for s in rollback.sentences(metrics)],
        "rollback_figures": rollback.figures(metrics),
        "causes": rollback.causes(metrics) if rollback.triggered(metrics) else None,
        "sites": site_tables.sites(metrics),
        "executed": site_tables.executed(metrics),
        "plan": site_tables.plan(metrics),
        "checks": facts.checks(metrics),
        "protocol": facts.protocol(run),
        "unit": facts.unit(metrics),
        "env": facts.flatten(run.env),
        "lock": facts.flatten(run.lock),
        "caveats": [tie(c) for c in (*caveats(metrics, run.env), *rooflines.caveats(metrics))],
        "overrides": facts.overrides(run),
        "schema": facts.plain(metrics.get("schema")),
    }


def drawn_with() -> str:
    """The version of matplotlib, on which drawings depend by fractions of a point."""
    import matplotlib

    return str(matplotlib.__version__)


def tie(sentence: str) -> str:
    """Numbers and their units kept on one line."""
    for loose in (" %", " pp", "n = "):
        sentence = sentence.replace(loose, loose.replace(" ", "\u00a0"))
    return sentence


def markup(text: str) -> Any:
    """SVG that was made here, not to be escaped again."""
    import markupsafe

    return markupsafe.Markup(text)


def ratio_plots(run: Run) -> list[tuple[str, Any]]:
    """(title, figure) of every block that has a value, latency first."""
    out = []
    for block in ratios.BLOCKS:
        title = ratios.title_of(block, run.metrics)
        drawn = ratios.draw(run.metrics, block, PAGE)
        if drawn is not None:
            out.append((title, markup(svg(drawn, f"ratio-{block}", f"Change of {title} by comparison"))))
    return out


def timeline_plot(run: Run) -> dict[str, Any]:
    """The samples over time, or the sentence that stands in their place."""
    found = timeline.draw(run.samples, "latency_ms", "ms", PAGE)
    if found is None:
        return {"figure": None, "note": "No latency samples were recorded."}
    drawn, shown, total = found
    note = (
        ""
        if shown == total
        else f"{shown:,} of {total:,} samples drawn; the extremes of each stretch are kept."
    )
    return {"figure": markup(svg(drawn, "timeline", "Latency samples in measured order")), "note": note}


def correlation_rows(metrics: Mapping[str, Any], arms: list[str]) -> list[dict[str, Any]]:
    """A row a measured figure: three panels, or one line that says why there are none."""
    rows = []
    for y, (title, path, _) in correlation.MEASURED.items():
        panels = [correlation.panel(metrics, x, y) for x in correlation.LAYOUT]
        drawn = [
            {
                "figure": markup(
                    svg(correlation.draw(p, arms, PAGE), f"corr-{p.x}-{y}", f"{p.x} against {title}")
                ),
                "note": correlation_note(p),
            }
            for p in panels
            if p.points
        ]
        first: Mapping[str, Any] = next(iter((metrics.get("arms") or {}).values()), {})
        reason = "" if drawn else why(dig(first, path[0]) or {})
        rows.append({"title": title, "panels": drawn, "reason": reason})
    return rows


def correlation_note(shown: correlation.Panel) -> str:
    """``n = 5, Spearman ρ = 0.80``, or why there is no ρ."""
    if shown.rho is not None:
        return f"n = {shown.n}, Spearman ρ = {shown.rho:+.2f}".replace("-", "−")
    few = shown.n < correlation.MIN_N
    return f"n = {shown.n}, " + ("too few for ρ" if few else "no ρ: one side does not vary")


def layout_pictures(run: Run) -> list[tuple[str, Any]]:
    """(site, figure) of up to four sites."""
    out = []
    for i, site in enumerate(layouts.choose(run)):
        drawn = layouts.draw(run, site, PAGE)
        if drawn is not None:
            title = (
                f"{site['site']}: {site['channels']:,} channels, {site.get('live', site['channels']):,} live"
            )
            out.append((title, markup(svg(drawn, f"layout-{i}", f"Layouts of {site['site']}"))))
    return out
