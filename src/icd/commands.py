"""icd's reserved first words: where each is implemented, how it is called and what it does."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """``module.main(words)`` serves the word; ``usage`` and ``about`` are what ``--help`` prints."""

    module: str
    usage: str
    about: str


WORDS: dict[str, Command] = {
    "doctor": Command(
        "icd.tools.doctor",
        "[--clean]",
        "what can be measured on this machine, and why not the rest; --clean removes what killed runs left",
    ),
    "fetch": Command(
        "icd.tools.fetch",
        "model=NAME[,NAME...]|all [--config-dir FOLDER]",
        "keep trained models here, for runs without a network",
    ),
    "report": Command(
        "icd.tools.report",
        "[--without-graphs] RUN...",
        "write report.html and report.csv of finished runs again",
    ),
    "rerun": Command("icd.tools.rerun", "RUN [overrides]", "run again what a run's lock says"),
    "sync": Command("icd.tools.sync", "RUN|SWEEP... [--uri URI]", "log finished runs to MLflow"),
    "validate": Command(
        "icd.tools.validate",
        "[--without-graphs] RUN|SWEEP... [--gate mock|smoke|strict]",
        "a table of runs with their gates; with --gate, that gate's exit code",
    ),
    "verify": Command(
        "icd.tools.verify",
        "[--without-graphs] RUN|SWEEP...",
        "recompute a run's statistics and gates from its raw samples",
    ),
}
HELP = ("-h", "--help")
EXITS = (
    "0 done; 1 the asked gate failed; 2 bad configuration; 3 something is missing; 4 a measurement failed; "
    "5 solver timeout; 6 verification failed; 7 cells of a sweep failed; 130 interrupted "
    "(Ctrl-C, SIGTERM, SIGHUP)"
)


def word_help(word: str) -> str:
    """Usage of one word and a line about it."""
    command = WORDS[word]
    return f"usage: icd {word} {command.usage}".rstrip() + f"\n{command.about}"


def overview() -> str:
    """What stands above Hydra's own help: how icd is called, its words and its exit codes."""
    calls = {f"icd {word} {command.usage}".rstrip(): command.about for word, command in WORDS.items()}
    width = max(map(len, calls))
    return "\n".join(
        [
            "usage: icd [GROUP=CHOICE] [KEY=VALUE]        one run; -m and several values make a sweep",
            *(f"       {call:<{width}}  {about}" for call, about in calls.items()),
            "       icd --cfg job, --version; python -m icd does the same",
            f"exit codes: {EXITS}",
        ]
    )
