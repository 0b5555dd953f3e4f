"""Whether an arm ran in the precision asked for, from its record; and the refusal where it had to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from icd.errors import MissingResource
from icd.transform.quantize import DTYPE

EIGHT_BITS = ("fp8", "int8")


def ran(executed: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> bool:
    """False where nothing was executed in ``executed["format"]``, and nothing simulated either.

    ``parts``: the operators of a forward (`icd.measure.work.count`), which tell of an eight-bit layer that
    exists and is never called. Records without ``weight_bytes`` say nothing of it.
    """
    if "weight_bytes" not in executed or executed.get("arithmetic", executed["source"]) != "measured":
        return True
    name = executed["format"]
    if DTYPE[name] not in executed["weight_bytes"]:
        return False
    return name not in EIGHT_BITS or any(part["rate"] == name for part in parts)


def parts_of(arm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The operators of an arm's forward, as recorded."""
    return list(arm.get("roofline", {}).get("parts", ()))


def check_ran(
    arms: Mapping[str, Mapping[str, Any]], work: Mapping[str, Iterable[Mapping[str, Any]]], on_missing: str
) -> None:
    """MissingResource where an arm ran nothing in its precision and ``on_missing`` is ``fail``.

    ``arms``: what each executed; ``work``: the operators of each.
    """
    for name, executed in arms.items():
        if on_missing == "fail" and not ran(executed, work[name]):
            raise MissingResource(
                f"precision={executed['format']}: no layer that arm {name!r} calls runs in it and "
                "on_missing=fail; use on_missing=simulate or another precision"
            )
