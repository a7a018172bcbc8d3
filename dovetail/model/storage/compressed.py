"""``quant_method: compressed-tensors``: groups of layers, each with bits, a strategy of scales, and quantised inputs.

A scale of integers or fp8 has the dtype of the config; those of NVFP4 are e4m3 with fp32 scales of the whole tensor.
"""

from __future__ import annotations

from dataclasses import replace

from dovetail.core.formats import MXFP4, NVFP4, Format, dtype_bytes
from dovetail.model.config import Config
from dovetail.model.storage.fp8 import block_size
from dovetail.model.storage.integers import group_size
from dovetail.model.storage.modelopt import kv_dtype_of
from dovetail.model.storage.names import Names
from dovetail.model.storage.rules import Rule, Storage

_PLAIN = ("float-quantized", "int-quantized", "naive-quantized")
_DENSE = ("dense", "fakequant")  # trained or tried with rounding, and stored as before
_READ = (*_DENSE, "pack-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized", *_PLAIN)
_UNREAD = ("marlin-24", "sparse-bitmask", "sparse-24-bitmask", "mxfp8-quantized")


def compressed_tensors(found: Config, dtype: str) -> Storage:
    """Layers of ``config_groups``, but for ``ignore``; ``Linear`` among the targets means every linear layer.

    Raises
    ------
    DovetailError
        A ``format`` that is unknown or not given, bits or a group that it cannot have, a strategy that is unknown.
    """
    kv_dtype = kv_dtype_of(found.fields.get("kv_cache_scheme"))
    dense = Rule(None, names=Names.of(found, "ignore"))
    groups, rules = found.block("config_groups"), []
    if found.fields.get("sparsity_config"):
        return Storage(kv_dtype=kv_dtype, unread="sparse")
    for key in groups:
        group = groups.block(key)
        if group.fields.get("weights") is None:
            continue
        name = _format_name(found, group)
        if name in _UNREAD:
            return Storage(kv_dtype=kv_dtype, unread=name)
        if name not in _DENSE:
            rules.append(_rule(group, name, dtype))
    return Storage((dense, *rules), kv_dtype) if rules else Storage(kv_dtype=kv_dtype)


def _format_name(found: Config, group: Config) -> str:
    holder = group if group.fields.get("format") is not None else found
    name = holder.text("format", default="")
    if name not in (*_READ, *_UNREAD):
        what = f"unknown format '{name}'" if name else "missing"
        raise holder.error("format", what, hint=", ".join((*_READ, *_UNREAD)))
    return name


def _rule(group: Config, name: str, dtype: str) -> Rule:
    targets = Names.of(group, "targets")
    names = None if "Linear" in targets.patterns or not targets.patterns else targets
    weights, inputs = group.block("weights"), group.block("input_activations")
    if name == "nvfp4-pack-quantized":
        _expect(weights, "float", 4, NVFP4.group)
        form = replace(NVFP4, extra=4 + (4 if _fixed(inputs) else 0))
        return Rule(form, "nvfp4" if inputs else "", names)
    if name == "mxfp4-pack-quantized":
        _expect(weights, "float", 4, MXFP4.group)
        return Rule(MXFP4, "mxfp4" if inputs else "", names)
    form = _packed(weights, dtype) if name == "pack-quantized" else _plain(weights, dtype)
    act = _act(inputs, form)
    of_inputs = int(dtype_bytes(dtype)) if act and _fixed(inputs) else 0
    return Rule(replace(form, extra=form.extra + of_inputs), act, names)


def _expect(weights: Config, kind: str, bits: int, group: int) -> None:
    """Refuse weights that are not of the bits and groups their format has."""
    if weights.text("type", default=kind) != kind:
        raise weights.error("type", f"'{weights.fields['type']}' in a format of {kind}s")
    if (found := weights.whole("num_bits", default=bits)) != bits:
        raise weights.error("num_bits", f"{found} bits in a format of {bits}")
    if (size := group_size(weights, "group_size", default=group)) != group:
        raise weights.error("group_size", f"groups of {size}", why=f"the format has groups of {group}")


def _packed(weights: Config, dtype: str) -> Format:
    """Integers of 1 to 8 bits in 32-bit words."""
    if weights.text("type", default="int") != "int":
        raise weights.error("type", f"'{weights.fields['type']}'", why="pack-quantized holds integers")
    bits, zeros = weights.whole("num_bits", high=8), not weights.flag("symmetric", default=True)
    order = weights.fields.get("actorder") in ("group", True)
    group = _group(weights) if _strategy(weights) == "group" else 0
    return Format(f"int{bits}", bits, packed=True, group=group, scale=dtype, zeros=zeros, order=order and bool(group))


def _plain(weights: Config, dtype: str) -> Format:
    """Elements of 8 bits, as they are, with scales of the whole tensor, of outputs, of groups or of blocks."""
    kind, bits = weights.text("type", default="int"), weights.whole("num_bits", default=8)
    if bits != 8 or kind not in ("int", "float"):
        field = "type" if bits == 8 else "num_bits"
        raise weights.error(field, f"{kind}s of {bits} bits", why="unpacked elements are int or float, of 8 bits")
    strategy = _strategy(weights)
    element = "int8" if kind == "int" else "fp8_block" if strategy == "block" else "fp8"
    blocks = {"channel": (1, 0), "group": (1, _group(weights) if strategy == "group" else 0)}
    block = block_size(weights, "block_structure") if strategy == "block" else blocks.get(strategy)
    zeros = kind == "int" and not weights.flag("symmetric", default=True)
    extra = int(dtype_bytes(dtype)) + zeros if strategy == "tensor" else 0
    return Format(element, 8, scale=dtype, block=block, zeros=zeros, extra=extra)


def _strategy(weights: Config) -> str:
    """The written one, or what the size of the groups implies."""
    group = weights.fields.get("group_size")
    implied = "tensor" if group is None else "channel" if group == -1 else "group"
    strategy = weights.text("strategy", default=implied)
    if strategy not in ("tensor", "channel", "group", "block"):
        raise weights.error("strategy", f"unknown strategy '{strategy}'", hint="tensor, channel, group or block")
    return strategy


def _group(weights: Config) -> int:
    return group_size(weights, "group_size")


def _act(inputs: Config, form: Format) -> str:
    """The dtype of products on quantised inputs: that of the weights, where both have it; the wider of integers."""
    if not inputs:
        return ""
    if form.packed:
        bits = max(form.bits, inputs.whole("num_bits", default=8))
        return "int4" if bits <= 4 else "int8" if bits <= 8 else ""
    kind = {"int": "int8", "float": "fp8"}.get(inputs.text("type", default="int"), "")
    return form.dtype if kind == form.dtype.removesuffix("_block") and inputs.whole("num_bits", default=8) == 8 else ""


def _fixed(inputs: Config) -> bool:
    """Whether inputs have a stored scale: not made anew for each of them (``dynamic: true``; ``local`` keeps one)."""
    return bool(inputs) and inputs.fields.get("dynamic", False) is not True
