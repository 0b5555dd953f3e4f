"""The command line: icd's reserved first words, and the one Hydra entry point.

A command line is composed and checked here before Hydra takes over, so that a bad one leaves nothing
behind and gets one sentence. Light imports only: ``--help`` answers in under two seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from icd.errors import ConfigError, Exit, IcdError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from icd.pipeline.experiment import Experiment

# first word -> (module, function, one line of help)
WORDS: dict[str, tuple[str, str, str]] = {
    "doctor": ("icd.tools.doctor", "main", "what can be measured here, and why not"),
    "fetch": ("icd.tools.fetch", "main", "keep models for use without a network"),
    "report": ("icd.tools.report", "main", "write report.html and report.csv of a run again"),
    "sync": ("icd.tools.sync", "main", "log finished runs to MLflow"),
    "validate": ("icd.tools.validate", "main", "a table of runs with their gates"),
    "verify": ("icd.tools.verify", "main", "recompute a run's statistics from its raw samples"),
}
SHOW_ONLY = ("help", "hydra_help", "cfg", "info", "shell_completion")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command line and exit with a documented code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = dispatch(words)
    except IcdError as error:
        print(f"icd: {error}", file=sys.stderr)
        code = error.code
    except KeyboardInterrupt:
        print("icd: interrupted; nothing of the unfinished run counts as a result", file=sys.stderr)
        code = 130
    sys.exit(int(code))


def dispatch(words: list[str]) -> int:
    """A reserved word's command, or Hydra's."""
    if words and words[0] == "rerun":
        from icd.tools.rerun import overrides_of

        return run_hydra(overrides_of(words[1:]))
    if words and words[0] in WORDS:
        import importlib

        module, function, _ = WORDS[words[0]]
        return int(getattr(importlib.import_module(module), function)(words[1:]))
    if words and "=" not in words[0] and not words[0].startswith(("-", "+", "~")):
        from icd.config import did_you_mean

        known = ", ".join(sorted([*WORDS, "rerun"]))
        raise ConfigError(f"unknown command {words[0]!r}.{did_you_mean(words[0], WORDS)} Known: {known}")
    return run_hydra(words)


def run_hydra(words: list[str]) -> int:
    """Check every cell of the command line, then let Hydra launch them."""
    import hydra
    from hydra._internal.utils import get_args_parser

    from icd.config import conf_dir
    from icd.own import with_own_conf

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach this file as exceptions
    conf = conf_dir()
    try:
        args = get_args_parser().parse_args(words)
    except SystemExit as error:
        return int(Exit.DONE if error.code in (0, None) else Exit.BAD_CONFIG)
    shows = any(getattr(args, name) for name in SHOW_ONLY)
    if not shows:
        overrides = with_own_conf(conf, args.overrides, args.config_dir)
        for cell in expand(conf, overrides, bool(args.multirun)):
            check_cell(conf, cell)

    codes: list[int] = []
    cells: list[tuple[Path, DictConfig]] = []

    def task(cfg: DictConfig) -> int:
        if args.multirun:
            cells.append((sweep_dir(), cfg))
        code = run_cell(cfg)
        codes.append(code)
        return code

    sys.argv = [sys.argv[0], *words]
    try:
        hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(task)()
    except _hydra_errors() as error:
        raise ConfigError(_sentence(error)) from error
    if not args.multirun:
        return codes[0] if codes else int(Exit.DONE)
    if cells:
        finish_sweep(*cells[-1])
    return sweep_code(codes)


def sweep_dir() -> Path:
    """The directory of the sweep that the running cell belongs to."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().sweep.dir).resolve()


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
    except _hydra_errors() as error:
        raise ConfigError(_sentence(error)) from error
    fixed = [str(o.input_line) for o in parsed if o.key_or_group.startswith("hydra")]
    return [[*cell, *fixed] for batch in batches for cell in batch]


def compose_cell(conf: Path, overrides: Sequence[str]) -> DictConfig:
    """The composed configuration, Hydra's own node included."""
    from hydra import compose, initialize_config_dir

    try:
        with initialize_config_dir(str(conf), job_name="icd", version_base="1.3"):
            return compose("config", overrides=list(overrides), return_hydra_config=True)
    except _hydra_errors() as error:
        raise ConfigError(_sentence(error)) from error


def check_cell(conf: Path, overrides: Sequence[str]) -> Experiment:
    """Compose one cell and check it; `ConfigError` or `MissingResource` says what is wrong."""
    from icd.config import check

    cfg = compose_cell(conf, overrides)
    refuse_used_directory(overrides)
    return check(cfg)


def refuse_used_directory(overrides: Sequence[str]) -> None:
    """A run directory that holds something is never written into."""
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") == "hydra.run.dir":
            path = Path(value.strip("'\""))
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise ConfigError(f"hydra.run.dir={value}: it exists and is not empty; name a new directory")


def run_cell(cfg: DictConfig) -> int:
    """One cell: a failure becomes its exit code and a sentence, so that a sweep goes on."""
    from hydra.core.hydra_config import HydraConfig

    from icd.config import GROUPS, check
    from icd.pipeline.run import run

    try:
        hydra = HydraConfig.get()
        choices = {group: hydra.runtime.choices[group] for group in GROUPS}
        return int(run(check(cfg), Path(hydra.runtime.output_dir), choices))
    except IcdError as error:
        print(f"icd: {error}", file=sys.stderr)
        return int(error.code)


def _hydra_errors() -> tuple[type[Exception], ...]:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return (HydraException, OmegaConfBaseException)


def _sentence(error: Any) -> str:
    """Hydra's refusal in one line, with a did-you-mean for a misspelt group choice or key."""
    import re

    from icd.config import conf_dir, did_you_mean

    text = str(error).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    choice = re.search(r"Could not find '([\w]+)/([^']+)'", text)
    if choice:
        group, word = choice.groups()
        known = sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))
        return f"{group}={word}: unknown choice.{did_you_mean(word, known)} {group} knows: {', '.join(known)}"
    key = re.search(r"Could not override '([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    )
    if key:
        from icd.config import GROUPS, SCALARS

        word = key.group(1)
        hint = did_you_mean(word, [*SCALARS, *GROUPS])
        return f"unknown key {word!r}.{hint} `python -m icd --cfg job` lists all"
    return lines[0] if lines else type(error).__name__
