"""Loading: what transformers loads, quietly; what it cannot, in one sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dovetail.core.errors import DovetailError
from dovetail.recipe.recipe import Recipe
from dovetail.runtime import load as loading
from dovetail.runtime.load import Loaded, load


def edited(folder: Path, out: Path, **changes: object) -> Path:
    shutil.copytree(folder, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, **changes}))
    return out


def test_a_folder_loads_in_the_dtype_asked(tiny_folder: Path) -> None:
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}.items():
        found = load(tiny_folder, name)
        assert {p.dtype for p in found.model.parameters()} == {dtype}
        assert not found.model.training
    assert found.max_context == 64
    assert found.tokenizer is None


def test_a_tokenizer_comes_along(trained: Loaded) -> None:
    assert (
        trained.tokenizer.decode(trained.tokenizer("Once upon").input_ids, skip_special_tokens=True).strip()
        == "Once upon"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "no-such-model"}, "does not know this model .*'no-such-model'"),
        ({"hidden_size": 60}, "'lm_head.weight' has another shape .*96 x 64, config.json says 96 x 60"),
        ({"num_attention_heads": "four"}, "cannot load"),
        ({"auto_map": {}}, ""),
    ],
)
def test_an_unknown_model_is_one_sentence(
    tiny_folder: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    folder = edited(tiny_folder, tmp_path / "m", **changes)
    if not words:
        assert load(folder).vocabulary == 96
        return
    with pytest.raises(DovetailError, match=words) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("recipe", ["none", "w8a16:group=0"], ids=["dense", "quantised"])
def test_weights_that_are_not_there_are_not_made_up(tiny_folder: Path, tmp_path: Path, recipe: str) -> None:
    """By itself transformers loads such a model, with random numbers in their place."""
    Recipe.load(recipe).apply(tiny_folder, tmp_path / "whole")
    folder = edited(tmp_path / "whole", tmp_path / "part")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DovetailError, match=r"no tensor 'model.norm.weight' \(1 "):
        load(folder)


def test_an_unknown_dtype_has_a_hint(tiny_folder: Path) -> None:
    with pytest.raises(DovetailError, match="did you mean 'fp32'"):
        load(tiny_folder, "f32")


def test_a_model_larger_than_memory_is_infeasible(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "available_memory", lambda: 1000)
    with pytest.raises(DovetailError, match="does not fit in memory") as caught:
        load(tiny_folder)
    assert caught.value.exit_code == 3


def test_loading_is_quiet(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(tiny_folder)
    assert capfd.readouterr() == ("", "")
