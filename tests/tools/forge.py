"""Forgeries: changes of a copy of a run, or of a sweep, after which table and sums are made to fit.

`forgery` registers a change with the sentence that `icd verify` must say of it: exit code 6 alone could come
from anything.
"""

from __future__ import annotations

import json
import re
import shutil

import yaml

from icd.errors import Exit
from icd.pipeline.files import SUMS, write_sums
from icd.report.csv import encode as table
from icd.samples import encode, read_samples
from icd.tools import verify as tool
from icd.tools.recheck.recorded import read_json


class Forgeries:
    """The forgeries of one file of tests, by name."""

    def __init__(self):
        self.known = {}

    def __call__(self, says, on="measured", mend=True):
        """Register a function of the copy's folder; ``says``: what the sentence must hold."""

        def add(change):
            assert change.__name__ not in self.known
            self.known[change.__name__] = (change, says, on, mend)
            return change

        return add

    def cases(self):
        """For `pytest.mark.parametrize`."""
        return {"argvalues": list(self.known.values()), "ids": list(self.known)}


def check(case, bases, tmp_path, capsys, monkeypatch):
    """That the forgery of ``case`` ends with 6 and the sentence that names file and key."""
    change, says, on, mend = case
    out = shutil.copytree(bases[on], tmp_path / bases[on].name)
    change(out)
    if mend:
        sums(out)
    monkeypatch.setattr(tool, "SHOWN", 10**6)
    assert tool.main([str(out)]) == Exit.VERIFICATION_FAILED
    printed = capsys.readouterr().out
    assert re.search(says, printed), printed


def sums(folder):
    """Table and sums of a run, or of every cell of a sweep, as whoever changed it would make them."""
    for run in [folder, *folder.iterdir()]:
        held = all((run / name).is_file() for name in (SUMS, "metrics.json"))
        if run.is_dir() and not run.is_symlink() and held:
            (run / "report.csv").write_text(table(json.loads((run / "metrics.json").read_text())))
            write_sums(run)


def edit(folder, file, change):
    """``change(value)`` of a JSON file; what it returns, where it returns something, takes the place."""
    value = json.loads((folder / file).read_text())
    again = change(value)
    (folder / file).write_text(json.dumps(value if again is None else again))


def put(folder, file, *path, value):
    """Another value at ``path``."""

    def change(node):
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    edit(folder, file, change)


def lock(folder, *path, value):
    """Another value in both forms of the lock."""
    put(folder, "config.lock.json", *path, value=value)
    (folder / "config.lock.yaml").write_text(
        yaml.safe_dump(read_json(folder / "config.lock.json"), sort_keys=False)
    )


def text(folder, file, old, new, *, count=1):
    """Other words in a file."""
    before = (folder / file).read_text()
    again = re.sub(old, new, before, count=count, flags=re.DOTALL)
    assert again != before
    (folder / file).write_text(again)


def samples(folder, change):
    """``change(rows)`` of samples.csv.gz."""
    path = folder / "samples.csv.gz"
    path.write_bytes(encode(change(read_samples(path))))


def log(folder, keep):
    """Lines of run.log that ``keep(line)`` returns, changed or not."""
    lines = [json.loads(line) for line in (folder / "run.log").read_text().splitlines()]
    kept = [again for line in lines if (again := keep(line)) is not None]
    (folder / "run.log").write_text("".join(json.dumps(line) + "\n" for line in kept))
