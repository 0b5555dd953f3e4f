"""Which of a model's sites a transform takes: those of the groups that ``transform.groups`` names."""

from __future__ import annotations

from collections.abc import Sequence

from icd.choices import did_you_mean
from icd.contracts import Site, Workload
from icd.errors import ConfigError

KNOWN = ("neurons", "heads", "vo_dims", "qk_dims", "d_inner", "dt_rank", "d_state", "residual", "rows")


def sites_of(workload: Workload, groups: Sequence[str]) -> tuple[Site, ...]:
    """The sites whose group is named; ConfigError for a group that no model of icd and not this one has.

    A group that only other models have is passed over, so that one list serves all of them; one of the list
    there has to be.
    """
    own = tuple(dict.fromkeys(site.group for site in workload.sites))
    for group in groups:
        if group not in (*own, *KNOWN):
            raise ConfigError(
                f"transform.groups: unknown group {group!r}.{did_you_mean(group, (*own, *KNOWN))} "
                f"model={workload.card.name} has {', '.join(own)}"
            )
    found = tuple(site for site in workload.sites if site.group in groups)
    if workload.sites and not found:
        raise ConfigError(
            f"transform.groups={list(groups)} names nothing that model={workload.card.name} has, so that "
            f"nothing would be removed; it has {', '.join(own)}"
        )
    return found
