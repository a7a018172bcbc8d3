"""An unknown `model_type` read as a Llama where its fields leave no room for anything else."""

from __future__ import annotations

from dataclasses import replace

from dovetail.model.architecture import Architecture
from dovetail.model.config import Config
from dovetail.model.families.llama import llama

# What a Llama's config must say, and may say. RMSNorm's epsilon tells it from models with LayerNorm.
REQUIRED = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "rms_norm_eps",
)  # fmt: skip
SHAPES = frozenset(REQUIRED) | {
    "num_key_value_heads", "head_dim", "max_position_embeddings", "tie_word_embeddings", "hidden_act", "mlp_bias",
    "rope_theta", "rope_scaling", "rope_parameters", "dtype", "torch_dtype", "model_type",
}  # fmt: skip
# Fields that change neither shapes nor caches: tokens, training, bookkeeping.
NEUTRAL = frozenset({
    "architectures", "attention_dropout", "auto_map", "bos_token_id", "chunk_size_feed_forward", "default_theta",
    "eos_token_id", "hidden_dropout", "id2label", "initializer_range", "is_encoder_decoder", "label2id", "pad_token_id",
    "original_max_position_embeddings", "output_attentions", "output_hidden_states", "pretraining_tp", "problem_type",
    "quantization_config", "return_dict", "resid_pdrop", "embd_pdrop", "transformers_version", "unk_token_id",
    "use_cache", "_name_or_path", "_attn_implementation", "num_nextn_predict_layers",
})  # fmt: skip
# Types whose fields are a Llama's and whose layers are not: norms without weights or on queries, fused projections.
LOOK_ALIKES = frozenset({"olmo3", "phi3"})
# Types whose configs name parts that nothing public defines: Kimi K3's language model is not Kimi Linear as published.
UNDEFINED = {
    "kimi_k3": "attn_res_block_size, hidden_act 'situ', mla_use_output_gate, routed_expert_hidden_size "
    "with latent_moe_use_norm, and use_full_rank_gate in linear_attn_config",
}


def unlike(config: Config) -> str:
    """Why a config cannot safely be read as a Llama; empty when it can."""
    kind = str(config.get("model_type"))
    if kind in LOOK_ALIKES:
        return f"{kind} has a Llama's fields but other layers"
    if kind in UNDEFINED:
        return f"no published module defines {UNDEFINED[kind]} of its text_config"
    if config.get("hidden_size") is None and (text := config.block("text_config")).fields:
        return f"it has parts, of which '{text.get('model_type')}', its language model, is one"
    missing = [name for name in REQUIRED if config.get(name) is None]
    if missing:
        return f"it lacks {', '.join(missing)}"
    set_fields = (name for name, value in config.items() if value not in (None, False, [], {}, 0))
    other = sorted(name for name in set_fields if name not in SHAPES and name not in NEUTRAL)
    if other:
        return f"{', '.join(other[:6])} may change the layers"
    head_dim = config.whole("head_dim", default=0, low=0)
    if head_dim and head_dim * config.whole("num_attention_heads") != config.whole("hidden_size"):
        return f"heads of {head_dim} channels are not hidden_size / num_attention_heads"
    activation = config.get("hidden_act", "silu")
    return "" if activation == "silu" else f"its activation is {activation}"


def by_fields(config: Config, name: str) -> Architecture:
    """The architecture of a config that `unlike` finds nothing against; it says how it was matched."""
    found = llama(config, name)
    kind = config.text("model_type")
    return replace(found, family="llama", matched_by=f"'{kind}' is unknown; all its fields are a Llama's")
