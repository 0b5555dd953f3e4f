"""Gates: named thresholds on a comparison, decided on interval bounds.

Beside each measured check stands the p-value of the one-sided test that the change does not reach the
threshold (H0: delta >= threshold where lower is better). The end of a 95 % interval clears the threshold
exactly when that p-value is at most 0.025, `ONE_SIDED`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from icd.contracts import Missing
from icd.errors import ConfigError
from icd.stats.interval import LEVEL, t_test

ONE_SIDED = (1 - LEVEL) / 2
TOLERANCE = 1e-9  # rounding error of a computed cost
LOOP = "the scan ran as a Python loop over time, whose figures are not to be published"
NOT_EXECUTED = "no layer of an arm ran in the precision asked for, whose figures these are not"
REFUSED = {  # tags whose measured figures pass no gate
    "unpaired": "unpaired run",
    "reference-scan": LOOP,
    "precision-not-executed": NOT_EXECUTED,
}


class _Rule(NamedTuple):
    """Where a check finds its value, and on which side of the threshold it has to lie.

    ``block`` and ``key``: below ``metrics["compare"][comparison]``; ``sign``: -1 when the value must be
    at most the threshold, +1 when at least; ``scale``: value = scale x what is recorded; ``measured``:
    decided on the interval and only from measured samples; else a computed figure without interval.
    """

    block: str | None
    key: str
    sign: int
    measured: bool
    scale: float = 1.0


_RULES = {
    "latency": _Rule("latency", "delta_pct", -1, True),
    "l2": _Rule("l2_pp", "delta", +1, True),
    "ept": _Rule("ept", "delta_pct", -1, True),
    "quality_loss": _Rule(None, "quality_pp", -1, False, -1.0),
    "cost_c": _Rule("cost", "C_delta_pct", -1, False),
    "q_not_lower": _Rule("cost", "Q_delta", +1, False),
}


@dataclass(frozen=True)
class Gate:
    """Thresholds on one comparison of a run; a threshold of None is not checked.

    ``latency_pct``, ``ept_pct``: the upper end of the change's interval is at most this; ``l2_pp``: the
    lower end is at least this; ``quality_loss_pp``, ``cost_c_pct``: at most this; ``q_not_lower``: the
    modularity does not fall. ``require``: the checks that count (``latency``, ``l2``, ``ept``,
    ``quality_loss``, ``cost_c``, ``q_not_lower``), all if empty. ``compare``: the comparison judged.
    Raises ConfigError when ``require`` names a check that this gate does not make.
    """

    name: str = "none"
    latency_pct: float | None = None
    l2_pp: float | None = None
    ept_pct: float | None = None
    quality_loss_pp: float | None = None
    cost_c_pct: float | None = None
    q_not_lower: bool = False
    require: tuple[str, ...] | list[str] = ()
    compare: str = "iterative_vs_linear"

    def __post_init__(self) -> None:
        unknown = [name for name in self.require if name not in self.thresholds()]
        if unknown:
            there = ", ".join(self.thresholds()) or "none"
            raise ConfigError(
                f"gate.require: gate {self.name} has no check {', '.join(unknown)}; its checks: {there}"
            )

    def thresholds(self) -> dict[str, float]:
        """The checks this gate makes, with their thresholds."""
        asked = {
            "latency": self.latency_pct,
            "l2": self.l2_pp,
            "ept": self.ept_pct,
            "quality_loss": self.quality_loss_pp,
            "cost_c": self.cost_c_pct,
            "q_not_lower": 0.0 if self.q_not_lower else None,
        }
        return {name: float(value) for name, value in asked.items() if value is not None}

    def evaluate(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """``{"pass": ..., "checks": [{name, threshold, value, ci95, p_value, pass, reason}]}`` of a run.

        ``p_value``: of the one-sided test against the threshold; None for a computed figure, and beside a
        ``p_reason`` where a measured one has no test.

        A check is None (with a reason) when its figure is missing, simulated, without interval, or of
        a run with a tag of `REFUSED`; of an unpaired run a computed figure does not pass either.
        The gate is False if a required check is, else None if one is, else True.
        Checks that ``require`` leaves out are recorded with ``required: False``.
        """
        found = metrics.get("compare", {}).get(self.compare)
        tags = metrics.get("tags") or ()
        refused = next((reason for tag, reason in REFUSED.items() if tag in tags), None)
        checks = []
        for name, threshold in self.thresholds().items():
            if found is None:
                check = _undecided(f"no comparison {self.compare} in this run", _RULES[name])
            else:
                check = _check(found, _RULES[name], threshold)
            if refused and (_RULES[name].measured or (check["pass"] and "unpaired" in tags)):
                check |= {"pass": None, "reason": refused, **_no_test(refused, _RULES[name])}
            required = not self.require or name in self.require
            checks.append({"name": name, "threshold": threshold, **check, "required": required})
        outcomes = [check["pass"] for check in checks if check["required"]]
        return {"pass": False if False in outcomes else None if None in outcomes else True, "checks": checks}


def name_in_record(asked: Mapping[str, Any], published: Mapping[str, Any] | None) -> str:
    """What a gate, or another preset, is called in a record: ``smoke-own`` where fields of the published
    ``smoke`` differ.

    So a published name always stands for the published values. ``asked`` and ``published``: their fields;
    None where nothing of that name is published.
    """
    name = str(asked["name"])
    same = published is not None and all(_plain(asked.get(k)) == _plain(v) for k, v in published.items())
    return name if published is None or same else f"{name}-own"


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _check(found: Mapping[str, Any], rule: _Rule, threshold: float) -> dict[str, Any]:
    """One check of a comparison: ``value, ci95, pass, reason``."""
    block = (found.get(rule.block) or {}) if rule.block else found
    value = _number(block.get(rule.key))
    if value is None:
        return _undecided(block.get("reason") or f"no {rule.key} recorded", rule)
    value = rule.scale * value + 0.0  # never -0.0
    if not rule.measured:
        passed = rule.sign * (value - threshold) >= -TOLERANCE
        return {
            "value": value,
            "ci95": None,
            "p_value": None,
            "pass": passed,
            "reason": _sentence(passed, rule, value, threshold),
        }
    ci95 = block.get("ci95")
    if block.get("source") != "measured":
        return _undecided(block.get("source") or "source not recorded", rule, value, ci95)
    if ci95 is None or any(_number(end) is None for end in ci95):
        return _undecided(block.get("reason") or "no interval recorded", rule, value)
    nearest = ci95[1] if rule.sign < 0 else ci95[0]
    passed = rule.sign * (nearest - threshold) >= 0
    return {
        "value": value,
        "ci95": list(ci95),
        **one_sided(block.get("units"), rule.key, rule.sign, threshold),
        "pass": passed,
        "reason": _sentence(passed, rule, nearest, threshold),
    }


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def one_sided(units: Sequence[float] | None, key: str, sign: int, threshold: float) -> dict[str, Any]:
    """``{p_value}`` of H0 "the mean change does not reach ``threshold``", or None beside ``p_reason``.

    ``units`` (n,): as recorded, in percent (``key`` delta_pct, tested as log ratios, as the interval is
    made) or in points; ``sign`` -1 when lower is better.
    """
    if not units:
        return {"p_value": None, "p_reason": "no units recorded"}
    x, at = np.asarray(units, float), threshold
    if key == "delta_pct":
        x, at = np.log1p(x / 100), math.log1p(threshold / 100)
    p = t_test(x, at, "less" if sign < 0 else "greater")
    return {"p_value": None, "p_reason": p.reason} if isinstance(p, Missing) else {"p_value": p}


def _undecided(reason: str, rule: _Rule, value: float | None = None, ci95: Any = None) -> dict[str, Any]:
    return {"value": value, "ci95": ci95, **_no_test(reason, rule), "pass": None, "reason": reason}


def _no_test(reason: str, rule: _Rule) -> dict[str, Any]:
    return {"p_value": None, **({"p_reason": reason} if rule.measured else {})}


def _sentence(passed: bool, rule: _Rule, bound: float, threshold: float) -> str | None:
    """Why a check failed; None when it passed."""
    if passed:
        return None
    what = ("upper end" if rule.sign < 0 else "lower end") if rule.measured else "value"
    return f"{what} {bound:.6g} is not at {'most' if rule.sign < 0 else 'least'} {threshold:g}"
