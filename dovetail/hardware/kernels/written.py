"""Constants of kernels as a machine's YAML writes them: the other way of `dovetail.hardware.kernels.read`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dovetail.hardware.kernels.known import Attended, Kernels
from dovetail.hardware.kernels.read import ATTENTION_KERNELS, TILES


def section(kernels: Kernels) -> dict[str, Any]:
    """The ``kernels`` section of a YAML with these constants."""
    found = {
        "gemm": {dtype: constants(one) for dtype, one in kernels.gemm.items()},
        "attention": {dtype: _attended(one) for dtype, one in kernels.attention.items()},
        "mixture": {dtype: constants(one) for dtype, one in kernels.mixture.items()},
        "latent": {dtype: constants(one) for dtype, one in kernels.latent.items()},
    }
    return {family: table for family, table in found.items() if table}


def constants(one: Any) -> dict[str, Any]:
    """One dataclass of constants, every digit kept: read back, they are equal."""
    return {field.name.removesuffix("_s"): _value(field.name, getattr(one, field.name)) for field in fields(one)}


def _attended(one: Attended) -> dict[str, Any]:
    return {"kernel": _name(ATTENTION_KERNELS, one.kernel), **constants(one.constants)}


def _value(name: str, value: Any) -> Any:
    if name == "tiles":
        return _name(TILES, value)
    if isinstance(value, str | bool):
        return value
    number = float(value)
    if math.isinf(number):
        return "never"
    if name.endswith("_s"):
        return f"{number!r} s"
    if name == "core_bandwidth":
        return f"{number!r} byte/s"
    return number


def _name(table: Mapping[str, Any], value: Any) -> str:
    return next(name for name, known in table.items() if known == value)
