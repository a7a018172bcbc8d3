"""Small real and random models to run: a trained Llama where the data folder is there, tiny random ones always."""

from pathlib import Path

import pytest

from dovetail.runtime.load import Loaded, load


@pytest.fixture(scope="session")
def stories(data_folder: Path) -> Path:
    folder = data_folder / "models" / "stories260K" / "hf"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


@pytest.fixture(scope="session")
def trained(stories: Path) -> Loaded:
    return load(stories)


def save_tiny(folder: Path, **changes: object) -> Path:
    """A random Llama of two layers, saved by transformers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder, **changes)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def sharded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("sharded"), max_shard_size="60KB")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Loaded:
    return load(tiny_folder)
