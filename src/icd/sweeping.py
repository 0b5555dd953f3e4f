"""The cells of a sweep: expanded before Hydra launches them, run by its launcher, judged together."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from icd.cells import cell_folder, check_folders, swept_keys
from icd.composing import compose_cell
from icd.errors import ConfigError, Exit
from icd.lastresort import answer
from icd.ledger import is_sweep, write_plan
from icd.own import quoted
from icd.pipeline.lifeline import end_after
from icd.recording import hidden
from icd.refusals import hydra_errors, sentence, unreadable
from icd.streams import steady

if TYPE_CHECKING:
    from omegaconf import DictConfig

# here, for a launcher's process imports this module before it needs the name of its cell's folder
OmegaConf.register_new_resolver("icd_cell", cell_folder, replace=True)


LAUNCHER = "ICD_LAUNCHER"  # process id of the sweep, for workers on this machine


def launch(conf: Path, overrides: list[str]) -> int:
    """Run every cell by the launcher that is configured, in this process or others, and judge them together.

    What a cell came to is what its launcher hands back (`sweep_cell`): a process of its own shares no list.
    """
    from hydra import version
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra

    overrides = placed(conf, overrides)
    os.environ[LAUNCHER] = str(os.getpid())
    version.setbase("1.3")
    GlobalHydra.instance().clear()
    app = Hydra.create_main_hydra2("icd", create_config_search_path(str(conf)))
    try:
        batches = app.multirun("config", sweep_cell, overrides)
    finally:
        GlobalHydra.instance().clear()
    cells = [job for batch in batches for job in batch]
    done = [job.return_value for job in cells]
    if cells:
        finish_sweep(Path(done[-1][1]), cells[-1].cfg)
    return sweep_code([code for code, _ in done])


def placed(conf: Path, overrides: list[str]) -> list[str]:
    """``overrides`` with the sweep's directory and its cells' folders fixed, which its ledger then names.

    ConfigError where the directory holds a sweep already, or a cell's folder could not be its own.
    """
    cells = expand(conf, overrides, multirun=True)
    first = compose_cell(conf, cells[0]) if cells else compose_cell(conf, [])
    folder = Path(str(first.hydra.sweep.dir))
    of_the_second = "${now:" in as_written(first, "dir")
    if is_sweep(folder) and not of_the_second:
        raise ConfigError(f"hydra.sweep.dir={folder}: it holds a sweep; name a new directory")
    fixed = [f"hydra.sweep.dir={quoted(str(folder))}"]
    if as_written(first, "subdir").startswith("${icd_cell:"):  # icd's own: tell it what is swept
        keys = "|".join(swept_keys(cells)) or "null"
        own = f"${{icd_cell:${{hydra.job.num}},${{hydra.overrides.task}},{keys}}}"
        fixed.append(f"hydra.sweep.subdir={quoted(own)}")
    names = [named(conf, [*cell, *fixed], number) for number, cell in enumerate(cells)]
    check_folders(names)
    if of_the_second:
        folder = own_folder(folder)
        fixed[0] = f"hydra.sweep.dir={quoted(str(folder))}"
    write_plan(folder, [str(PurePosixPath(name)) for name in names])
    return [*overrides, *fixed]


def as_written(cfg: DictConfig, key: str) -> str:
    """A key of ``hydra.sweep`` before interpolation."""
    return str(OmegaConf.to_container(cfg.hydra.sweep, resolve=False)[key])  # type: ignore[index, call-overload]


def named(conf: Path, overrides: list[str], number: int) -> str:
    """The folder of cell ``number``, relative to the sweep's."""
    from omegaconf import open_dict, read_write

    cfg = compose_cell(conf, overrides)
    try:
        with read_write(cfg.hydra), open_dict(cfg.hydra):
            cfg.hydra.job.num = number
            return str(cfg.hydra.sweep.subdir)
    except hydra_errors() as error:
        raise ConfigError(f"hydra.sweep.subdir does not resolve: {sentence(error)}") from error


def sweep_cell(cfg: DictConfig) -> tuple[int, str]:
    """One cell: its exit code and the directory of its sweep."""
    if os.environ.get(LAUNCHER) == str(os.getppid()):  # a worker of its own, which does not outlive the sweep
        del os.environ[LAUNCHER]
        steady()
        end_after(os.getppid())
    return run_cell(cfg), str(sweep_dir())


def sweep_dir() -> Path:
    """The directory of the sweep that the running cell belongs to."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().sweep.dir).resolve()


def own_folder(first: Path) -> Path:
    """A new folder called ``first``; of two sweeps of one second the later one's gets a number."""
    for number in count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("unreachable")


def finish_sweep(folder: Path, cfg: DictConfig) -> None:
    """Judge the cells together, write ``sweep.json`` and tell the tracking store; ``cfg`` of any cell."""
    from icd.config import build
    from icd.pipeline.sweep import sentences, write_sweep

    # Hydra's own record of the sweep holds absolute paths; every cell has its lock
    (folder / "multirun.yaml").unlink(missing_ok=True)
    for line in sentences(write_sweep(folder)):
        print(line)
    note = build(cfg).tracking.log_sweep(folder)
    if note:
        print(note)


def sweep_code(codes: Sequence[int]) -> int:
    """7 when a cell failed, else 1 when a gate failed, else 0."""
    if any(code not in (Exit.DONE, Exit.GATE_FAILED) for code in codes):
        return int(Exit.CELLS_FAILED)
    return int(max(codes, default=Exit.DONE))


def expand(conf: Path, overrides: Sequence[str], multirun: bool) -> list[list[str]]:
    """The override lists of a sweep's cells, with what a named sweep adds; a single run is one cell."""
    if not multirun:
        return [list(overrides)]
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    try:
        parsed = parser.parse_overrides(list(overrides))
        plain = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
        params = compose_cell(conf, plain).hydra.sweeper.get("params") or {}
        parsed = [*parser.parse_overrides([f"{k}={v}" for k, v in params.items()]), *parsed]
        ours = [o for o in parsed if not o.key_or_group.startswith("hydra")]
        batches = BasicSweeper.split_arguments(ours, max_batch_size=None)
    except unreadable() as error:
        raise ConfigError(sentence(error)) from error
    fixed = [str(o.input_line) for o in parsed if o.key_or_group.startswith("hydra")]
    return [[*cell, *fixed] for batch in batches for cell in batch]


def run_cell(cfg: DictConfig) -> int:
    """One cell: a failure becomes its exit code and a sentence, so that a sweep goes on."""
    from hydra.core.hydra_config import HydraConfig

    from icd.config import GROUPS, check
    from icd.pipeline.run import run

    try:
        hydra = HydraConfig.get()
        choices = {group: hydra.runtime.choices[group] for group in GROUPS}
        run_dir = Path(hydra.runtime.output_dir)
        return int(run(check(cfg), run_dir, choices, another_name=names_itself(hydra)))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - told, with its code; other cells go on
        said, code = answer(error)
        print(f"icd: {hidden(said)}", file=sys.stderr)
        return int(code)


def names_itself(hydra: Any) -> bool:
    """Whether the run directory is the default one, of the second in which the run began."""
    from hydra.types import RunMode

    told = (word.partition("=")[0].lstrip("+") for word in hydra.overrides.hydra)
    return hydra.mode == RunMode.RUN and "hydra.run.dir" not in told
