"""Small models with random weights, as integers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from dovetail.accel.frontend.read import read_language_model
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.lowering.lower import Scheme, lower_graph
from dovetail.core.lazy import require

CONTEXT, VOCABULARY = 64, 90


@cache
def small(family: str, weights: str = "w8a8") -> IntegerModel:
    """``llama`` (heads that share keys and do not fill a word, biases), ``qwen3`` (norms of heads) or ``gpt2``."""
    torch = require("torch", "torch", to="test")
    torch.manual_seed(0)
    module = _module(family).float().eval()
    for parameter in module.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
        else:
            parameter.data *= 4
    samples = np.random.default_rng(0).integers(0, VOCABULARY, (6, 40))
    return lower_graph(read_language_model(module, CONTEXT, family), [samples], Scheme(weights))


def _module(family: str) -> Any:
    transformers = require("transformers", "torch", to="test")
    common = {"vocab_size": VOCABULARY}
    if family == "gpt2":
        config = transformers.GPT2Config(n_embd=48, n_layer=2, n_head=4, n_positions=CONTEXT, **common)
        return transformers.GPT2LMHeadModel(config)
    shape = {
        "hidden_size": 48, "intermediate_size": 76, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, **common,
    }  # fmt: skip
    if family == "llama":
        config = transformers.LlamaConfig(head_dim=6, tie_word_embeddings=True, attention_bias=True, **shape)
        return transformers.LlamaForCausalLM(config)
    config = transformers.Qwen3Config(head_dim=8, tie_word_embeddings=False, **shape)
    return transformers.Qwen3ForCausalLM(config)
