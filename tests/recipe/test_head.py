"""The output head in 8 bits: stored apart from the embedding, whatever came before; both faces are tested beside."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.kernels.library import Missing, find
from dovetail.runtime.load import load

HEAD8 = "w4a16-rtn-head8:group=32"


def applied(source: Path, out: Path, recipe: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    path = Recipe.load(recipe).apply(source, out, calibration=Calibration(samples=4, tokens=32)).path
    return json.loads((path / "config.json").read_text()), load_file(path / "model.safetensors")


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_tied_embedding_stays_as_it_was(model_folder: Callable[[str], Path], tmp_path: Path, family: str) -> None:
    source = model_folder(family)
    config, tensors = applied(source, tmp_path / "out", HEAD8)
    before = load_file(source / "model.safetensors")
    embedding = "model.embed_tokens.weight"
    assert torch.equal(tensors[embedding], before[embedding])
    assert config["tie_word_embeddings"] is False
    quantization = config["quantization_config"]
    assert "lm_head" not in quantization["ignore"]
    assert quantization["config_groups"]["group_0"]["targets"] == ["lm_head"]
    assert quantization["config_groups"]["group_0"]["weights"]["num_bits"] == 8
    head = before.get("lm_head.weight", before[embedding]).float()
    steps = tensors["lm_head.weight_packed"].numpy().view("uint8").astype(int) - 128
    scale = tensors["lm_head.weight_scale"].float().repeat_interleave(32, 1)
    assert bool(((torch.from_numpy(steps) * scale - head).abs() <= 0.51 * scale + 1e-3 * head.abs()).all())


def test_after_a_calibrated_method_the_rest_is_what_that_method_made(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    source, gptq = model_folder("qwen2"), {"gptq": {"bits": 4, "group": 32}}
    _, alone = applied(source, tmp_path / "alone", [gptq])
    _, both = applied(source, tmp_path / "both", [gptq, "head"])
    assert both.keys() - alone.keys() == {f"lm_head.weight_{part}" for part in ("packed", "scale", "shape")}
    assert all(torch.equal(both[name], tensor) for name, tensor in alone.items())


def test_a_head_on_disk_is_not_quantised_twice(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    applied(model_folder("llama"), tmp_path / "out", ["head"])
    with pytest.raises(DovetailError, match="head is quantised already"):
        Recipe.load(["head"]).apply(tmp_path / "out", tmp_path / "again")
    with pytest.raises(DovetailError, match="head is quantised already"):
        Recipe.load(["head", "head"]).rewrite(Model.load(str(model_folder("llama"))).graph())
    assert not (tmp_path / "again").exists()


def test_a_mixture_takes_a_head_like_its_experts_alone(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    source = model_folder("mixtral")
    for number, before in enumerate(([], ["w8a16"], ["w4a16-rtn:group=32"])):
        with pytest.raises(DovetailError, match="the head cannot differ"):
            Recipe.load([*(Recipe.load(b).methods[0] for b in before), "head"]).apply(source, tmp_path / str(number))
        assert not (tmp_path / str(number)).exists()
    applied(source, tmp_path / "alike", [{"rtn": {"bits": 8, "group": 32}}, "head"])
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "alike", dtype=torch.float32).eval()
    ids = torch.arange(12).reshape(2, 6)
    with torch.inference_mode():
        ours, expected = load(tmp_path / "alike").model(ids).logits, theirs(ids).logits
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_nothing_quantises_after_it() -> None:
    for later in ("rtn", "gptq", "magnitude"):
        with pytest.raises(DovetailError, match=rf"{later} needs dense weights, head leaves them packed.*head last"):
            Recipe.load(["head", later])


@pytest.mark.skipif(isinstance(find(), Missing), reason="no kernels for packed weights here")
def test_the_kernels_run_it_packed(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    from dovetail.runtime.kernels.linear import PackedLinear

    applied(model_folder("qwen2"), tmp_path / "out", HEAD8)
    packed, dense = load(tmp_path / "out", kernels="auto"), load(tmp_path / "out")
    assert isinstance(packed.model.get_output_embeddings(), PackedLinear)
    ids = torch.arange(12).reshape(2, 6)
    with torch.inference_mode():
        ours, theirs = packed.model(ids).logits, dense.model(ids).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.abs().max()))
