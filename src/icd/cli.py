"""The command line: icd's reserved first words, and the one Hydra entry point.

A command line is composed and checked here before Hydra takes over, so that a bad one leaves nothing
behind and gets one sentence. Light imports only: ``--help`` answers in under two seconds.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from icd import __version__
from icd.choices import conf_dir
from icd.commands import HELP, WORDS, overview, word_help
from icd.composing import check_cell
from icd.composing import compose_cell as compose_cell
from icd.errors import ConfigError, Exit, IcdError, MissingResource
from icd.interrupts import Interrupted, like_ctrl_c
from icd.lastresort import answer
from icd.named import check_texts
from icd.places import compiled_kernels
from icd.recording import hidden
from icd.refusals import hydra_errors, sentence, unreadable
from icd.streams import lost_output, steady
from icd.sweeping import expand, launch, run_cell
from icd.sweeping import finish_sweep as finish_sweep
from icd.sweeping import sweep_code as sweep_code

if TYPE_CHECKING:
    from omegaconf import DictConfig

INTERRUPTED = 130
SHOW_ONLY = ("help", "hydra_help", "cfg", "info", "shell_completion")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command line and exit with a documented code."""
    if argv is None:
        steady()
    words = list(sys.argv[1:] if argv is None else argv)
    with like_ctrl_c():
        code = ended(words)
    if argv is None and (lost := lost_output()) is not None:
        print(f"icd: standard output could not be written ({lost})", file=sys.stderr)
        code = code or (Exit.MISSING_RESOURCE if makes_output(words) else Exit.DONE)
    sys.exit(int(code))


def ended(words: list[str]) -> int:
    """The exit code of a command line, and the sentence where it did not end well."""
    try:
        with compiled_kernels():
            return dispatch(words)
    except KeyboardInterrupt as error:
        by = f" by {error}" if isinstance(error, Interrupted) else ""
        print(f"icd: interrupted{by}; nothing of the unfinished run counts as a result", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as error:
        if error.code in (None, 0):
            return int(Exit.DONE)
        said, code = answer(error, running=not makes_output(words))
    except Exception as error:  # noqa: BLE001 - the last resort: exit code 1 means that a gate failed
        said, code = answer(error, running=not makes_output(words))
    print(f"icd: {hidden(said)}", file=sys.stderr)
    return int(code)


def makes_output(words: list[str]) -> bool:
    """Whether what is printed is all that the command makes; a run makes a directory."""
    return words[:1] != ["rerun"] and bool(words[:1]) and words[0] in WORDS


def dispatch(words: list[str]) -> int:
    """A reserved word's command, or Hydra's."""
    try:
        os.getcwd()
    except OSError as error:
        raise MissingResource("the working directory was deleted; change into one that exists") from error
    if words in (["help"], *([word] for word in HELP)):
        print(overview(), end="\n\n", flush=True)
        return run_hydra(["--help"])
    if words == ["--version"]:
        print(f"icd {__version__}")
        return int(Exit.DONE)
    if words and words[0] in WORDS:
        return command(words[0], words[1:])
    if words and "=" not in words[0] and not words[0].startswith(("-", "+", "~")):
        raise ConfigError(unknown_word(words[0]))
    return run_hydra(words)


def command(word: str, words: list[str]) -> int:
    """Serve a reserved word."""
    import importlib

    if any(w in HELP for w in words):
        print(word_help(word))
        return int(Exit.DONE)
    if word == "rerun":
        from icd.replaying import overrides_of

        return run_hydra(overrides_of(words))
    module = importlib.import_module(WORDS[word].module)
    return int(module.main(words))


def unknown_word(word: str) -> str:
    """What to say of a first word that is neither a command nor an override."""
    from icd.choices import did_you_mean
    from icd.config import GROUPS, SCALARS

    if word in (*SCALARS, *GROUPS):
        return f"{word}: expected {word}=VALUE; `python -m icd --cfg job` lists all"
    return f"unknown command {word!r}.{did_you_mean(word, WORDS)} Known: {', '.join(WORDS)}; else KEY=VALUE"


def run_hydra(words: list[str]) -> int:
    """Check every cell of the command line, then let Hydra launch them."""
    import hydra

    from icd.own import with_own_conf

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach this file as exceptions
    conf = conf_dir()
    for word in words:
        check_texts(word, "the command line")
    try:
        args = arguments(words)
    except SystemExit as error:
        return int(Exit.DONE if error.code in (0, None) else Exit.BAD_CONFIG)
    shows = any(getattr(args, name) for name in SHOW_ONLY)
    overrides = [] if shows else with_own_conf(conf, args.overrides, args.config_dir)
    if not shows:
        for cell in expand(conf, overrides, bool(args.multirun)):
            check_cell(conf, cell, sweeps=bool(args.multirun))

    codes: list[int] = []

    def task(cfg: DictConfig) -> int:
        codes.append(run_cell(cfg))
        return codes[-1]

    sys.argv = [sys.argv[0], *options_first(words, args.overrides)]  # Hydra parses it once more
    if args.multirun and not shows:
        try:
            return launch(conf, overrides)
        except hydra_errors() as error:
            raise ConfigError(sentence(error)) from error
    try:
        hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(task)()
    except OSError as error:
        if codes:
            raise
        raise not_composed(error) from error
    except unreadable() as error:
        if codes:
            raise
        raise not_composed(error) from error
    return codes[0] if codes else int(Exit.DONE)


def not_composed(error: Exception) -> IcdError:
    """What kept Hydra from composing a command line, or from making its run directory."""
    if isinstance(error, OSError) and error.filename:
        name = Path(error.filename).name
        return MissingResource(f"{name:.80}: it can be neither read nor made ({error.strerror})")
    return ConfigError(sentence(error))


def arguments(words: Sequence[str]) -> Namespace:
    """Hydra's options and the overrides, which may stand before and behind them."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = refuse_option  # type: ignore[method-assign]
    return parser.parse_intermixed_args(list(words))


def options_first(words: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """``words`` with the overrides behind the options, each group in its order."""
    left, options = list(overrides), []
    for word in words:
        if word in left:
            left.remove(word)
        else:
            options.append(word)
    return [*options, *overrides]


def refuse_option(message: str) -> NoReturn:
    """An option that Hydra's parser does not know, in its words."""
    raise ConfigError(f"{message}; `python -m icd --help` lists options, `--cfg job` the configuration")
