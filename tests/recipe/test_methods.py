"""Each method on its own: what it changes, what it leaves alone, what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.methods.gptq import GPTQ
from dovetail.recipe.methods.magnitude import Magnitude
from dovetail.recipe.methods.rtn import RTN
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.targets import tensor_names

Find = Callable[[str], Path]


def graph(name: str = "meta-llama/Llama-3.1-8B", **shape: object) -> object:
    return Model.load(name).graph(**{"batch": 1, "tokens": 1, "context": 0, **shape})  # type: ignore[arg-type]


def applied(folder: Path, out: Path, *methods: object) -> dict[str, torch.Tensor]:
    Recipe.load(list(methods)).apply(folder, out)
    return load_file(out / "model.safetensors")


def test_only_the_linear_matrices_change(model_folder: Find, tmp_path: Path) -> None:
    for name in ("llama", "qwen2", "mixtral"):
        before = load_file(model_folder(name) / "model.safetensors")
        after = applied(model_folder(name), tmp_path / name, RTN(4, 128))
        changed = {n for n in before if n not in after}
        assert all(n.endswith("_proj.weight") or ".experts." in n for n in changed)
        assert len(changed) == {"llama": 14, "qwen2": 14, "mixtral": 2 * (4 + 3 * 3)}[name]
        assert all(torch.equal(before[n], after[n]) for n in before if n in after)


def test_the_config_is_what_compressed_tensors_expects(model_folder: Find, tmp_path: Path) -> None:
    from compressed_tensors.quantization import QuantizationConfig

    applied(model_folder("mixtral"), tmp_path / "out", RTN(3, 0))
    written = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    parsed = QuantizationConfig.model_validate({k: v for k, v in written.items() if k != "quant_method"})
    weights = parsed.config_groups["group_0"].weights
    assert (weights.num_bits, weights.strategy, weights.symmetric) == (3, "channel", True)
    assert "lm_head" in parsed.ignore
    assert any("gate" in name for name in parsed.ignore)  # the router decides where tokens go: it stays dense


def test_rewriting_takes_arrays_of_points() -> None:
    many = RTN(4, 128).rewrite(graph(batch=np.array([1, 2, 4]), context=np.array([10, 20, 30])))  # type: ignore[arg-type]
    one = RTN(4, 128).rewrite(graph())  # type: ignore[arg-type]
    assert many.weight_bytes() == one.weight_bytes()
    # Llama-3.1-8B: 6.98e9 elements in linear layers at 4 + 16/128 bits, the rest (tables of 128,256 × 4,096) in bf16
    linear = 32 * 4096 * (4096 * 2 + 1024 * 2 + 14336 * 3)
    rest = 2 * (2 * 128256 * 4096 + 65 * 4096)
    assert one.weight_bytes() == linear * (4 + 16 / 128) / 8 + rest


def test_a_group_is_no_larger_than_the_layer_and_its_columns_can_be_grouped(model_folder: Find) -> None:
    """stories260K has layers of 64 and 172 columns."""
    with pytest.raises(DovetailError, match=r"larger than the layer \(it has 64 columns\)") as caught:
        RTN(4, 128).on_weights(_open(model_folder("stories260K")))  # type: ignore[arg-type]
    assert caught.value.exit_code == 3
    assert "group=64" in caught.value.hint
    with pytest.raises(DovetailError, match="172 columns have no divisor from 8 to 32") as caught:
        RTN(4, 32).on_weights(_open(model_folder("stories260K")))  # type: ignore[arg-type]


def test_groups_that_do_not_divide_the_columns_are_the_next_divisor_below(model_folder: Find, tmp_path: Path) -> None:
    after = applied(model_folder("stories260K"), tmp_path / "out", RTN(4, 64))
    assert after["model.layers.0.mlp.down_proj.weight_scale"].shape == (64, 172 // 43)
    assert after["model.layers.0.mlp.up_proj.weight_scale"].shape == (172, 1)


def test_bits_of_single_layers(model_folder: Find, tmp_path: Path) -> None:
    method = RTN(4, 0, layers=(("*.1.*.down_proj", 8), ("*_proj", 3)))
    after = applied(model_folder("llama"), tmp_path / "out", method)
    width = {
        name: tensor.shape[1] * 32 // 256 for name, tensor in after.items() if name.endswith("down_proj.weight_packed")
    }
    assert width == {f"model.layers.{i}.mlp.down_proj.weight_packed": bits for i, bits in ((0, 3), (1, 8))}
    recipe = Recipe.load([{"rtn": {"bits": 4, "group": 0, "layers": {"*.1.*.down_proj": 8, "*_proj": 3}}}])
    assert recipe.methods == (method,)
    assert Recipe.load(json.loads(json.dumps(recipe.to_json()))).methods == (method,)


def test_globs_name_all_experts_of_a_layer_or_none(model_folder: Find, tmp_path: Path) -> None:
    """Experts of a layer are one product: what would store one of them otherwise is refused, not forgotten."""
    mixture = _open(model_folder("mixtral"))
    for glob in ("*.experts.0.w1", "*.experts.2.*", "model.layers.1.*.[12].w2"):
        with pytest.raises(DovetailError, match=r"single experts.*layer [01] would have 4 and 8 bits") as caught:
            RTN(4, 0, layers=((glob, 8),)).on_weights(mixture)
        assert "\n" not in str(caught.value)
    after = applied(model_folder("mixtral"), tmp_path / "out", RTN(4, 0, layers=(("*.1.*.experts.*.w1", 8),)))
    cols = {n: t.shape[1] for n, t in after.items() if n.endswith(".w1.weight_packed")}
    assert cols == {n: 128 * (8 if ".layers.1." in n else 4) // 32 for n in cols}
    assert len(cols) == 6


@pytest.mark.parametrize("name", ["rtn", "gptq", "awq"])
def test_a_model_whose_layers_all_stay_is_the_model_as_it_is(model_folder: Find, tmp_path: Path, name: str) -> None:
    from transformers import AutoModelForCausalLM

    source = model_folder("llama")
    recipe = Recipe.load([{name: {"layers": {"*": 16}}}])
    done = recipe.apply(source, tmp_path / "out", calibration=Calibration(samples=2, tokens=16))
    assert done.bytes_after == done.bytes_before == recipe.rewrite(Model.load(source).graph()).weight_bytes()
    AutoModelForCausalLM.from_pretrained(done.path)
    before, after = (load_file(folder / "model.safetensors") for folder in (source, done.path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ("layers", "message"),
    [({"*.dwn_proj": 8}, r"no layer '\*\.dwn_proj'"), ({"*.down_proj": 9}, "9 bits"),
     (["down"], "is not bits by layer"), ({"*.q_proj": 2.5}, "is not bits by layer")],
)  # fmt: skip
def test_layers_that_cannot_be(model_folder: Find, layers: object, message: str) -> None:
    with pytest.raises(DovetailError, match=message):
        Recipe.load([{"rtn": {"group": 0, "layers": layers}}]).on_weights(_open(model_folder("llama")))  # type: ignore[arg-type]


def _open(folder: Path) -> object:
    from dovetail.runtime.checkpoint import Checkpoint

    return Checkpoint.open(folder)


def test_weights_stored_inputs_first_are_pruned_along_inputs_and_not_packed(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(DovetailError, match="cannot be packed") as caught:
        applied(tmp_path / "gpt2", tmp_path / "out", RTN(4, 0))
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()
    after = applied(tmp_path / "gpt2", tmp_path / "out", Magnitude(0.25))
    matrix = after["transformer.h.0.mlp.c_fc.weight"]  # (inputs, outputs)
    assert (matrix == 0).sum(0).tolist() == [4] * 64


@pytest.mark.parametrize("method", [RTN(4, 0), Magnitude(0.5)])
def test_experts_of_a_layer_in_one_tensor_are_refused(tmp_path: Path, method: object) -> None:
    from transformers import GptOssConfig, GptOssForCausalLM

    config = GptOssConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, head_dim=8,
        num_key_value_heads=1, num_local_experts=3, num_experts_per_tok=2, sliding_window=4,
    )  # fmt: skip
    GptOssForCausalLM(config).save_pretrained(tmp_path / "oss")
    with pytest.raises(DovetailError, match=r"cannot change 'model\.layers\.\{layer\}\.mlp\.experts") as caught:
        applied(tmp_path / "oss", tmp_path / "out", method)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()


def broken(folder: Path, out: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    shutil.copytree(folder, out)
    tensors = load_file(out / "model.safetensors")
    change(tensors)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out


def test_broken_weights_are_named(model_folder: Find, tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    poisoned = broken(model_folder("llama"), tmp_path / "nan", lambda t: t[name].view(-1)[3:4].fill_(float("nan")))
    with pytest.raises(DovetailError, match=f"{name}: holds a weight that is not finite"):
        applied(poisoned, tmp_path / "out", RTN(4, 128))
    lacking = broken(model_folder("llama"), tmp_path / "lack", lambda t: t.pop(name))
    for method in (RTN(4, 128), Magnitude()):
        with pytest.raises(DovetailError, match=f"no tensor '{name}'"):
            applied(lacking, tmp_path / "out", method)
    assert not (tmp_path / "out").exists()


def test_weights_of_another_shape_and_bad_ones_that_no_method_changes_are_named(
    model_folder: Find, tmp_path: Path
) -> None:
    name, norm = "model.layers.1.mlp.up_proj.weight", "model.layers.1.input_layernorm.weight"
    short = broken(model_folder("llama"), tmp_path / "short", lambda t: t.update({name: t[name][:, :10].contiguous()}))
    for method in (RTN(4, 0), GPTQ(4, 0), Magnitude()):
        with pytest.raises(DovetailError, match=rf"'{name}' has another shape \(it is \d+ x 10, config.json says"):
            applied(short, tmp_path / "out", method)
    bad = broken(model_folder("llama"), tmp_path / "norm", lambda t: t[norm][3:4].fill_(float("inf")))
    for method in (RTN(4, 0), GPTQ(4, 0), Magnitude()):
        with pytest.raises(DovetailError, match=f"{norm}: holds a weight that is not finite"):
            applied(bad, tmp_path / "out", method)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("fraction", "per"), [(0.5, "row"), (0.3, "row"), (0.31, "tensor"), (0.9, "tensor")])
def test_magnitude_keeps_the_largest(model_folder: Find, tmp_path: Path, fraction: float, per: str) -> None:
    source = load_file(model_folder("llama") / "model.safetensors")
    after = applied(model_folder("llama"), tmp_path / "out", Magnitude(fraction, per))
    for name in tensor_names(Model.load(str(model_folder("llama"))).graph(batch=1, tokens=1, context=0)):
        old, new = source[name].float().numpy(), after[name].float().numpy()
        assert (new[new != 0] == old[new != 0]).all()
        for was, now in zip(old, new) if per == "row" else [(old.ravel(), new.ravel())]:
            gone = now == 0
            assert gone.sum() == round(fraction * gone.size)
            assert np.abs(was[gone]).max() <= np.abs(was[~gone]).min()


def test_pruning_twice_keeps_the_smaller_share() -> None:
    twice = Magnitude(0.25).rewrite(Magnitude(0.5).rewrite(graph()))  # type: ignore[arg-type]
    densities = {w.format.density for w, _ in twice.weights()}
    assert densities == {0.5, 1.0}


@pytest.mark.parametrize(
    "make",
    [lambda: RTN(1), lambda: RTN(9), lambda: RTN(4, -1), lambda: Magnitude(0.0), lambda: Magnitude(1.0),
     lambda: Magnitude(float("nan")), lambda: Magnitude(0.5, "column")],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(DovetailError):
        make()


def test_what_is_packed_is_not_changed_again(model_folder: Find, tmp_path: Path) -> None:
    applied(model_folder("llama"), tmp_path / "once", RTN(4, 128))
    for method in (RTN(8, 128), Magnitude()):
        with pytest.raises(DovetailError):
            applied(tmp_path / "once", tmp_path / "twice", method)
        with pytest.raises(DovetailError, match="quantised already"):
            method.rewrite(RTN(4, 128).rewrite(graph()))  # type: ignore[arg-type]
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize("method", [RTN(4, 128), Magnitude(0.5)])
@pytest.mark.parametrize(
    ("model", "form"), [("openai/gpt-oss-20b", "mxfp4-g32"), ("deepseek-ai/DeepSeek-V3", "fp8-128x128")]
)
def test_a_checkpoint_that_is_quantised_is_refused_by_its_format(
    method: RTN | Magnitude, model: str, form: str
) -> None:
    """Before groups are looked at, and as infeasible: a search over models and recipes goes on."""
    with pytest.raises(DovetailError, match=f"quantised already, as {form}") as caught:
        method.rewrite(Model.load(model).graph())
    assert caught.value.exit_code == 3
