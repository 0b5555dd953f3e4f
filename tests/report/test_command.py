"""`icd report`: the report again, with sums that hold."""

from __future__ import annotations

import pytest

from icd.errors import ConfigError, MissingResource, VerificationError
from icd.pipeline.files import check_sums
from icd.tools.report import main
from tests.report.build import metrics, write_run


def test_report_and_sums_are_written_again(tmp_path, capsys):
    run = write_run(tmp_path / "run", metrics())
    assert main([str(run)]) == 0
    assert (run / "report.html").is_file()
    assert (run / "report.csv").is_file()
    assert check_sums(run) == []
    assert capsys.readouterr().out.strip().endswith("report.html")


def test_unfinished_and_missing_directories_are_refused(tmp_path):
    run = write_run(tmp_path / "run", metrics())
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingResource, match="not a finished run"):
        main([str(run), str(tmp_path / "empty")])
    assert not (run / "report.html").exists()
    with pytest.raises(MissingResource, match="no such run"):
        main([str(tmp_path / "none")])
    with pytest.raises(ConfigError, match="usage"):
        main([])


def test_a_record_that_was_changed_gets_no_new_sums(tmp_path):
    run = write_run(tmp_path / "run", metrics())
    main([str(run)])
    (run / "report.html").write_text("changed")
    assert main([str(run)]) == 0  # a report may be written again, whatever became of it
    (run / "metrics.json").write_text((run / "metrics.json").read_text().replace("-20.0", "-90.0", 1))
    with pytest.raises(VerificationError, match=r"metrics\.json was changed"):
        main([str(run)])
    assert check_sums(run)


def test_the_report_of_an_archive_without_graphs_keeps_their_sums(tmp_path):
    run = write_run(tmp_path / "run", metrics())
    graphs = {path.name: path.read_bytes() for path in (run / "W").iterdir()}
    for name in graphs:
        (run / "W" / name).unlink()
    with pytest.raises(VerificationError, match=r"missing; its report .* --without-graphs"):
        main([str(run)])
    assert main(["--without-graphs", str(run)]) == 0
    assert check_sums(run, "W") == []
    for name, content in graphs.items():
        (run / "W" / name).write_bytes(content)
    assert check_sums(run) == []
    (run / "perm_after.json").write_text("{}")
    with pytest.raises(VerificationError, match=r"perm_after\.json was changed"):
        main(["--without-graphs", str(run)])
