"""Names that become names of files: a site's graph is ``W/<site>.npz``."""

from __future__ import annotations

from icd.errors import ConfigError

LONGEST = 200  # bytes; file systems take 255 with what is added


def check_file_name(name: str, what: str = "site") -> None:
    """ConfigError where ``name`` cannot be a file's, or would lie in another folder."""
    shown = ascii(name if len(name) <= 60 else f"{name[:57]}...")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise ConfigError(f"{what} {shown}: a name has to be text; it holds a lone surrogate") from error
    if not name or name.startswith(".") or not 0 < size <= LONGEST:
        raise ConfigError(f"{what} {shown}: a name has 1 to {LONGEST} bytes and does not begin with a dot")
    if bad := next((c for c in name if c in "/\\" or not c.isprintable()), None):
        raise ConfigError(
            f"{what} {shown}: a name becomes a file's, so it has no slash, backslash or control "
            f"character; got {bad!a}"
        )
