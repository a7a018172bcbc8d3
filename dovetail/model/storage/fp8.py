"""``quant_method: fp8``: e4m3 weights with fp32 scales of blocks (DeepSeek-V3, Qwen3, GLM, MiniMax) or of tensors.

Scales are counted as fp32, what engines hold (`transformers`' FP8Linear, vLLM); checkpoints that keep them in bf16 are
0.01 % smaller on disk.
"""

from __future__ import annotations

from dovetail.core.formats import Format
from dovetail.model.config import MAX_WIDTH, Config
from dovetail.model.storage.names import Names
from dovetail.model.storage.rules import Rule, Storage, kept

_ELEMENTS = ("e4m3", "float8_e4m3fn")
_SCHEMES = ("dynamic", "static")


def fp8(found: Config, dtype: str) -> Storage:
    """Every linear layer but the head and ``modules_to_not_convert``; without ``weight_block_size`` a scale a tensor.

    Raises
    ------
    DovetailError
        Elements that are not e4m3, a block that is not two positive sizes, an unknown ``activation_scheme``.
    """
    if (elements := found.text("fmt", default="e4m3")) not in _ELEMENTS:
        raise found.error("fmt", f"'{elements}' is not a form of fp8 weights", hint="e4m3")
    if "num_bits" in found.fields and found.whole("num_bits") != 8:
        raise found.error("num_bits", f"fp8 of {found.fields['num_bits']} bits", why="fp8 has 8")
    if (scheme := found.text("activation_scheme", default="dynamic")) not in _SCHEMES:
        raise found.error("activation_scheme", f"unknown scheme '{scheme}'", hint=" or ".join(_SCHEMES))
    if found.fields.get("moe_quant_algo"):  # experts in a second form, listed in names of another module
        return Storage(unread=f"fp8 with {found.text('moe_quant_algo')} experts")
    form, act = _format(block_size(found, "weight_block_size"), inputs=scheme == "static")
    return Storage(
        (kept("lm_head", "head"), Rule(None, names=Names.of(found, "modules_to_not_convert")), Rule(form, act))
    )


def _format(block: tuple[int, int] | None, *, inputs: bool) -> tuple[Format, str]:
    """The format and the dtype of its products; an fp32 scale of the `inputs` where they have a fixed one."""
    extra = 4 if inputs else 0
    if block is None:
        return Format("fp8", 8, extra=4 + extra), "fp8"
    return Format("fp8_block", 8, scale="fp32", block=block, extra=extra), "fp8_block"


def block_size(found: Config, key: str) -> tuple[int, int] | None:
    """Rows and columns of a block; None when the field is absent."""
    value = found.fields.get(key)
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(_is_size, value)):
        raise found.error(key, f"{value!r}"[:80] + " is not two positive sizes", hint="[128, 128]")
    return value[0], value[1]


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_WIDTH
