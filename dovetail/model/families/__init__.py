"""One small file for each family of models: a function from a config to an `Architecture`, under its `model_type`."""

from __future__ import annotations

from typing import Protocol

from dovetail.core.registry import Registry
from dovetail.model.architecture import Architecture
from dovetail.model.config import Config


class Family(Protocol):
    """What a family's file registers: ``@FAMILIES.register("llama")``."""

    def __call__(self, config: Config, name: str) -> Architecture:
        """The architecture of a config. Raises `DovetailError` for a field that is missing or does not fit."""
        ...


FAMILIES: Registry[Family] = Registry("architecture", "dovetail.model.families")
