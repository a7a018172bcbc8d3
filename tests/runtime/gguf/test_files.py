"""GGUF files read back by the ``gguf`` package and by transformers: values, names, order of rows, metadata."""

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.model.config import Config
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.gguf.architecture import Architecture
from dovetail.runtime.gguf.write import Gguf
from dovetail.runtime.load import load
from dovetail.runtime.stored import Stored
from tests.runtime.gguf.conftest import FAMILIES, SIZES, save

gguf = pytest.importorskip("gguf")

RECIPES = {
    "dense": "none",
    "int4": [{"rtn": {"bits": 4, "group": 32}}],
    "int4-zeros": [{"rtn": {"bits": 4, "group": 32, "symmetric": False}}],
    "int8": [{"rtn": {"bits": 8, "group": 0}}],
    "w8a8": [{"rtn": {"bits": 8, "group": 0, "act_bits": 8}}],
    "mixed": [{"rtn": {"bits": 3, "group": 32, "layers": {"*.0.*.q_proj": 8, "*.1.mlp.*": 5}}}],
    "small-groups": [{"rtn": {"bits": 4, "group": 16}}],
    "int8-zeros": [{"rtn": {"bits": 8, "group": 32, "symmetric": False}}],
}
CARRIED = set(RECIPES) - {"small-groups", "int8-zeros"}
BOUNDS = {  # of the largest weight of a block
    "int4-zeros": 2.0**-11,  # minima are kept to 11 bits
    "small-groups": 1 / 8,  # a step, which only the end of the range that is cut off takes; see the test of blocks
    "int8-zeros": 1 / 127 / 2 + 2.0**-11,  # half a step
}
Case = tuple[Path, Path, Any]


@pytest.fixture(params=[*((name, "mixed") for name in FAMILIES), *(("llama", recipe) for recipe in RECIPES)], ids=str)
def case(request: pytest.FixtureRequest, family: Callable[..., Path], tmp_path: Path) -> Case:
    name, recipe = request.param
    folder = family(name, RECIPES[recipe])
    return folder, tmp_path / "model.gguf", Gguf.of(folder).write(tmp_path / "model.gguf", "tiny")


def dense(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = Checkpoint.open(folder)
    stored = Stored.of(checkpoint)
    return dict(stored.dense_tensors(torch.float32) if stored else ((n, t.float()) for n, t in checkpoint.tensors()))


def unturned(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head that are neighbours in GGUF, half a head apart again."""
    size = len(rows) // heads
    order = [head * size + 2 * i + j for head in range(heads) for j in (0, 1) for i in range(size // 2)]
    return rows[order]


def read(path: Path, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Values by the checkpoint's names, mapped by the package's own table."""
    reader = gguf.GGUFReader(path)
    name = reader.fields["general.architecture"].contents()
    kind = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == name)
    table = gguf.get_tensor_name_map(kind, config["num_hidden_layers"])
    found = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        for part, heads in (("attn_q", "num_attention_heads"), ("attn_k", "num_key_value_heads")):
            if name == "llama" and tensor.name.split(".")[-2] == part:
                values = unturned(values, config[heads])
        found[tensor.name] = values
    stems = {}
    for layer in range(config["num_hidden_layers"]):
        for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "self_attn.q_norm",
                     "self_attn.k_norm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm",
                     "post_attention_layernorm"):  # fmt: skip
            stems[f"model.layers.{layer}.{part}"] = table.get_name(f"model.layers.{layer}.{part}")
    stems |= {part: table.get_name(part) for part in ("model.embed_tokens", "model.norm", "lm_head")}
    back = {f"{new}.{kind}": f"{old}.{kind}" for old, new in stems.items() for kind in ("weight", "bias")}
    return {back[name]: values for name, values in found.items()}


def test_every_tensor_is_read_as_it_is_in_the_checkpoint(case: Case, request: pytest.FixtureRequest) -> None:
    folder, path, written = case
    recipe = request.node.callspec.params["case"][1]
    wanted, found = dense(folder), read(path, dict(Checkpoint.open(folder).config))
    assert found.keys() == wanted.keys()
    matrices = {name for name in Checkpoint.open(folder).stored if name.endswith("_scale")}
    assert written.carried + written.rerounded == len(matrices)
    assert (written.rerounded == 0) == (recipe in CARRIED)
    exact = recipe in CARRIED and recipe != "int4-zeros"
    for name, values in found.items():
        ours = wanted[name].numpy()
        if exact or f"{name}_scale" not in matrices:
            assert np.array_equal(values, ours), name
        else:
            error = np.abs(values - ours).reshape(-1, 32).max(1)
            assert (error <= BOUNDS[recipe] * np.abs(ours).reshape(-1, 32).max(1)).all(), name
    assert (written.added_error == 0) == exact
    assert written.bytes == sum(int(t.n_bytes) for t in gguf.GGUFReader(path).tensors)


def test_the_error_that_rounding_again_adds_is_told(family: Callable[..., Path], tmp_path: Path) -> None:
    folder = family("llama", RECIPES["small-groups"])
    written = Gguf.of(folder).write(tmp_path / "model.gguf", "tiny")
    wanted, found = dense(folder), read(tmp_path / "model.gguf", dict(Checkpoint.open(folder).config))
    ratios = {n: np.linalg.norm(found[n] - w.numpy()) / np.linalg.norm(w) for n, w in wanted.items()}
    assert written.added_error == pytest.approx(max(ratios.values()), rel=1e-5)
    (note,) = (note for note in written.notes if "rounded again" in note)
    assert note.startswith("14 matrices fit no type of GGUF and were rounded again, to Q4_0: up to ")
    assert max(ratios, key=lambda name: ratios[name]) in note
    values = dict(Gguf.of(folder).values())
    assert all(np.array_equal(values[name], found[name]) for name in wanted)


def test_columns_that_blocks_do_not_divide_become_halves(tmp_path: Path) -> None:
    from dovetail.recipe.recipe import Recipe

    folder = save("llama", tmp_path / "m", intermediate_size=72)
    packed = Recipe.load([{"rtn": {"bits": 4, "group": 8}}]).apply(folder, tmp_path / "p").path
    written = Gguf.of(packed).write(tmp_path / "m.gguf", "tiny")
    assert written.types == {"BF16": 2, "Q4_0": 12, "F16": 2, "F32": 5 + 2 * 7}
    found, wanted = read(tmp_path / "m.gguf", dict(Checkpoint.open(packed).config)), dense(packed)
    for layer in range(2):
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        assert np.array_equal(found[name], wanted[name].half().float().numpy())


@pytest.mark.parametrize("name", FAMILIES)
def test_transformers_computes_the_same_logits_from_the_file(
    family: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    """Its own reader knows names, order of rows and metadata apart from ours."""
    import transformers
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    folder = family(name, RECIPES["int4"])
    Gguf.of(folder).write(tmp_path / "model.gguf", "tiny")
    tokens = torch.randint(0, 96, (2, 30), generator=torch.Generator().manual_seed(0))
    file = str(tmp_path / "model.gguf")
    about = load_gguf_checkpoint(file)["config"]
    fields = gguf.GGUFReader(file).fields  # the reader of Qwen 3 passes over the width of heads
    about["head_dim"] = int(fields[f"{fields['general.architecture'].contents()}.attention.key_length"].contents())
    biases = {"attention_bias": True, "mlp_bias": True} if name == "llama" else {}  # not in GGUF's metadata
    config = transformers.AutoConfig.for_model(**about, **biases)
    theirs = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    tensors = load_gguf_checkpoint(file, return_tensors=True, model_to_load=theirs)["tensors"]
    missing = theirs.load_state_dict(tensors, strict=False)
    assert set(missing.missing_keys) <= {"lm_head.weight"}
    assert not missing.unexpected_keys
    with torch.no_grad():
        ours = load(folder).model(tokens).logits
        assert torch.allclose(theirs(tokens).logits, ours, atol=2e-4 * float(ours.abs().max()))


def test_metadata_is_that_of_the_config(family: Callable[..., Path], tmp_path: Path) -> None:
    Gguf.of(family("mistral")).write(tmp_path / "model.gguf", "tiny")
    fields = {f.name: f.contents() for f in gguf.GGUFReader(tmp_path / "model.gguf").fields.values()}
    expected = {
        "general.architecture": "llama", "general.name": "tiny", "general.type": "model", "general.file_type": 32,
        "general.quantization_version": 2, "llama.context_length": 32, "llama.embedding_length": 64,
        "llama.block_count": 2, "llama.feed_forward_length": 96, "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2, "llama.attention.key_length": 16, "llama.attention.value_length": 16,
        "llama.vocab_size": 96, "llama.rope.dimension_count": 16, "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "none",
    }  # fmt: skip
    assert {name: fields[name] for name in expected} == expected
    assert fields["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)
    notes = Gguf.of(family("mistral")).architecture.notes
    assert notes == ("context cut from 64 to the attention window of 32, beyond which llama.cpp differs",)


def config(**changes: Any) -> Config:
    return Config({"model_type": "llama", **SIZES, **changes})


def test_frequencies_of_llama_3_are_those_of_transformers() -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    theirs, _ = ROPE_INIT_FUNCTIONS["llama3"](LlamaConfig(head_dim=128, rope_parameters=rope), "cpu")
    ours = Architecture.of(config(head_dim=128, rope_parameters=rope))
    plain = 500000.0 ** -(np.arange(0, 128, 2) / 128)
    assert np.allclose(plain / np.array(ours.rope_factors), theirs.numpy(), rtol=1e-5)
    assert len(set(ours.rope_factors)) > 3
    assert ours.extra_tensors()["rope_freqs.weight"].shape == (64,)


def test_stretched_contexts_are_told() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    fields = Architecture.of(config(rope_scaling=yarn, rope_theta=1e6)).fields
    assert fields["rope.scaling.type"] == "yarn"
    assert fields["rope.scaling.factor"] == 4.0
    assert fields["rope.scaling.original_context_length"] == 64
    assert fields["rope.freq_base"] == 1e6


@pytest.mark.parametrize(("changes", "said"), [
    ({"model_type": "mixtral"}, "'mixtral' is not written as GGUF"),
    ({"hidden_act": "gelu"}, "'gelu' is not what llama.cpp computes"),
    ({"partial_rotary_factor": 0.5}, "0.5 of a head is rotated"),
    ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope type 'dynamic'"),
    ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}}, "rope type 'yarn' with factor, mscale"),
    ({"rope_scaling": {"rope_type": "linear"}}, "incomplete: 'factor'"),
], ids=str)  # fmt: skip
def test_what_llama_cpp_would_compute_otherwise_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DovetailError, match=said):
        Architecture.of(config(**changes))


@pytest.mark.parametrize(("kind", "added", "lost"), [
    ("qwen2", {}, "model.layers.0.self_attn.k_norm.weight"), ("qwen3", {"model.bogus.weight": 3}, "model.bogus.weight"),
])  # fmt: skip
def test_a_tensor_without_a_place_is_refused(
    family: Callable[..., Path], tmp_path: Path, kind: str, added: dict[str, int], lost: str
) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(family("qwen3"), tmp_path / "m")
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, "model_type": kind}))
    tensors = load_file(folder / "model.safetensors") | {name: torch.ones(size) for name, size in added.items()}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DovetailError) as error:
        Gguf.of(folder)
    assert f"no place for '{lost}' in GGUF" in str(error.value)


def test_weights_beyond_halves_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from dovetail.recipe.recipe import Recipe

    folder = save("llama", tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"] *= 1e8
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    packed = Recipe.load(RECIPES["int4"]).apply(folder, tmp_path / "p").path
    with pytest.raises(DovetailError, match=r"model\.layers\.1\.mlp\.up_proj\.weight: weights are too large for GGUF"):
        Gguf.of(packed).write(tmp_path / "m.gguf", "tiny")


def test_a_small_disk_is_refused_before_anything_is_written(
    family: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Gguf.of(family("llama"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, made.bytes))
    with pytest.raises(DovetailError, match="the disk is too small"):
        made.write(tmp_path / "m.gguf", "tiny")
    assert list(tmp_path.iterdir()) == []


def test_other_forms_of_quantised_weights_are_refused(family: Callable[..., Path], tmp_path: Path) -> None:
    folder = shutil.copytree(family("llama"), tmp_path / "m")
    about = json.loads((folder / "config.json").read_text())
    form = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (folder / "config.json").write_text(json.dumps({**about, "quantization_config": form}))
    with pytest.raises(DovetailError, match="weights are quantised in another form"):
        Gguf.of(folder)
