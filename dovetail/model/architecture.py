"""What a decoder is made of: the numbers of its config, family quirks resolved, names of its tensors included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dovetail.core.content import ByContent
from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True, eq=False)
class AttentionSpec(ByContent):
    """One layer's attention. `window` is the sliding window in tokens, or None."""

    heads: Number
    kv_heads: Number
    head_dim: Number
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False
    window: int | None = None
    rotary: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class FeedForwardSpec(ByContent):
    """One layer's feed-forward block; ``experts > 1`` makes it a mixture with `top_k` experts a token."""

    intermediate: Number
    gated: bool = True
    bias: bool = False
    activation: str = "silu"
    experts: int = 1
    top_k: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class LayerSpec(ByContent):
    """One decoder layer."""

    attention: AttentionSpec
    feed_forward: FeedForwardSpec


@dataclass(frozen=True, slots=True, eq=False)
class Architecture(ByContent):
    """A decoder-only language model, as its Hugging Face module holds it.

    Parameters
    ----------
    name, family : str
        Zoo name or path; the `model_type` that was matched.
    names : mapping of str to tuple of str
        Role to tensor names with ``{layer}`` (and ``{expert}``) to fill in. Roles: ``embed, positions``; ``q, k, v`` or
        ``qkv``; ``o, gate, up, down``; in a mixture ``router, expert_gate, expert_up, expert_down``; ``norm_in,
        norm_post, norm_out, q_norm, k_norm, head``. First the weight, then the bias, used where the spec has one.
    norm : {"rms", "layer"}
        RMSNorm has one vector a norm, LayerNorm two.
    inputs_first : bool
        Linear weights are stored (inputs, outputs) as GPT-2's `Conv1D` does, not (outputs, inputs).
    dtype : str
        Dtype of the checkpoint.
    rope_theta : float
        Base of the rotary frequencies; 0 without rotary positions.
    """

    name: str
    family: str
    hidden: Number
    vocab: Number
    layers: tuple[LayerSpec, ...]
    max_context: int
    tied: bool
    names: Mapping[str, tuple[str, ...]]
    norm: Literal["rms", "layer"] = "rms"
    learned_positions: int = 0
    inputs_first: bool = False
    dtype: str = "bf16"
    rope_theta: float = 0.0
