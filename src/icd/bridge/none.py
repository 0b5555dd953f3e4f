"""``bridge=none``."""

from __future__ import annotations

from dataclasses import dataclass

from icd.errors import ConfigError


@dataclass(frozen=True)
class NoBridge:
    """No compiler bridge."""

    enable: bool

    def __post_init__(self) -> None:
        if self.enable:
            raise ConfigError("bridge.enable=true with bridge=none: this version ships no bridge to enable")
