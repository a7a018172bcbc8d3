"""Models that recipes are tried on: a trained one, tiny random ones of several families, the embedded one."""

from collections.abc import Callable
from pathlib import Path

import pytest

import dovetail.model

EMBEDDED = Path(dovetail.model.__file__).parent / "embedded"
_SIZES = {
    "vocab_size": 96, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.1,
}  # fmt: skip
_FAMILIES = {
    "llama": ("LlamaConfig", "bfloat16", {"tie_word_embeddings": False}),
    "qwen2": ("Qwen2Config", "bfloat16", {"tie_word_embeddings": True}),
    "mistral": ("MistralConfig", "bfloat16", {"tie_word_embeddings": False}),
    "qwen3": ("Qwen3Config", "bfloat16", {"head_dim": 48, "tie_word_embeddings": False}),
    "gemma": ("GemmaConfig", "bfloat16", {"head_dim": 32}),
    "gemma2": ("Gemma2Config", "bfloat16", {"head_dim": 32, "sliding_window": 16}),
    "phi": ("PhiConfig", "float32", {}),
    "gpt2": ("GPT2Config", "float32", {}),
    # fp32: transformers 5.17 loads a quantised mixture in no other dtype than its own
    "mixtral": ("MixtralConfig", "float32", {"num_local_experts": 3, "num_experts_per_tok": 2}),
}
MODELS = ("stories260K", "llama", "qwen2", "mixtral", "embedded")


def save_tiny(family: str, folder: Path) -> Path:
    """A random model of two layers with columns that 128 divides, saved by transformers."""
    import torch
    import transformers

    torch.manual_seed(7)
    kind, dtype, more = _FAMILIES[family]
    config = getattr(transformers, kind)(**_SIZES, **more)
    transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path, vocabulary: int = 96) -> None:
    """A token for each printable character, for models without a tokenizer of their own."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    words = {chr(32 + i): i for i in range(vocabulary - 1)} | {"?unknown": vocabulary - 1}
    tokenizer = Tokenizer(WordLevel(words, unk_token="?unknown"))
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


@pytest.fixture(scope="session")
def model_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of one of `MODELS`; skips when it is not there."""
    saved: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name == "stories260K":
            folder = Path(request.getfixturevalue("data_folder")) / "models" / "stories260K" / "hf"
        elif name == "embedded":
            folder = EMBEDDED
        else:
            if name not in saved:
                saved[name] = save_tiny(name, tmp_path_factory.mktemp(name))
            folder = saved[name]
        if not (folder / "model.safetensors").is_file():
            pytest.skip(f"{name} is not there")
        return folder

    return find
