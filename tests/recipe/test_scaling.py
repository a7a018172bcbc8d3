"""Channels scaled where they are made and read: which there are in each family, and that nothing else changes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dovetail.core.errors import DovetailError
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.layerwise.run import Job, run_layers
from dovetail.recipe.layerwise.scaling import Pair, pairs, rescale
from dovetail.recipe.layerwise.work import LayerWork
from dovetail.recipe.outliers import Outliers, with_outliers
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint, record
from dovetail.runtime.load import load

Find = Callable[[str], Path]

_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_GATED = ("mlp.gate_proj", "mlp.up_proj")
_INNER = {Pair("self_attn.v_proj", ("self_attn.o_proj",), 32), Pair("mlp.up_proj", ("mlp.down_proj",))}
_LLAMA = {*_INNER, Pair("input_layernorm", _QKV), Pair("post_attention_layernorm", _GATED)}
PAIRS = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": {*_INNER, Pair("input_layernorm", _QKV), Pair("pre_feedforward_layernorm", _GATED)},
    "qwen3": {(pair if not pair.head else Pair(pair.maker, pair.readers, 48)) for pair in _LLAMA},
    # one norm before both blocks; GELU between fc1 and fc2, which does not scale
    "phi": {Pair("self_attn.v_proj", ("self_attn.dense",), 32), Pair("input_layernorm", (*_QKV, "mlp.fc1"))},
}


def each_layer(folder: Path, work: Path, look: Callable[[LayerWork], None]) -> None:
    run_layers(Checkpoint.open(folder), [look], Job(work / "work", "key", Calibration(samples=2, tokens=16)))


def disturb(work: LayerWork) -> None:
    """Random gains and biases, which fresh models have at 1 and 0; half of Gemma's 1 + w are near 0."""
    source = torch.Generator().manual_seed(work.index)
    for name, parameter in work.module.named_parameters():
        if parameter.ndim == 1 and "_norm" not in name:
            parameter.data = parameter.data + 0.6 * torch.rand(parameter.shape, generator=source) - 0.3


@pytest.mark.parametrize("family", PAIRS)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_scaling_leaves_what_a_layer_computes(
    model_folder: Find, tmp_path: Path, family: str, dtype: torch.dtype | None
) -> None:
    """To 1e-5 of the largest output, by factors up to 30 either way; gains are then rounded, columns make it good."""
    seen = []
    near = 1e-5 if dtype is None else 0.15 if "gemma" in family else 2**-8  # 1 + w has few digits near 0

    def look(work: LayerWork) -> None:
        disturb(work)
        batch, dtypes = next(iter(work.states)), None
        if dtype is not None:
            dtypes = {work.prefix + name: dtype for name, _ in work.module.named_parameters()}
        before = {name: p.data.clone() for name, p in work.module.named_parameters()}
        expected = work.run(batch)
        found = pairs(work)
        assert set(found) == PAIRS[family]
        assert all(torch.equal(before[name], p.data) for name, p in work.module.named_parameters())
        source = torch.Generator().manual_seed(work.index)
        for pair in found:
            scale = 30.0 ** (2 * torch.rand(pair.channels(work), generator=source) - 1)
            columns = rescale(work, pair, scale, dtypes)
            torch.testing.assert_close(pair.to_channels(columns, len(scale)), scale, rtol=near, atol=0)
        assert all(not torch.equal(before[name], work.module.get_submodule(name.removesuffix(".weight")).weight)
                   for name in before if any(name == f"{pair.maker}.weight" for pair in found))  # fmt: skip
        torch.testing.assert_close(work.run(batch), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        seen.append(work.index)

    each_layer(model_folder(family), tmp_path, look)
    assert seen == [0, 1]


def test_heads_that_share_values() -> None:
    """Two heads of three channels, each read by two: columns (head, reader, channel)."""
    pair, scale = Pair("v", ("o",), 3), torch.arange(6.0)
    columns = pair.to_columns(scale, 12)
    assert columns.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]
    assert torch.equal(pair.to_channels(columns, 6), scale)
    columns[4] = 9.0
    assert pair.to_channels(columns, 6).tolist() == [0, 9, 2, 3, 4, 5]


def test_a_gain_that_would_be_lost_stays(model_folder: Find, tmp_path: Path) -> None:
    """Gains of 0 and those that 1 + w in bf16 cannot hold: their channels are not scaled."""

    def look(work: LayerWork) -> None:
        norm = work.module.get_submodule("input_layernorm")
        norm.weight.data = torch.zeros_like(norm.weight)  # type: ignore[union-attr,arg-type]
        norm.weight.data[0] = -1.0  # type: ignore[index,operator]
        pair = next(pair for pair in pairs(work) if pair.maker == "input_layernorm")
        scale = torch.full((pair.channels(work),), 2.0)
        scale[1] = 2.0**20
        dtypes = {f"{work.prefix}input_layernorm.weight": torch.bfloat16}
        columns = rescale(work, pair, scale, dtypes)
        assert columns[:3].tolist() == [1.0, 1.0, 2.0]
        assert norm.weight[:3].tolist() == [-1.0, 0.0, -0.5]  # type: ignore[index,operator]

    each_layer(model_folder("gemma"), tmp_path, look)


@pytest.mark.parametrize("method", ["smoothquant", "awq"])
def test_a_model_that_is_not_understood_is_refused(model_folder: Find, tmp_path: Path, method: str) -> None:
    with pytest.raises(DovetailError, match="cannot be") as caught:
        Recipe.load([method]).apply(model_folder("gpt2"), tmp_path / "out", calibration=Calibration(None, 2, 8))
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_pairs_that_do_not_hold_are_left_out(model_folder: Find, tmp_path: Path) -> None:
    """A value's norm, and a router that reads the same norm: what is scaled would not be scaled back."""

    def look(work: LayerWork) -> None:
        attention, mlp = work.module.self_attn, work.module.mlp
        values, gate, matrix = attention.v_proj.forward, mlp.forward, torch.randn(128, 128)
        attention.v_proj.forward = lambda x: torch.nn.functional.normalize(values(x), dim=-1)  # type: ignore[union-attr,method-assign]
        mlp.forward = lambda x: gate(x) + x @ matrix  # type: ignore[union-attr,method-assign]
        assert {pair.maker for pair in pairs(work)} == {"input_layernorm", "mlp.up_proj"}
        work.linears = {}
        with pytest.raises(DovetailError, match=rf"model\.layers\.{work.index}: channels cannot be scaled") as caught:
            pairs(work)
        assert caught.value.exit_code == 3
        raise StopIteration

    with pytest.raises(StopIteration):
        each_layer(model_folder("llama"), tmp_path, look)


def test_outliers_change_activations_and_nothing_else(model_folder: Find, tmp_path: Path) -> None:
    """Factors are powers of two: logits are the same, bit for bit, in bf16 as it is stored."""
    ids = torch.randint(90, (2, 12), generator=torch.Generator().manual_seed(0))
    for name in ("llama", "qwen2"):
        folder, out = model_folder(name), tmp_path / name
        with_outliers(folder, out, channels=3, seed=1)
        before, after = load_file(folder / "model.safetensors"), load_file(out / "model.safetensors")
        for part, factors in (("input_layernorm", 3), ("post_attention_layernorm", 3)):
            ratio = after[f"model.layers.1.{part}.weight"] / before[f"model.layers.1.{part}.weight"]
            assert set(ratio.tolist()) <= {1.0, 16.0, 32.0, 64.0}
            assert int((ratio > 1).sum()) == factors
        rows = (after["model.layers.0.mlp.up_proj.weight"] / before["model.layers.0.mlp.up_proj.weight"]).nanmedian(1)[
            0
        ]
        assert int((rows >= 16).sum()) == 3
        with torch.inference_mode():
            assert torch.equal(load(folder, "fp32").model(ids).logits, load(out, "fp32").model(ids).logits)
    with torch.inference_mode():
        folder, out = model_folder("gemma2"), with_outliers(model_folder("gemma2"), tmp_path / "gemma2")
        expected, found = load(folder).model(ids).logits, load(out).model(ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_outliers_are_reproducible_by_seed(model_folder: Find, tmp_path: Path) -> None:
    made = [with_outliers(model_folder("llama"), tmp_path / str(i), seed=seed) for i, seed in enumerate((5, 5, 6))]
    first, same, other = (path.joinpath("model.safetensors").read_bytes() for path in made)
    assert first == same != other
    assert (record(made[0]) or {})["recipe"]["methods"] == [{"Outliers": {"channels": 4, "seed": 5}}]
    with pytest.raises(DovetailError, match="0 channels"):
        Outliers(0)


def test_a_broken_weight_is_named(model_folder: Find, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model_folder("llama").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    tensors = load_file(broken / "model.safetensors")
    tensors["model.layers.1.self_attn.q_proj.weight"][0, 0] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    for method in ("smoothquant", "awq"):
        with pytest.raises(DovetailError, match=r"model\.layers\.1\.self_attn\.q_proj\.weight: .*not finite"):
            Recipe.load([method]).apply(broken, tmp_path / "out", calibration=Calibration(None, 2, 8))
        assert not (tmp_path / "out").exists()
