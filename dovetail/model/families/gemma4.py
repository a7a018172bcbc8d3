"""The text part of Gemma 4 (Google, 2026): wide heads on full layers, mixtures beside dense blocks, layer inputs."""

from __future__ import annotations

from collections.abc import Mapping

from dovetail.model.architecture import Architecture, AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.model.blocks.per_layer_input import PerLayerInputSpec, PerLayerTableSpec
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.llama import LAYER, shape
from dovetail.model.families.llama import NAMES as LLAMA
from dovetail.model.families.patterns import kinds

_VIEWS = ("sliding_attention", "full_attention")


def _norm(name: str) -> tuple[str]:
    return (f"{LAYER}.{name}.weight",)


NAMES: Mapping[str, tuple[str, ...]] = {
    **LLAMA,
    **{role: _norm(f"self_attn.{role}") for role in ("q_norm", "k_norm")},
    "norm_mixer_out": _norm("post_attention_layernorm"),
    "norm_post": _norm("pre_feedforward_layernorm"),
    "norm_ffn_out": _norm("post_feedforward_layernorm"),
    # In a mixture the dense block is what every token meets besides the experts routed
    **{f"shared_{role}": LLAMA[role] for role in ("gate", "up", "down")},
    "norm_shared_out": _norm("post_feedforward_layernorm_1"),
    "norm_experts": _norm("pre_feedforward_layernorm_2"),
    "norm_experts_out": _norm("post_feedforward_layernorm_2"),
    "norm_router": (f"{LAYER}.router.scale",),
    "router": _norm("router.proj"),
    "router_scale": (f"{LAYER}.router.per_expert_scale",),
    "expert_gate_up": (f"{LAYER}.experts.gate_up_proj",),
    "expert_down": (f"{LAYER}.experts.down_proj",),
    "per_layer_table": ("model.embed_tokens_per_layer.weight",),
    "per_layer_project": ("model.per_layer_model_projection.weight",),
    "per_layer_norm": ("model.per_layer_projection_norm.weight",),
    "per_layer_gate": _norm("per_layer_input_gate"),
    "per_layer_out": _norm("per_layer_projection"),
    "norm_per_layer": _norm("post_per_layer_input_norm"),
}


@FAMILIES.register("gemma4_text")
def gemma4_text(config: Config, name: str) -> Architecture:
    if config.fields.get("use_bidirectional_attention") == "all":
        raise config.error("use_bidirectional_attention", "an encoder of this family is not described")
    views = kinds(config, "layer_types", _VIEWS, [_VIEWS[(i + 1) % 6 == 0] for i in range(config.layers)])
    views[-1] = "full_attention"
    width = config.whole("hidden_size_per_layer_input", default=256, low=0)
    rows = config.whole("vocab_size_per_layer_input", default=262_144)
    theta = config.rope.block("full_attention").number("rope_theta", default=1_000_000.0)
    known = {**shape(config), "rope_theta": theta, "tied": config.flag("tie_word_embeddings", default=True)}
    table = PerLayerTableSpec(rows, config.layers, width) if width else None
    return Architecture(name, layers=_layers(config, views, width), names=NAMES, beside_embed=table, **known)


def _layers(config: Config, views: list[str], width: int) -> tuple[LayerSpec, ...]:
    """The last ``num_kv_shared_layers`` read the cache of the last layer of their kind that has one."""
    first = config.layers - config.whole("num_kv_shared_layers", default=0, low=0, high=config.layers - 1)
    sources = {view: max((i for i in range(first) if views[i] == view), default=None) for view in _VIEWS}
    after = PerLayerInputSpec(width, _activation(config)) if width else None

    def spec(view: str, shared: bool) -> LayerSpec:
        if shared and sources[view] is None:
            raise config.error("num_kv_shared_layers", f"no layer of kind {view} has keys and values to share")
        mixer = _attention(config, view, sources[view] if shared else None)
        return LayerSpec(mixer, _block(config, shared), after=after)

    pairs = [(view, i >= first) for i, view in enumerate(views)]
    made = {pair: spec(*pair) for pair in set(pairs)}
    return tuple(made[pair] for pair in pairs)


def _attention(config: Config, view: str, source: int | None) -> AttentionSpec:
    heads, kv_heads, head_dim = config.heads(head_dim=256)
    full, same = view == "full_attention", config.flag("attention_k_eq_v")
    bias = config.flag("attention_bias")
    turned = config.rope.block(view).number("partial_rotary_factor", default=0.25 if full else 1.0)
    if full:
        # transformers writes the widths of full layers, of which the last is one, layer by layer
        saved = config.block("per_layer_config").block(str(config.layers - 1))
        head_dim = config.whole("global_head_dim", default=saved.whole("head_dim", default=512))
        written = saved.whole("num_key_value_heads", default=kv_heads)
        kv_heads = config.whole("num_global_key_value_heads", default=written) if same else kv_heads
    return AttentionSpec(
        heads, kv_heads, head_dim, bias, bias, qk_norm=True, v_norm=True, rotary=turned, shared_kv=same and full,
        window=None if full else config.whole("sliding_window", default=512), kv_source=source,
    )  # fmt: skip


def _activation(config: Config) -> str:
    return config.text("hidden_activation", default="gelu_pytorch_tanh")


def _block(config: Config, shared_kv: bool) -> FeedForwardSpec:
    """A dense block, twice as wide where keys and values are shared if the config says so; beside it a mixture."""
    inner = config.whole("intermediate_size") * (1 + (shared_kv and config.flag("use_double_wide_mlp")))
    if not config.flag("enable_moe_block"):
        return FeedForwardSpec(inner, activation=_activation(config))
    experts = config.whole("num_experts")
    return FeedForwardSpec(
        config.whole("moe_intermediate_size"), activation=_activation(config), experts=experts,
        top_k=config.whole("top_k_experts", high=experts), shared=inner,
    )  # fmt: skip
