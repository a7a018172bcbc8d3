"""A machine with round numbers and a small Llama, for which everything can be worked out by hand."""

from pathlib import Path
from typing import Any

import pytest

from dovetail.hardware import Machine, load_machine
from dovetail.model import Model

TOY = """
name: toy
title: Toy accelerator
kind: asic
peak: {bf16: 1 TFLOP/s, fp32: 250 GFLOP/s}
memory: {capacity: 4 MB, bandwidth: 100 GB/s}
link: 10 GB/s
power: {tdp: 100 W, idle: 20 W}
energy: {per_flop: {bf16: 1 pJ/FLOP, fp32: 4 pJ/FLOP}, per_byte: 100 pJ/B}
price: {rent: 3.6 USD/h}
efficiency: {compute: 0.5, memory: 0.8, spread: 0.25}
stack: {name: bare, launch: 3 us, step: 50 us}
source:
  peak: "a round number"
  memory: "a round number"
  link: "a round number"
  power: "a round number"
  energy: "a round number"
  price: "a round number"
  efficiency: {kind: calibrated, text: "a round number, measured"}
  stack: "a round number"
"""
LLAMA = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 3, "intermediate_size": 128,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 2048,
    "tie_word_embeddings": False, "dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture(scope="session")
def toy_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.yaml"
    path.write_text(TOY)
    return path


@pytest.fixture(scope="session")
def toy(toy_yaml: Path) -> Machine:
    return load_machine(toy_yaml)


@pytest.fixture(scope="session")
def llama() -> Model:
    config: dict[str, Any] = LLAMA
    return Model.load(config)


@pytest.fixture(scope="session")
def stories(data_folder: Path) -> Path:
    folder = data_folder / "models" / "stories260K" / "hf"
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"no {folder}")
    return folder
