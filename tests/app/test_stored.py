"""What is said of a compressed checkpoint: which formats, their scales, what stays; and what is not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dovetail.app.cli import app
from dovetail.app.describe import describe_model
from dovetail.model import Model
from dovetail.model.storage.summary import parts

LLAMA = {
    "model_type": "llama", "vocab_size": 512, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 4096,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kept = ["lm_head", "model.layers.0*"]
    how = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": kept, "kv_cache_quant_algo": "FP8"}
    return written(tmp_path, {**LLAMA, "quantization_config": how})


def written(where: Path, config: dict[str, Any]) -> Path:
    (where / "config.json").write_text(json.dumps(config))
    return where


def said(*arguments: str) -> str:
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == 0, found.output
    return " ".join(found.output.split())


def test_parts_of_a_graph_have_all_of_its_bytes_and_name_what_each_holds() -> None:
    graph = Model.load("deepseek-ai/DeepSeek-V3").graph()
    eight, plain = parts(graph)
    assert eight.bytes + plain.bytes == graph.weight_bytes()
    assert (eight.form.name, plain.form.name) == ("fp8-128x128", "bf16")
    assert eight.matrices[0].startswith("experts.")
    assert plain.matrices == ("embed_tokens", "lm_head", "gate")


def test_show_says_what_is_stored_how(folder: Path) -> None:
    stored = describe_model(str(folder))["stored"]
    assert set(stored) == {"nvfp4-g16", "bf16"}
    elements = 2 * (4 * 256 * 256 + 3 * 256 * 512)
    scales = elements // 16 + 8 * 2 * 7
    assert stored["nvfp4-g16"]["scales"]["value"] == scales
    assert stored["nvfp4-g16"]["size"]["value"] == elements // 2 + scales
    assert "gate_proj (2 of 3)" in stored["nvfp4-g16"]["holds"]
    assert "gate_proj (1 of 3)" in stored["bf16"]["holds"]
    text = said("show", str(folder))
    assert "nvfp4, a scale for each 16 inputs" in text
    assert "kv cache fp8" in text
    assert describe_model("Qwen/Qwen3-8B").keys().isdisjoint({"stored", "kv_cache"})


def test_the_memory_answer_says_in_what_formats_weights_are_held(folder: Path) -> None:
    packed = said("estimate", str(folder), "--on", "b200-sxm", "--explain", "memory")
    assert "nvfp4-g16" in packed
    assert "of scales" in packed
    unpacked = said("estimate", str(folder), "--on", "host", "--explain", "memory")
    assert "unpacked at load" in unpacked
    plain = said("estimate", "Qwen/Qwen3-0.6B", "--on", "b200-sxm", "--explain", "memory")
    assert "every tensor as stored, scales included" in plain


def test_a_form_that_is_not_described_is_said_by_every_answer(tmp_path: Path) -> None:
    folder = str(written(tmp_path, {**LLAMA, "quantization_config": {"quant_method": "quark"}}))
    sentence = "as quark, which is not described: weights are counted in bf16"
    assert describe_model(folder)["stored"] == sentence
    for arguments in (("show", folder), ("estimate", folder, "--on", "b200-sxm")):
        assert sentence in said(*arguments)
