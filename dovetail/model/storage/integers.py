"""``quant_method: gptq`` (arXiv 2210.17323) and ``awq`` (2306.00978): packed integers, fp16 scales, zero points."""

from __future__ import annotations

from dovetail.core.formats import Format
from dovetail.model.config import Config
from dovetail.model.storage.names import Names
from dovetail.model.storage.rules import Rule, Storage, kept

_BITS = {"gptq": (2, 3, 4, 8), "awq": (4, 8)}


def gptq(found: Config, dtype: str) -> Storage:
    """``qweight, qzeros, scales, g_idx``: the zero points and the group of each input are stored even where trivial."""
    return _storage(found, "gptq", order=True)


def awq(found: Config, dtype: str) -> Storage:
    """``qweight, qzeros, scales``; with ``zero_point`` and in the layout ``gemm``, as nearly all published."""
    if not found.flag("zero_point", default=True):
        return Storage(unread="awq without zero points")
    if (layout := found.text("version", default="gemm").lower()) != "gemm":
        return Storage(unread=f"awq for {layout}")
    return _storage(found, "awq", order=False)


def _storage(found: Config, method: str, *, order: bool) -> Storage:
    bits, group = found.whole("bits", "w_bit", default=4), group_size(found, "group_size", "q_group_size", default=128)
    if bits not in _BITS[method]:
        raise found.error("bits", f"{method} of {bits} bits", why=f"it has {', '.join(map(str, _BITS[method]))}")
    form = Format(f"int{bits}", bits, packed=True, group=group, scale="fp16", zeros=True, order=order)
    dense = Rule(None, names=Names.of(found, "modules_to_not_convert"))
    return Storage((*(() if found.flag("lm_head") else (kept("lm_head"),)), dense, Rule(form)))


def group_size(found: Config, *keys: str, default: int | None = None) -> int:
    """Inputs that share a scale; 0 for all of them, which configs write as -1."""
    key = next((k for k in keys if found.fields.get(k) is not None), keys[0])
    if found.fields.get(key) == -1:
        return 0
    return found.whole(key, default=default)
