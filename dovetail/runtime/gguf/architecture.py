"""Architectures that go into GGUF: names of their tensors, order of their heads' rows, and their metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model.config import Config
from dovetail.runtime.gguf.blocks import Array

_MODELS = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}  # model_type -> GGUF's name
_WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
_HEAD_NORMS = ("attn_q_norm", "attn_k_norm")  # of Qwen 3 alone
_NAME = re.compile(r"model\.layers\.(?P<layer>\d+)\.(?P<part>.+)\.(?P<kind>weight|bias)")
_ROPE = "rope_freqs.weight"


@dataclass(frozen=True, slots=True)
class Architecture:
    """What llama.cpp has to know of a model beside its tensors.

    Parameters
    ----------
    name : str
        ``general.architecture``.
    heads, kv_heads, head_dim : int
    fields : mapping
        Metadata without the architecture's prefix; whole numbers, floats or text.
    rope_factors : tuple of float
        By which each frequency of the rotary embedding is divided; empty where none is.
    notes : tuple of str
        What the file cannot say.
    """

    name: str
    heads: int
    kv_heads: int
    head_dim: int
    fields: Mapping[str, int | float | str]
    rope_factors: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config) -> Architecture:
        """The architecture of a ``config.json``.

        Raises
        ------
        DovetailError
            An architecture, or a variant of one, that is not written here: which, and why.
        """
        kind = config.text("model_type")
        if kind not in _MODELS:
            hint = f"a model of type {', '.join(_MODELS)}, or --format safetensors"
            raise _refused(config, "model_type", f"'{kind}' is not written as GGUF", hint)
        _check_plain(config)
        heads, width = config.whole("num_attention_heads"), config.whole("hidden_size")
        kv_heads = config.whole("num_key_value_heads", default=heads)
        head_dim = config.whole("head_dim", default=width // heads)
        context, notes = _context(config)
        rope, factors = _rope(config, head_dim)
        fields: dict[str, int | float | str] = {
            "context_length": context, "embedding_length": width, "block_count": config.whole("num_hidden_layers"),
            "feed_forward_length": config.whole("intermediate_size"), "attention.head_count": heads,
            "attention.head_count_kv": kv_heads, "attention.key_length": head_dim, "attention.value_length": head_dim,
            "attention.layer_norm_rms_epsilon": float(config.get("rms_norm_eps") or 1e-6),
            "vocab_size": config.whole("vocab_size"), "rope.dimension_count": head_dim, **rope,
        }  # fmt: skip
        return cls(_MODELS[kind], heads, kv_heads, head_dim, fields, factors, notes)

    def tensor_name(self, name: str) -> str | None:
        """GGUF's name of a tensor of the checkpoint; None for one that has no place in the file."""
        if found := _NAME.fullmatch(name):
            part = _LAYER.get(found["part"])
            if part in _HEAD_NORMS and self.name != "qwen3":
                return None
            return part and f"blk.{found['layer']}.{part}.{found['kind']}"
        module, _, kind = name.rpartition(".")
        return f"{_WHOLE[module]}.{kind}" if module in _WHOLE and kind == "weight" else None

    def ordered(self, gguf_name: str, rows: Array) -> Array:
        """The rows of a tensor as llama.cpp wants them.

        Its rotary embedding for ``llama`` turns neighbouring rows of a head together, as the original code does; those
        of Hugging Face turn rows half a head apart.
        """
        part = gguf_name.split(".")[2] if gguf_name.startswith("blk.") else ""
        if self.name != "llama" or part not in ("attn_q", "attn_k"):
            return rows
        heads = self.heads if part == "attn_q" else self.kv_heads
        parted = rows.reshape(heads, 2, self.head_dim // 2, *rows.shape[1:])
        return np.ascontiguousarray(parted.swapaxes(1, 2).reshape(rows.shape))

    def extra_tensors(self) -> dict[str, Array]:
        """Tensors that the checkpoint does not hold."""
        return {_ROPE: np.array(self.rope_factors, np.float32)} if self.rope_factors else {}


def _refused(config: Config, key: str, what: str, hint: str) -> DovetailError:
    return DovetailError(what, where=f"{config.where}: {key}", hint=hint, exit_code=INFEASIBLE)


def _check_plain(config: Config) -> None:
    """Refuse variants that llama.cpp's graphs of these architectures do not compute."""
    hint = "--format safetensors"
    if (act := config.text("hidden_act", default="silu")) not in ("silu", "swish"):
        raise _refused(config, "hidden_act", f"'{act}' is not what llama.cpp computes for this architecture", hint)
    if (share := config.get("partial_rotary_factor") or 1) != 1:
        raise _refused(config, "partial_rotary_factor", f"{share} of a head is rotated, which is not written", hint)


def _context(config: Config) -> tuple[int, tuple[str, ...]]:
    """Positions, cut to the attention window where there is one: llama.cpp attends to all of them."""
    context, window = config.whole("max_position_embeddings", default=2048), config.get("sliding_window")
    used = config.flag("use_sliding_window", default=config.text("model_type") == "mistral")
    if not (used and isinstance(window, int) and window < context):
        return context, ()
    return window, (f"context cut from {context} to the attention window of {window}, beyond which llama.cpp differs",)


def _rope(config: Config, head_dim: int) -> tuple[dict[str, int | float | str], tuple[float, ...]]:
    """Metadata of the rotary embedding, and the factors of its frequencies."""
    told: dict[str, Any] = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    base = float(told.get("rope_theta") or config.get("rope_theta") or 10000.0)
    kind = told.get("rope_type") or told.get("type") or "default"
    found: dict[str, int | float | str] = {"rope.freq_base": base}
    if kind == "default":
        return found, ()
    unusual = told.keys() & {"attention_factor", "mscale", "mscale_all_dim", "beta_fast", "beta_slow", "truncate"}
    if kind not in ("linear", "yarn", "llama3") or (kind == "yarn" and unusual):
        what = f"rope type '{kind}' with {', '.join(sorted(told))} is not written as GGUF"
        raise _refused(config, "rope_parameters", what, "--format safetensors")
    try:
        if kind == "llama3":
            return found, _llama3(told, base, head_dim)
        found |= {"rope.scaling.type": kind, "rope.scaling.factor": float(told["factor"])}
        if kind == "yarn":
            found["rope.scaling.original_context_length"] = int(told["original_max_position_embeddings"])
        return found, ()
    except (KeyError, TypeError, ValueError) as error:
        raise _refused(config, "rope_parameters", f"incomplete: {error}", "the model's own config.json") from None


def _llama3(told: Mapping[str, Any], base: float, head_dim: int) -> tuple[float, ...]:
    """Divisors of the frequencies of Llama 3.1 (arXiv 2407.21783; Meta's ``apply_scaling``).

    Wavelengths beyond ``original / low_freq_factor`` are stretched by `factor`, those below ``original /
    high_freq_factor`` stay, between them frequencies are blended.
    """
    factor, original = float(told["factor"]), float(told["original_max_position_embeddings"])
    low, high = float(told["low_freq_factor"]), float(told["high_freq_factor"])
    turns = original * base ** (-np.arange(0, head_dim, 2) / head_dim) / (2 * math.pi)  # within the original context
    share = np.clip((turns - low) / (high - low), 0, 1)
    return tuple(float(x) for x in 1 / ((1 - share) / factor + share))
