"""``quant_method: modelopt``: fp8 and NVFP4 with fp32 scales of whole tensors, one form or one for each listed layer.

Layouts are those of its unified Hugging Face export: ``weight_scale`` (for NVFP4 in e4m3, one a group),
``weight_scale_2`` and ``input_scale`` (fp32, one a matrix).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dovetail.core.formats import NVFP4, Format
from dovetail.model.config import Config
from dovetail.model.storage.integers import group_size
from dovetail.model.storage.names import Names
from dovetail.model.storage.rules import Rule, Storage

_FP32 = 4
_FORMS: dict[str, tuple[Format, str]] = {
    "FP8": (Format("fp8", 8, extra=2 * _FP32), "fp8"),
    "FP8_PER_CHANNEL_PER_TOKEN": (Format("fp8", 8, scale="fp32", block=(1, 0)), "fp8"),
    "FP8_PB_WO": (Format("fp8_block", 8, scale="fp32", block=(128, 128)), ""),
    "NVFP4": (replace(NVFP4, extra=2 * _FP32), "nvfp4"),
    "W4A16_NVFP4": (replace(NVFP4, extra=_FP32), ""),
}
_UNREAD = ("INT8_SQ", "W4A8_AWQ", "W4A16_AWQ", "NVFP4_AWQ", "MXFP8", "W4A8_MXFP4_FP8", "W4A8_NVFP4_FP8", "W8A16")


def modelopt(found: Config, dtype: str) -> Storage:
    """Linear layers in ``quant_algo``, but for ``ignore`` or ``exclude_modules``; with several, ``quantized_layers``.

    Raises
    ------
    DovetailError
        An unknown ``quant_algo``, a group that is not its own, a list that is none of names.
    """
    dense, kv_dtype = Rule(None, names=Names.of(found, "ignore", "exclude_modules")), _kv_dtype(found)
    if found.fields.get("quant_algo") is None:  # only the cache
        return Storage(kv_dtype=kv_dtype)
    algorithm = found.text("quant_algo").upper()
    if algorithm == "MIXED_PRECISION":
        rules, unread = _listed(found)
        return Storage((dense, *rules), kv_dtype, unread)
    if algorithm in _UNREAD:
        return Storage(kv_dtype=kv_dtype, unread=algorithm)
    return Storage((dense, _rule(found, algorithm)), kv_dtype)


def _rule(found: Config, algorithm: str, names: Names | None = None) -> Rule:
    if algorithm not in _FORMS:
        raise found.error("quant_algo", f"unknown form '{algorithm}'", hint=", ".join(_FORMS))
    form, act = _FORMS[algorithm]
    if form.packed and (group := _group(found)) != form.group:
        raise found.error("group_size", f"{algorithm} in groups of {group}", why=f"it has groups of {form.group}")
    return Rule(form, act, names)


def _group(found: Config) -> int:
    if found.fields.get("group_size") is not None:
        return group_size(found, "group_size")
    groups = found.block("config_groups")
    schemes = (groups.block(key) for key in groups)
    return next((group_size(s.block("weights"), "group_size", default=16) for s in schemes), 16)


def _listed(found: Config) -> tuple[list[Rule], str]:
    """A rule for each form that ``quantized_layers`` lists, and forms of them that are not described."""
    layers: dict[str, list[str]] = {}
    blocks = found.block("quantized_layers")
    for name in blocks:
        layers.setdefault(blocks.block(name).text("quant_algo").upper(), []).append(name)
    if not layers:
        raise found.error("quantized_layers", "missing", why="MIXED_PRECISION lists the form of each layer there")
    rules = [
        _rule(blocks.block(names[0]), algorithm, Names(tuple(names)))
        for algorithm, names in layers.items() if algorithm not in _UNREAD
    ]  # fmt: skip
    return rules, ", ".join(a for a in layers if a in _UNREAD)


def _kv_dtype(found: Config) -> str:
    """``kv_cache_quant_algo: FP8``, or a scheme of 8-bit floats; engines hold other forms as they hold no form."""
    scheme = found.fields.get("kv_cache_scheme") or found.fields.get("kv_cache_quant_algo")
    return kv_dtype_of(scheme)


def kv_dtype_of(scheme: object) -> str:
    """The dtype of a cache that a config describes by a name or by bits and type."""
    if isinstance(scheme, Mapping):
        return "fp8" if scheme.get("num_bits") == 8 and scheme.get("type") == "float" else "bf16"
    return "fp8" if isinstance(scheme, str) and scheme.upper() == "FP8" else "bf16"
