"""Which kinds of sites a model declares: checked names."""

from __future__ import annotations

from collections.abc import Sequence

from icd.errors import ConfigError


def check_kinds(sites: Sequence[str], known: tuple[str, ...]) -> None:
    """ConfigError for a kind of site that the family does not have, and for none at all."""
    for kind in sites:
        if kind not in known:
            raise ConfigError(f"model.sites: unknown kind {kind!r}; there are {', '.join(known)}")
    if not sites:
        raise ConfigError(f"model.sites: expected one or more of {', '.join(known)}")
