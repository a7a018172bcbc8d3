"""A rotated model computes the same, with its outliers spread."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.methods.gptq import GPTQ
from dovetail.recipe.methods.magnitude import Magnitude
from dovetail.recipe.methods.rotation import Rotate
from dovetail.recipe.methods.rtn import RTN
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.load import load
from tests.recipe.conftest import save_tokenizer

Find = Callable[[str], Path]
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}),
    "tied": ("LlamaConfig", {"tie_word_embeddings": True}),
    "mistral": ("MistralConfig", {"sliding_window": 8}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {"head_dim": 24}),
    "gemma": ("GemmaConfig", {"head_dim": 32}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 3}),
    "qwen3_moe": ("Qwen3MoeConfig", {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 24}),
}


def saved(name: str, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A random model of a family whose norms have gains far from one and whose biases are not zero."""
    torch.manual_seed(11)
    kind, more = FAMILIES[name]
    config = getattr(transformers, kind)(
        vocab_size=96, hidden_size=96, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.1, **more,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.3)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def logits(folder: Path, dtype: str = "fp32") -> torch.Tensor:
    ids = torch.randint(96, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found: torch.Tensor = load(folder, dtype).model(ids).logits
    return found


def rotated(folder: Path, out: Path, *rest: Any, **parameters: Any) -> Path:
    recipe = Recipe.load([Rotate(**parameters), *rest])
    return recipe.apply(folder, out, calibration=Calibration(samples=4, tokens=32)).path


@pytest.mark.parametrize("family", FAMILIES)
def test_the_function_is_kept(family: str, tmp_path: Path) -> None:
    source = saved(family, tmp_path / "model")
    before, after = logits(source), logits(rotated(source, tmp_path / "out"))
    assert (after - before).abs().max() <= 1e-4 * before.abs().max()
    old, new = (load_file(path / "model.safetensors") for path in (source, tmp_path / "out"))
    name = "model.layers.0.self_attn.v_proj.weight"
    assert (new[name] - old[name]).abs().max() > 0.1 * old[name].abs().max()  # it was turned at all


@pytest.fixture
def _wide_norms(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Norms in the dtype of their input: transformers computes them in fp32."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)
        return normed

    monkeypatch.setattr(transformers.models.llama.modeling_llama.LlamaRMSNorm, "forward", forward)
    return


@pytest.mark.usefixtures("_wide_norms")
@pytest.mark.parametrize("family", ["llama", "tied"])
def test_in_float64_the_function_is_kept_to_nine_digits(family: str, tmp_path: Path) -> None:
    source = saved(family, tmp_path / "model", torch.float64)
    assert load_file(source / "model.safetensors")["model.norm.weight"].dtype == torch.float64
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
    before, after = logits(source, "fp64"), logits(rotated(source, tmp_path / "out"), "fp64")
    assert (after - before).abs().max() <= 1e-9 * before.abs().max()


def test_norms_become_ones_and_tied_heads_their_own(tmp_path: Path) -> None:
    for family, one in (("tied", 1.0), ("gemma", 0.0)):
        source = saved(family, tmp_path / family)
        after = load_file(rotated(source, tmp_path / f"{family}-out") / "model.safetensors")
        gains = [tensor for name, tensor in after.items() if name.endswith("norm.weight")]
        assert len(gains) == 5
        assert all(bool((gain == one).all()) for gain in gains)
        assert "lm_head.weight" in after
        assert json.loads((tmp_path / f"{family}-out" / "config.json").read_text())["tie_word_embeddings"] is False


def test_a_head_stored_beside_the_embedding_it_is_tied_to_is_not_read(tmp_path: Path) -> None:
    source = saved("tied", tmp_path / "model")
    tensors = load_file(source / "model.safetensors")
    before = logits(source)
    save_file({**tensors, "lm_head.weight": torch.zeros(96, 96)}, source / "model.safetensors", {"format": "pt"})
    after = logits(rotated(source, tmp_path / "out"))
    assert (after - before).abs().max() <= 1e-4 * before.abs().max()


def crest(rows: torch.Tensor) -> float:
    """Largest over root mean square, the median over rows."""
    return float((rows.abs().amax(-1) / rows.square().mean(-1).sqrt()).median())


def test_outliers_are_spread(tmp_path: Path) -> None:
    """A few channels 50 times the others, in the embedding and the writers: what each token carries becomes flat."""
    source = saved("llama", tmp_path / "model")
    tensors = load_file(source / "model.safetensors")
    tensors["model.embed_tokens.weight"][:, [3, 40, 77]] *= 50
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    after = load_file(rotated(source, tmp_path / "out") / "model.safetensors")
    old, new = (crest(t["model.embed_tokens.weight"]) for t in (tensors, after))
    assert old > 5
    assert new < 3  # three channels become sums of three: |x| / rms is at most sqrt(3) but for the rest


def test_a_seed_decides_every_byte(model_folder: Find, tmp_path: Path) -> None:
    for out, seed in (("a", 5), ("b", 5), ("c", 6)):
        rotated(model_folder("qwen2"), tmp_path / out, seed=seed)
    first, again, other = ((tmp_path / out / "model.safetensors").read_bytes() for out in "abc")
    assert first == again
    assert first != other


def test_values_can_be_left(tmp_path: Path) -> None:
    source = saved("llama", tmp_path / "model")
    before = load_file(source / "model.safetensors")
    after = load_file(rotated(source, tmp_path / "out", values=False) / "model.safetensors")
    name = "model.layers.1.self_attn.v_proj.bias"
    assert torch.equal(before[name], after[name])
    assert (logits(tmp_path / "out") - logits(source)).abs().max() <= 1e-4 * logits(source).abs().max()


@pytest.mark.parametrize("family", ["llama", "tied", "gemma"])
def test_quantisers_see_the_rotated_model(family: str, tmp_path: Path) -> None:
    """Rotated, saved, then quantised: the same as both in one recipe, also where the head comes into being."""
    source = saved(family, tmp_path / "model")
    twice = rotated(source, tmp_path / "once")
    for name, step in (("rtn", RTN(4, 16, act_bits=8)), ("gptq", GPTQ(4, 16, act_bits=8))):
        Recipe.load([step]).apply(twice, tmp_path / f"{name}-two", calibration=Calibration(samples=4, tokens=32))
        rotated(source, tmp_path / f"{name}-one", step)
        one, two = (load_file(tmp_path / f"{name}-{n}" / "model.safetensors") for n in ("one", "two"))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
        assert torch.equal(logits(tmp_path / f"{name}-one"), logits(tmp_path / f"{name}-two"))


def test_the_graph_of_a_tied_model_gets_a_head() -> None:
    graph = Model.load("Qwen/Qwen2.5-0.5B").graph()
    after = Rotate().rewrite(graph)
    assert after.weight_bytes() == graph.weight_bytes() + 151_936 * 896 * 2
    untied = Model.load("meta-llama/Llama-3.1-8B").graph()
    assert Rotate().rewrite(untied).weight_bytes() == untied.weight_bytes()


@pytest.mark.parametrize(
    ("model", "message"),
    [("openai-community/gpt2", "wte.weight: cannot be rotated"), ("google/gemma-2-2b", "pre_feedforward_layernorm"),
     ("microsoft/phi-2", "cannot be rotated"), ("deepseek-ai/DeepSeek-V3", "quantised already")],
)  # fmt: skip
def test_graphs_that_are_refused(model: str, message: str) -> None:
    with pytest.raises(DovetailError, match=message) as caught:
        Rotate().rewrite(Model.load(model).graph())
    assert caught.value.exit_code == 3


def test_checkpoints_that_are_refused(tmp_path: Path) -> None:
    config = transformers.GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(DovetailError, match="norms and blocks of gpt2"):
        rotated(tmp_path / "gpt2", tmp_path / "out")
    source = saved("llama", tmp_path / "model")
    tensors = load_file(source / "model.safetensors")
    more = {**tensors, "model.layers.0.adapter.weight": torch.zeros(96, 96)}
    save_file(more, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(DovetailError, match=r"layers\.0\.adapter\.weight: cannot be rotated"):
        rotated(source, tmp_path / "out")
    tensors["model.layers.1.input_layernorm.weight"][3] = float("nan")
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(DovetailError, match=r"layers\.1\.input_layernorm\.weight: holds a weight that is not finite"):
        rotated(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_orders_that_are_refused() -> None:
    with pytest.raises(DovetailError, match="zeros of magnitude would be gone"):
        Recipe.load([Magnitude(), Rotate()])
    with pytest.raises(DovetailError, match="needs dense weights, rtn leaves them packed"):
        Recipe.load([RTN(), Rotate()])
    with pytest.raises(DovetailError, match="a seed of -1"):
        Rotate(-1)
    assert np.size(Recipe.load([Rotate(), Magnitude(), RTN()]).methods) == 3
