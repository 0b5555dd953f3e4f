"""A sweep's cells: each finished, each counted once, each in the sweep."""

from __future__ import annotations

import json
import shutil

import pytest

from icd.errors import Exit
from icd.pipeline.files import SUMS, write_sums
from icd.pipeline.sweep import write_sweep
from icd.tools import verify as tool
from tests.tools.forge import Forgeries, check, edit, put

forgery = Forgeries()


@forgery(r"\.2-c\.unfinished-77: a cell that is unfinished", on="sweep")
def an_unfinished_cell_that_is_counted(sweep):
    shutil.copytree(sweep / "1-b", sweep / ".2-c.unfinished-77")
    write_sweep(sweep)


@forgery(r"2-c\.unfinished-77: a cell that is unfinished", on="sweep")
def an_unfinished_cell_that_is_not_hidden(sweep):
    shutil.copytree(sweep / "1-b", sweep / "2-c.unfinished-77")
    write_sweep(sweep)


@forgery(r"1-b and 2-c: one measurement counted 2 times \(the same metrics\.json: run_id\)", on="sweep")
def a_cell_counted_twice(sweep):
    shutil.copytree(sweep / "1-b", sweep / "2-c")
    write_sweep(sweep)


@forgery(r"1-b and 2-c: one measurement counted 2 times \(the same samples\.csv\.gz\)", on="sweep")
def a_cell_counted_twice_under_another_id(sweep):
    shutil.copytree(sweep / "1-b", sweep / "2-c")
    edit(sweep / "2-c", "metrics.json", lambda m: m.update(run_id="0" * 32, elapsed_s=m["elapsed_s"] * 0.999))
    write_sweep(sweep)


@forgery(r"0-a and 2-c: one measurement counted 2 times \(the same metrics\.json: elapsed_s\)", on="sweep")
def a_simulated_cell_counted_twice_under_another_id(sweep):
    shutil.copytree(sweep / "0-a", sweep / "2-c")
    put(sweep / "2-c", "metrics.json", "run_id", value="0" * 32)
    write_sweep(sweep)


@forgery(r"2-c: a link; the cells of a sweep are in it", on="sweep")
def a_cell_of_another_sweep(sweep):
    shutil.copytree(sweep / "1-b", sweep.parent / "elsewhere")
    (sweep / "2-c").symlink_to(sweep.parent / "elsewhere", target_is_directory=True)
    write_sweep(sweep)


@forgery(r"1-b: it holds a record without SHA256SUMS", on="sweep", mend=False)
def a_cell_that_is_not_counted(sweep):
    (sweep / "1-b" / SUMS).unlink()
    write_sweep(sweep)


@forgery(r"\.1-b: a hidden cell", on="sweep")
def a_hidden_cell(sweep):
    (sweep / "1-b").rename(sweep / ".1-b")
    write_sweep(sweep)


@forgery(r"sweep\.json\.cells\.1-b", on="sweep")
def a_cell_left_out_of_the_decision(sweep):
    edit(sweep, "sweep.json", lambda found: found["cells"].pop("1-b") and None)


@forgery(r"sweep\.json\.gates\.smoke\.passed", on="sweep")
def a_gate_that_more_cells_pass(sweep):
    put(sweep, "sweep.json", "gates", "smoke", "passed", value=2)


@forgery(r"sweep\.json\.note", on="sweep")
def a_note_in_the_decision(sweep):
    put(sweep, "sweep.json", "note", value="all good")


@forgery(r"1-b: metrics\.json: tags", on="sweep")
def a_forged_cell(sweep):
    put(sweep / "1-b", "metrics.json", "tags", value=[])
    write_sweep(sweep)


@forgery(r"no cell of this sweep has finished", on="sweep")
def a_sweep_of_nothing(sweep):
    for cell in ("0-a", "1-b"):
        shutil.rmtree(sweep / cell)
    write_sweep(sweep)


@forgery(r"sweep\.json is missing", on="sweep")
def a_sweep_without_a_decision(sweep):
    shutil.copy(sweep / "sweep.json", sweep / "ledger.jsonl")
    (sweep / "sweep.json").unlink()


@forgery(r"sweep\.json: no run writes a file of this name")
def a_run_that_calls_itself_a_sweep(run):
    """Whose cells would be none, so that nothing would be looked at."""
    put(run, "metrics.json", "tags", value=[])
    (run / "sweep.json").write_text(json.dumps({}))
    write_sweep(run)


@pytest.mark.usefixtures("rendered_once")
@pytest.mark.parametrize("case", **forgery.cases())
def test_a_forged_sweep_is_found(case, bases, tmp_path, capsys, monkeypatch):
    check(case, bases, tmp_path, capsys, monkeypatch)


def test_a_sweep_verifies_and_a_failed_cell_is_none_of_its_finished_ones(bases, tmp_path):
    out = shutil.copytree(bases["sweep"], tmp_path / "sweep")
    failed = out / "2-c"
    failed.mkdir()
    (failed / "config.lock.json").write_text("{}")
    (failed / "error.json").write_text('{"code": 4, "message": "x"}')
    write_sums(out / "0-a")
    assert tool.main([str(out)]) == Exit.DONE
