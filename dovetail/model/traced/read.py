"""From a module to an `Architecture` that holds its trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.formats import DTYPE_BYTES, Format, plain
from dovetail.core.lazy import require
from dovetail.model.architecture import Architecture, AttentionSpec, LayerSpec
from dovetail.model.operators import Attention, Operator
from dovetail.model.traced.export import export
from dovetail.model.traced.layers import depth, grouped
from dovetail.model.traced.reader import Placed, Reader
from dovetail.model.traced.traced import Traced

if TYPE_CHECKING:
    import torch

UNBOUNDED = 2**31 - 1  # the longest context of a module that has no table of positions and says nothing itself
_DTYPES = {
    "float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8",
    "int8": "int8",
}  # fmt: skip


def read(
    module: torch.nn.Module, inputs: Any, keywords: Mapping[str, Any] | None, name: str, max_context: int | None,
    dtype: str | None,
) -> Architecture:  # fmt: skip
    """The architecture of a module: see `dovetail.model.Model.from_module`."""
    torch = require("torch", "torch", to="read a module")
    if not isinstance(module, torch.nn.Module):
        raise DovetailError("not a torch module", where="module", why=f"got {type(module).__name__}")
    formats = _formats(module, dtype)
    trace = export(module, inputs, keywords)
    reader = Reader(trace, formats)
    placed = list(reader.operators())
    operators, caches = grouped(placed)
    traced = Traced(
        operators,
        caches,
        _others(operators, reader),
        reader.hidden,
        _mostly(module, formats),
        reader.mixes,
        trace.shortest,
    )
    bounds = [b for b in (max_context, trace.longest, reader.positions) if b]
    return Architecture(
        name, type(module).__name__, traced.hidden, reader.vocabulary, _layers(placed, operators),
        min(bounds, default=UNBOUNDED), _tied(operators), {}, dtype=traced.dtype, matched_by=_words(reader, placed),
        traced=traced,
    )  # fmt: skip


def _formats(module: torch.nn.Module, dtype: str | None) -> dict[str, Format]:
    """How each parameter is stored: as it is, or all in `dtype`."""
    if dtype is not None and dtype not in DTYPE_BYTES:
        raise DovetailError(f"unknown dtype '{dtype}'", hint=did_you_mean(dtype, list(DTYPE_BYTES)))
    found = {}
    for name, parameter in module.named_parameters():
        kind = dtype or _DTYPES.get(str(parameter.dtype).removeprefix("torch."))
        if kind is None:
            raise DovetailError(f"no number format for {parameter.dtype}", where=name, hint="dtype='bf16' for all")
        found[name] = plain(kind)
    return found


def _mostly(module: torch.nn.Module, formats: dict[str, Format]) -> str:
    """The dtype of most parameters."""
    counts: dict[str, int] = {}
    for name, parameter in module.named_parameters():
        counts[formats[name].dtype] = counts.get(formats[name].dtype, 0) + parameter.numel()
    return max(counts, key=lambda dtype: counts[dtype], default="bf16")


def _others(operators: tuple[Operator, ...], reader: Reader) -> tuple[Any, ...]:
    read = {name for o in operators for w in o.weights for name in w.tensors(o.layers)}
    return tuple((reader.products.vector(name), ()) for name in reader.products.sizes if name not in read)


def _tied(operators: tuple[Operator, ...]) -> bool:
    heads = [w for o in operators if o.name == "lm_head" for w in o.weights[:1]]
    return bool(heads) and not heads[0].linear


def _layers(placed: list[Placed], operators: tuple[Operator, ...]) -> tuple[LayerSpec, ...]:
    """One for each layer, with the heads of its attention where the layers have one; for descriptions."""
    found: dict[int, LayerSpec] = {}
    for o in operators:
        if isinstance(o, Attention):
            spec = AttentionSpec(
                o.heads, o.kv_heads, o.head_dim, window=o.window, value_dim=o.value_dim, causal=o.causal
            )
            found |= dict.fromkeys(o.layers or (len(found),), LayerSpec(spec, None))
    empty = LayerSpec(None, None)
    return tuple(found.get(i, empty) for i in range(max(depth(placed), len(found))))


def _words(reader: Reader, placed: list[Placed]) -> str:
    """How it was read, and what was concluded that the module does not say."""
    words = ["operators traced by torch.export"]
    if any(p.caches for p in placed if isinstance(p.operator, Attention)):
        words.append("KV cache derived: keys and values of each causal attention, KV heads x channels")
    if reader.convolves:
        words.append("convolutions over tokens taken as causal, their last inputs cached")
    return "; ".join(words)
