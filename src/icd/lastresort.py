"""The last resort: an exception that nothing foresaw becomes one sentence that says where it arose.

Exit code 1 means that a gate failed, and nothing else; Python would end with it after any traceback.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from icd.errors import Exit, IcdError, MissingResource, Unforeseen, brief, unwritable, without_paths

SHOW = "ICD_TRACEBACK"  # the variable that prints the traceback beside the sentence
OWN = Path(__file__).parent.name


def answer(error: BaseException, running: bool = True) -> tuple[str, Exit]:
    """The sentence and the exit code of whatever ended a command; ``running``: it makes a run."""
    known = named(error, running)
    if os.environ.get(SHOW):
        print(known.trace if isinstance(known, Unforeseen) else trace(error), file=sys.stderr)
    hint = f"; {SHOW}=1 shows the traceback" if isinstance(known, Unforeseen) else ""
    return f"{known}{hint}", known.code


def named(error: BaseException, running: bool = True) -> IcdError:
    """``error`` as one of icd's own: itself, a full disk, or something unforeseen."""
    if isinstance(error, IcdError):
        return error
    if isinstance(error, OSError) and (said := unwritable(error)) is not None:
        return MissingResource(said + ("; an unfinished run counts as no result" if running else ""))
    return Unforeseen(f"this was not foreseen: {told(error)}", trace(error))


def told(error: BaseException) -> str:
    """The exception's type, its first words and the line that raised it, the package's own if one did."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if OWN in Path(frame.filename).parts]
    last = (ours or frames)[-1:]
    where = f" ({_short(last[0].filename)}, line {last[0].lineno})" if last else ""
    return f"{type(error).__name__}: {brief(error)}{where}"


def trace(error: BaseException) -> str:
    """The whole traceback with file names as they are imported."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    for folder in _import_folders():
        text = text.replace(folder, "")
    return without_paths(text)


def _short(filename: str) -> str:
    for folder in _import_folders():
        if filename.startswith(folder):
            return filename[len(folder) :]
    return Path(filename).name


def _import_folders() -> list[str]:
    """Folders that modules are imported from, deepest first, each with the separator at its end."""
    found = {str(Path(__file__).parents[1]), *(path for path in sys.path if os.path.isabs(path))}
    return sorted((path.rstrip(os.sep) + os.sep for path in found if path != os.sep), key=len, reverse=True)
