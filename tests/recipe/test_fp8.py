"""fp8 against compressed-tensors, element by element; what floats of 8 and 4 bits refuse."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from compressed_tensors.compressors.naive_quantized.base import FloatQuantizationCompressor
from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization.quant_scheme import FP8_BLOCK, FP8_DYNAMIC, MXFP4, NVFP4
from safetensors.torch import load_file

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.recipe.arithmetic.blocks import block_grid, block_quantise
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.layerwise.inputs import collect
from dovetail.recipe.methods.fp8 import FP8
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.scheme import Scheme
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.dense import dense
from dovetail.runtime.load import load

Find = Callable[[str], Path]
SMALL = Calibration(samples=4, tokens=32)


@pytest.mark.parametrize("scales", ["row", "block"])
def test_elements_are_those_of_compressed_tensors(scales: str, model_folder: Find, tmp_path: Path) -> None:
    """Given the scales in the file, the library makes the bytes in the file; scales are absmax / 448."""
    out = Recipe.load([FP8(scales)]).apply(model_folder("llama"), tmp_path / "out").path
    before, after = (load_file(folder / "model.safetensors") for folder in (model_folder("llama"), out))
    preset = FP8_BLOCK if scales == "block" else FP8_DYNAMIC
    scheme = QuantizationScheme(targets=["Linear"], weights=preset["weights"])
    names = [name for name in after if name.endswith("proj.weight")]
    assert len(names) == 14
    for name in names:
        scale, weight = after[f"{name}_scale"], before[name].float()
        theirs = FloatQuantizationCompressor.compress({"weight": weight, "weight_scale": scale.float()}, scheme)
        assert torch.equal(theirs["weight"].view(torch.uint8), after[name].view(torch.uint8))
        tall = min(128, len(weight)) if scales == "block" else 1
        wide = 128 if scales == "block" else weight.shape[1]
        peak = weight.abs().unflatten(0, (-1, tall)).unflatten(2, (-1, wide)).amax((1, 3))
        assert torch.equal(scale, (peak / 448).bfloat16())


def test_blocks_at_the_edges_are_smaller() -> None:
    weight = torch.randn(200, 150, generator=torch.Generator().manual_seed(0))
    weight[:128, :128] = 0
    scale = block_grid(weight, 128)
    assert scale.shape == (2, 2)
    assert scale[0, 0] == 1
    assert scale[1, 1] == weight[128:, 128:].abs().max() / 448
    steps = block_quantise(weight, scale, 128).float()
    error = (steps[128:, 128:] * scale[1, 1] - weight[128:, 128:]).abs()
    assert (error <= weight[128:, 128:].abs() / 16 + scale[1, 1] * 2**-10 + 1e-7).all()  # three bits of mantissa


PRESETS = {"fp8": FP8_DYNAMIC, "fp8:scales=block": FP8_BLOCK, "nvfp4": NVFP4, "mxfp4": MXFP4}


@pytest.mark.parametrize("recipe", PRESETS)
def test_configs_are_the_presets_of_compressed_tensors(recipe: str, model_folder: Find, tmp_path: Path) -> None:
    out = Recipe.load(recipe).apply(model_folder("llama"), tmp_path / "out", calibration=SMALL).path
    written = json.loads((out / "config.json").read_text())["quantization_config"]
    parsed = QuantizationConfig.model_validate({k: v for k, v in written.items() if k != "quant_method"})
    preset = QuantizationScheme(targets=["Linear"], **PRESETS[recipe])
    for part in ("weights", "input_activations"):
        ours, theirs = (getattr(s, part).model_dump() for s in (parsed.config_groups["group_0"], preset))
        keys = ("num_bits", "type", "symmetric", "group_size", "strategy", "block_structure", "dynamic", "scale_dtype")
        assert [ours[key] for key in keys] == [theirs[key] for key in keys]
    assert parsed.format == {"fp8": "float-quantized", "fp8:scales=block": "float-quantized"}.get(
        recipe, f"{recipe}-pack-quantized"
    )


def test_matrices_that_engines_stack_share_the_number_of_the_whole(model_folder: Find, tmp_path: Path) -> None:
    found = {}
    for recipe in ("nvfp4", "nvfp4a16"):
        out = Recipe.load(recipe).apply(model_folder("llama"), tmp_path / recipe, calibration=SMALL).path
        found[recipe] = after = load_file(out / "model.safetensors")
        before = load_file(model_folder("llama") / "model.safetensors")
        for stacked in ("self_attn.[qkv]_proj", "mlp.(gate|up)_proj", "self_attn.o_proj"):
            names = [n for n in before if re.fullmatch(rf"model\.layers\.1\.{stacked}\.weight", n)]
            largest = max(float(before[name].abs().max()) for name in names)
            for name in names:
                assert float(after[f"{name}_global_scale"]) == pytest.approx(448 * 6 / largest, rel=1e-6)
    shared = [n for n in found["nvfp4a16"] if n in found["nvfp4"]]
    assert all(torch.equal(*(found[r][n].view(torch.uint8) for r in found)) for n in shared)
    inputs = [n for n in found["nvfp4"] if n not in found["nvfp4a16"]]
    assert len(inputs) == 14
    assert all(n.endswith("input_global_scale") and found["nvfp4"][n] > 0 for n in inputs)


def test_only_peaks_of_inputs_are_looked_at(
    model_folder: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Second moments cost a product as large as the layer's own for each token, and nothing reads them here."""
    asked: list[bool] = []

    def watched(*args: object, **named: object) -> object:
        found = collect(*args, **named)  # type: ignore[arg-type]
        asked.extend(one.moment.numel() > 0 for one in found.values())
        return found

    monkeypatch.setattr("dovetail.recipe.layerwise.work.collect", watched)
    Recipe.load("nvfp4").apply(model_folder("llama"), tmp_path / "out", calibration=SMALL)
    assert asked == [False] * 14


@pytest.mark.parametrize(
    ("recipe", "message"),
    [("mxfp4", r"cannot be stored as mxfp4 \(its 172 columns are no multiple of 32\)"), ("nvfp4", "multiple of 16"),
     ("fp8:scales=block", "multiple of 128")],
)  # fmt: skip
def test_columns_that_groups_do_not_divide(recipe: str, message: str, model_folder: Find, tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match=message) as caught:
        Recipe.load(recipe).apply(model_folder("stories260K"), tmp_path / "out", calibration=SMALL)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "make",
    [lambda: FP8("tensor"), lambda: FP8(act_bits=4), lambda: FP8("block", 4), lambda: Scheme(4, 32, kind="nvfp4"),
     lambda: Scheme(8, 32, kind="mxfp4"), lambda: Scheme(4, 32, act_bits=8, kind="mxfp4")],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(DovetailError):
        make()


def test_products_run_in_what_is_stored() -> None:
    graph = Model.load("meta-llama/Llama-3.1-8B").graph()
    acts = {name: {o.act for o in Recipe.load(name).rewrite(graph).operators if o.name == "qkv"} for name in PRESETS}
    assert acts == {"fp8": {"fp8"}, "fp8:scales=block": {"fp8_block"}, "nvfp4": {"nvfp4"}, "mxfp4": {"mxfp4"}}
    assert Recipe.load("mxfp4:act_bits=16").rewrite(graph).operators[2].act == "bf16"


@pytest.mark.parametrize("recipe", ["fp8", "fp8:scales=block", "nvfp4", "nvfp4a16", "mxfp4"])
def test_the_dense_model_is_what_is_executed(recipe: str, model_folder: Find, tmp_path: Path) -> None:
    out = Recipe.load(recipe).apply(model_folder("llama"), tmp_path / "out", calibration=SMALL).path
    unpacked = dense(Checkpoint.open(out))
    found, forecast = dict(unpacked.tensors()), unpacked.infos()
    executed = load(out, "bf16").model.state_dict()
    assert found.keys() == forecast.keys() == executed.keys()
    for name, tensor in found.items():
        assert tensor.shape == forecast[name].shape
        assert torch.equal(tensor, executed[name])
