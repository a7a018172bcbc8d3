"""`compress --format`: what is written is what quality is measured on, and nothing is left half-written."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dovetail.core.errors import DovetailError
from dovetail.design.compress import compress
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.load import load
from dovetail.runtime.perplexity import perplexity
from dovetail.runtime.stored import Stored

WORDS = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 8
ROUGH = [{"rtn": {"bits": 4, "group": 4, "act_bits": 8}}]  # fits no type of GGUF, and rounds inputs


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(WORDS)
    return tmp_path / "text.txt"


def values(path: Path, folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of a GGUF file by GGUF's names."""
    gguf = pytest.importorskip("gguf")
    tensors = gguf.GGUFReader(path / "model.gguf").tensors
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(t.shape[::-1]) for t in tensors}


@pytest.mark.parametrize("recipe", ["w4a16-rtn:group=0", ROUGH], ids=["carried", "rounded-again"])
def test_quality_is_that_of_the_files_own_weights(stories: Path, tmp_path: Path, text: Path, recipe: Any) -> None:
    found = compress(str(stories), Recipe.load(recipe), tmp_path / "out", text=text, format="gguf")
    assert found["bytes_after"]["value"] == sum(
        t.n_bytes for t in pytest.importorskip("gguf").GGUFReader(tmp_path / "out" / "model.gguf").tensors
    )
    loaded, state = load(stories), {}
    named = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj"}  # fmt: skip
    for name, rows in values(tmp_path / "out", stories).items():
        parts = name.split(".")
        if len(parts) == 4 and parts[2] in named:
            heads = {"attn_q": 8, "attn_k": 4}.get(parts[2])
            if heads:
                rows = rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)
            state[f"model.layers.{parts[1]}.{named[parts[2]]}.weight"] = torch.from_numpy(np.ascontiguousarray(rows))
    assert len(state) == 5 * 7
    loaded.model.load_state_dict(state, strict=False)
    wanted = perplexity(loaded, WORDS, context=loaded.max_context).perplexity
    assert found["perplexity_after"]["value"] == pytest.approx(wanted, rel=1e-5)
    assert found["perplexity_after"]["value"] != found["perplexity_before"]["value"]
    again = any("rounded again" in note for note in found["notes"])
    assert again
    assert any("how inputs are rounded" in note for note in found["notes"]) == (recipe is ROUGH)
    about = json.loads((tmp_path / "out" / "dovetail.json").read_text())
    assert about["format"] == "gguf"
    assert about["base"]["name"] == "hf"
    assert about["payload_bytes"] == found["bytes_after"]["value"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "text.txt"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["README.md", "dovetail.json", "model.gguf"]


def test_a_compressed_folder_becomes_the_same_file(stories: Path, tmp_path: Path, text: Path) -> None:
    pytest.importorskip("gguf")
    compress(str(stories), "w8a16:group=0", tmp_path / "hf", text=text)
    compress(str(tmp_path / "hf"), "none", tmp_path / "later", text=text, format="gguf")
    compress(str(stories), "w8a16:group=0", tmp_path / "once", text=text, format="gguf")
    once, later = ((tmp_path / name / "model.gguf").read_bytes() for name in ("once", "later"))
    assert once == later  # both models are called after their folder, "hf"


def test_dense_weights_are_those_the_integers_stand_for(stories: Path, tmp_path: Path, text: Path) -> None:
    found = compress(str(stories), Recipe.load(ROUGH), tmp_path / "out", text=text, format="safetensors")
    packed = Recipe.load(ROUGH).apply(stories, tmp_path / "packed").path
    stored = Stored.of(Checkpoint.open(packed))
    assert stored is not None
    wanted, tensors = dict(stored.dense_tensors(torch.float32)), load_file(tmp_path / "out" / "model.safetensors")
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    assert "quantization_config" not in Checkpoint.open(tmp_path / "out").config
    assert found["bytes_after"]["value"] == Checkpoint.open(stories).payload_bytes
    assert found["notes"] == [
        "inputs are not rounded to int8: dense weights do not ask for it",
        "the text is one piece: no range can be told; a longer text has several",
    ]
    assert found["pays"] == []  # they are multiplied as the original is
    loaded = load(tmp_path / "out")
    assert found["perplexity_after"]["value"] == pytest.approx(
        perplexity(loaded, WORDS, context=loaded.max_context).perplexity
    )


def test_a_disk_that_fills_leaves_nothing(
    stories: Path, tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = pytest.importorskip("gguf")
    compress(str(stories), "none", tmp_path / "out", text=text, format="gguf")
    old = (tmp_path / "out" / "model.gguf").read_bytes()
    write, calls = gguf.GGUFWriter.write_tensor_data, []

    def fills(self: Any, tensor: Any, *more: Any) -> None:
        calls.append(tensor)
        if len(calls) == 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, tensor, *more)

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", fills)
    with pytest.raises(DovetailError, match=r"could not write out \(No space left on device\)"):
        compress(str(stories), "w8a16:group=0", tmp_path / "out", text=text, format="gguf")
    assert (tmp_path / "out" / "model.gguf").read_bytes() == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "text.txt"]


def test_a_format_is_refused_before_any_work(stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dovetail.design import compress as module

    monkeypatch.setattr(module, "measured_change", lambda *a, **b: pytest.fail("measured"))
    with pytest.raises(DovetailError, match=r"unknown format 'guf'.*did you mean 'gguf'"):
        compress(str(stories), "none", tmp_path / "out", format="guf")
    other = tmp_path / "other"
    other.mkdir()
    for file in stories.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    about = json.loads((stories / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**about, "hidden_act": "gelu"}))
    with pytest.raises(DovetailError, match=r"'gelu' is not what llama\.cpp computes"):
        compress(str(other), "none", tmp_path / "out", format="gguf")
    assert not (tmp_path / "out").exists()
