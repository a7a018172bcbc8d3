"""The ``kernels`` section of a machine's YAML: constants by family and dtype, with units on what has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from dovetail.core import units
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hardware.kernels.attention import FLASH_2, FLASH_3, AttentionConstants, AttentionKernel
from dovetail.hardware.kernels.gemm import GemmConstants
from dovetail.hardware.kernels.known import Attended, Kernels
from dovetail.hardware.kernels.latent import LatentConstants
from dovetail.hardware.kernels.mixture import EXPERT_TILES, MARLIN_TILES, ROW_TILES, TOKEN_TILES, MixtureConstants

C = TypeVar("C")

ATTENTION_KERNELS: Mapping[str, AttentionKernel] = {"flash-2": FLASH_2, "flash-3": FLASH_3}
TILES = {"by-tokens": TOKEN_TILES, "by-held-experts": EXPERT_TILES, "by-rows": ROW_TILES, "marlin": MARLIN_TILES}
_RATES = {"core_bandwidth": "byte/s"}


def kernels_from(section: Mapping[str, Any], where: str = "kernels") -> Kernels:
    """The constants in a ``kernels`` section.

    Raises
    ------
    DovetailError
        An unknown family, field, kernel or table of tiles; a value without its unit or below zero; no products.
    """
    families: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
        "gemm": _gemm, "attention": _attended, "mixture": _mixture, "latent": _latent,
    }  # fmt: skip
    for name in section:
        if name not in families:
            hint = did_you_mean(str(name), list(families))
            raise DovetailError(f"unknown family of kernels '{name}'", where=where, hint=hint)
    if not section.get("gemm") or not section.get("attention"):
        raise DovetailError(
            "kernels of products and of attention are needed", where=where, hint="gemm: …, attention: …"
        )
    read = {
        family: {dtype: one(section[family][dtype], f"{where}.{family}.{dtype}") for dtype in section[family]}
        for family, one in families.items() if family in section
    }  # fmt: skip
    return Kernels(**read)


def _gemm(given: Mapping[str, Any], where: str) -> GemmConstants:
    return _constants(GemmConstants, given, where)


def _attended(given: Mapping[str, Any], where: str) -> Attended:
    kernel = _named(ATTENTION_KERNELS, given, "kernel", where)
    rest = {name: value for name, value in given.items() if name != "kernel"}
    return Attended(kernel, _constants(AttentionConstants, rest, where))


def _mixture(given: Mapping[str, Any], where: str) -> MixtureConstants:
    tiles = _named(TILES, given, "tiles", where)
    asis = {name: given[name] for name in ("tiles_by", "whole_step") if name in given}
    rest = {name: value for name, value in given.items() if name not in ("tiles", *asis)}
    return _constants(MixtureConstants, rest, where, tiles=tiles, **asis)


def _latent(given: Mapping[str, Any], where: str) -> LatentConstants:
    asis: dict[str, Any] = {
        n: int(given[n]) for n in ("short_tokens", "head_block", "head_rows", "splits") if n in given
    }
    if "padded_values" in given:
        asis["padded_values"] = given["padded_values"]
    rest = {name: value for name, value in given.items() if name not in asis}
    return _constants(LatentConstants, rest, where, **asis)


def _named(table: Mapping[str, C], given: Mapping[str, Any], field: str, where: str) -> C:
    name = str(given.get(field, ""))
    if name not in table:
        hint = did_you_mean(name, list(table))
        raise DovetailError(f"unknown {field} '{name}'", where=f"{where}.{field}", hint=hint)
    return table[name]


def _constants(kind: type[C], given: Mapping[str, Any], where: str, **known: Any) -> C:
    """A dataclass of constants: seconds are written without the ``_s`` of their field."""
    of = {field.name.removesuffix("_s"): field for field in fields(kind)}  # type: ignore[arg-type]
    values = dict(known)
    for name, value in given.items():
        if name not in of:
            raise DovetailError(f"unknown constant '{name}'", where=where, hint=did_you_mean(str(name), list(of)))
        field = of[name].name
        dimension = "s" if field.endswith("_s") else _RATES.get(field, "")
        values[field] = _number(value, dimension, f"{where}.{name}")
    missing = [n for n, field in of.items() if field.name not in values and field.default is MISSING]
    if missing:
        raise DovetailError("constants are missing", where=where, why=", ".join(missing))
    return kind(**values)


def _number(value: Any, dimension: str, where: str) -> float:
    if str(value) == "never":  # what takes for ever is never chosen
        return float("inf")
    number = units.parse(value, dimension, where=where)
    if not number >= 0:
        raise DovetailError(f"'{value}' is below zero", where=where)
    return number
