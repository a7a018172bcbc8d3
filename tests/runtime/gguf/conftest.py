"""Tiny random models of every architecture that is written as GGUF, and recipes applied to them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dovetail.recipe.recipe import Recipe

SIZES = {
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.1,
}  # fmt: skip
FAMILIES = {
    "llama": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}),
    "llama-tied": ("LlamaConfig", {"head_dim": 32, "tie_word_embeddings": True, "rms_norm_eps": 1e-4}),
    "mistral": ("MistralConfig", {"sliding_window": 32, "head_dim": 16}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {"head_dim": 32}),
}


def save(family: str, folder: Path, dtype: str = "bfloat16", **changes: object) -> Path:
    """A random model, saved by transformers; biases and norms are random too, so that no mistake hides behind zeros."""
    import torch
    import transformers

    torch.manual_seed(3)
    kind, more = FAMILIES[family]
    config = getattr(transformers, kind)(**{**SIZES, **more, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    with torch.no_grad():
        for name, one in model.named_parameters():
            if one.ndim == 1:
                one.add_(torch.randn_like(one) * 0.3 if name.endswith("bias") else torch.rand_like(one))
    model.save_pretrained(folder)
    return folder


def byte_level(folder: Path, vocabulary: int = 300, pattern: str | None = None) -> Path:
    """A byte-level BPE tokenizer in the way of GPT-2, or one that cuts by `pattern`, trained on a few words."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    steps = pre_tokenizers
    tokenizer.pre_tokenizer = (
        steps.ByteLevel(add_prefix_space=False) if pattern is None
        else steps.Sequence([steps.Split(Regex(pattern), "isolated"), steps.ByteLevel(False, use_regex=False)])
    )  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<end>"],
        initial_alphabet=steps.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat in 1984, it's said\n\n  and the dogs didn't"] * 9, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "chat_template": "{{ messages }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of one of `FAMILIES`, after a recipe where one is given."""
    saved: dict[str, Path] = {}

    def find(name: str, recipe: object = None) -> Path:
        key = f"{name} {recipe}"
        if key not in saved:
            folder = tmp_path_factory.mktemp("model")
            saved[key] = save(name, folder) if recipe is None else Recipe.load(recipe).apply(find(name), folder).path
        return saved[key]

    return find
