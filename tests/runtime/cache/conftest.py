"""A small random Llama with groups of query heads, long enough a context, and texts for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dovetail.runtime.decoding.loop import Decoded, Loop
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.load import Loaded

LENGTHS = (70, 33, 51)


@pytest.fixture(scope="session")
def grouped() -> Loaded:
    """Three layers, six query heads on two KV heads."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=96, hidden_size=96, intermediate_size=128, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=256, eos_token_id=None, bos_token_id=None, initializer_range=0.2,
        attn_implementation="eager",
    )  # fmt: skip
    return Loaded(LlamaForCausalLM(config).eval(), None, Path("grouped"))


@pytest.fixture(scope="session")
def prompts() -> list[list[int]]:
    source = torch.Generator().manual_seed(5)
    return [torch.randint(96, (length,), generator=source).tolist() for length in LENGTHS]


def decode(loaded: Loaded, prompts: Sequence[Sequence[int]], new: int = 24, **more: Any) -> Decoded:
    return Loop(runner_of(loaded), new, Sampling(), **more).run(prompts)
