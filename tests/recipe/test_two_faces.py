"""What a method says it does to the graph is what it does to the checkpoint: every registered method, by existing.

The packed weights are decoded here bit by bit with NumPy, apart from the package's own packing and unpacking.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Linear
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.method import METHODS, OnLayers, OnModel
from dovetail.recipe.methods.fp8 import FP8
from dovetail.recipe.methods.head import Head
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint, payload
from dovetail.runtime.load import load
from dovetail.runtime.tensorfile import read_header

_COLUMNS = {
    "stories260K": (64, 172),
    "llama": (128, 256),
    "qwen2": (128, 256),
    "mixtral": (128, 256),
    "embedded": (128,),
}
BATCH, TOKENS = 2, 6
WEIGHT_METHODS = [
    name for name in METHODS if not hasattr(METHODS[name], "guesses") and not hasattr(METHODS[name], "caches")
]  # others: test_guessing.py, test_caching.py


def every_case() -> Iterator[Any]:
    """Every example of every method on two models, and a composition of each pair that is allowed on one."""
    for model in _COLUMNS:
        examples = [example for name in WEIGHT_METHODS for example in METHODS[name].examples(_COLUMNS[model])]
        few = examples if model in ("stories260K", "llama") else examples[:: max(1, len(examples) // 3)]
        for example in few:
            if model == "mixtral" and isinstance(example, OnLayers | OnModel):
                continue  # refused by name: transformers holds all experts of a layer in one tensor
            if model == "mixtral" and example.takes == "any":
                continue  # transformers 5.17 leaves experts that are dense unloaded where anything is quantised
            before = (METHODS["rtn"](8, 0),) if getattr(example, "takes", "") == "packed" else ()
            yield pytest.param(model, (*before, example), id=f"{model}-{example}")
    firsts = [METHODS[name].examples(_COLUMNS["llama"])[0] for name in WEIGHT_METHODS]
    for first, second in product(firsts, firsts):
        if can_follow(first, second) and not first == second == METHODS["head"]():
            yield pytest.param("llama", (first, second), id=f"llama-{first}-then-{second}")


def can_follow(first: Any, second: Any) -> bool:
    """Whether a recipe may have the two in this order, and the second finds something to do."""
    try:
        Recipe.load([first, second]).rewrite(Model.load("embedded").graph())
    except DovetailError:
        return False
    return True


CASES = list(every_case())


class Done:
    """A recipe applied to a model: both faces, side by side."""

    def __init__(self, source: Path, methods: tuple[Any, ...], out: Path) -> None:
        self.source, self.recipe = source, Recipe.load(list(methods))
        self.applied = self.recipe.apply(source, out, calibration=Calibration(samples=4, tokens=32))
        self.tensors = load_file(out / "model.safetensors")
        self.before = load_file(source / "model.safetensors")
        self.graph = self.graph_of(source, 1)

    def original(self, name: str) -> torch.Tensor:
        """The tensor as it was; a head that was tied was the embedding."""
        return self.before[name if name in self.before else "model.embed_tokens.weight"]

    def graph_of(self, folder: Path, tokens: int) -> Graph:
        model = Model.load(json.loads((folder / "config.json").read_text()))
        return self.recipe.rewrite(model.graph(batch=BATCH, tokens=tokens, context=0, logit_tokens=tokens))


@pytest.fixture(scope="module")
def done(model_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    @cache
    def apply(model: str, methods: tuple[Any, ...]) -> Done:
        return Done(model_folder(model), methods, tmp_path_factory.mktemp("recipe") / "out")

    return apply


def decoded(words: torch.Tensor, scale: torch.Tensor, zeros: torch.Tensor | None, cols: int, bits: int) -> np.ndarray:
    """Floats of a packed matrix, from the words' bits in order: little-endian integers offset by half their range."""
    stream = np.unpackbits(words.numpy().view(np.uint8), axis=1, bitorder="little")[:, : cols * bits]
    codes = stream.reshape(len(words), cols, bits) @ (1 << np.arange(bits))
    per_group = np.repeat(scale.double().numpy(), cols // scale.shape[1], axis=1)
    offsets = np.repeat(zeros_of(zeros, scale, bits), cols // scale.shape[1], axis=1)
    return np.asarray((codes - offsets) * per_group)


def zeros_of(words: torch.Tensor | None, scale: torch.Tensor, bits: int) -> np.ndarray:
    """Codes of the zero points (rows, groups), packed along the rows; the middle where there are none."""
    if words is None:
        return np.full(tuple(scale.shape), 2 ** (bits - 1))
    rows = len(scale)
    stream = np.unpackbits(words.T.contiguous().numpy().view(np.uint8), axis=1, bitorder="little")[:, : rows * bits]
    return np.asarray((stream.reshape(-1, rows, bits) @ (1 << np.arange(bits))).T)


def of_four_bits(tensors: dict[str, torch.Tensor], name: str) -> np.ndarray:
    """Floats of e2m1 with the fields of their codes read one by one: sign, two bits of exponent, one of mantissa."""
    bits = np.unpackbits(tensors[f"{name}_packed"].numpy(), axis=1, bitorder="little").reshape(-1, 4)
    mantissa, exponent, sign = bits[:, 0], bits[:, 1] + 2 * bits[:, 2].astype(int), bits[:, 3]
    value = np.where(exponent == 0, mantissa / 2, (1 + mantissa / 2) * 2.0 ** (exponent - 1)) * (1 - 2.0 * sign)
    scale = tensors[f"{name}_scale"]
    if f"{name}_global_scale" in tensors:
        step = scale.double().numpy() / tensors[f"{name}_global_scale"].double().numpy()
    else:
        step = 2.0 ** (scale.double().numpy() - 127)
    return np.asarray((value.reshape(*scale.shape, -1) * step[..., None]).reshape(len(scale), -1))


def stem(name: str) -> str:
    """The matrix that a stored tensor belongs to."""
    return next(
        (
            name.removesuffix(p)
            for p in ("_packed", "_global_scale", "_scale", "_zero_point", "_shape")
            if name.endswith(p)
        ),
        name,
    )


def dense_weights(made: Done) -> dict[str, np.ndarray]:
    """All matrices of the changed checkpoint as float64."""
    packed = {n.removesuffix("_packed") for n in made.tensors if n.endswith("_packed")}
    scaled = {n.removesuffix("_scale") for n in made.tensors if n.endswith("weight_scale")} - packed
    formats = {w.name.format(layer=i, expert=e): w.format for w, layers in made.graph.weights()
               for i in layers or (0,) for e in range(w.experts)}  # fmt: skip
    plain = (n for n in made.tensors if stem(n) not in packed | scaled and not n.endswith(".input_global_scale"))
    floats = {n: made.tensors[n].double().numpy() for n in plain}
    for name in scaled:
        scale = made.tensors[f"{name}_scale"].double().numpy()
        matrix = made.tensors[name].double().numpy()
        blocks = scale.shape[1] > 1 or (len(scale) < len(matrix))
        each = np.kron(scale, np.ones((128, 128)))[: len(matrix), : matrix.shape[1]] if blocks else scale
        floats[name] = matrix * each
    for name in packed:
        if f"{name}_shape" not in made.tensors:
            floats[name] = of_four_bits(made.tensors, name)
            continue
        cols = int(made.tensors[f"{name}_shape"][1])
        words, scale, zeros = (made.tensors.get(name + part) for part in ("_packed", "_scale", "_zero_point"))
        assert words is not None
        assert scale is not None
        floats[name] = decoded(words, scale, zeros, cols, formats[name].bits)
    return floats


@pytest.mark.parametrize(("model", "methods"), CASES)
def test_stored_payload_bytes_are_as_predicted(done: Callable[..., Done], model: str, methods: tuple[Any, ...]) -> None:
    made = done(model, methods)
    stored = sum(t.numel() * t.element_size() for n, t in made.tensors.items() if not n.endswith("weight_shape"))
    assert made.graph.weight_bytes() == stored == made.applied.bytes_after
    assert payload(read_header(made.applied.path / "model.safetensors")) == stored
    assert made.applied.bytes_before == sum(t.numel() * t.element_size() for t in made.before.values())


@pytest.mark.parametrize(("model", "methods"), CASES)
def test_kept_fractions_are_as_predicted(done: Callable[..., Done], model: str, methods: tuple[Any, ...]) -> None:
    """Exactly the promised zeros (to the nearest element a row); rounding may add more, and only rounding."""
    made = done(model, methods)
    dense = dense_weights(made)
    for weight, layers in made.graph.weights():
        for layer, expert in product(layers or (0,), range(weight.experts)):
            name = weight.name.format(layer=layer, expert=expert)
            matrix = np.atleast_2d(dense[name])
            zeros, promised = np.count_nonzero(matrix == 0), (1 - weight.format.density) * matrix.size
            original = np.count_nonzero(made.original(name).double().numpy() == 0)
            assert zeros >= promised - 0.5 * len(matrix)
            if not weight.format.quantised:
                assert zeros <= max(promised + 0.5 * len(matrix), original)


@pytest.mark.parametrize(("model", "methods"), CASES)
def test_transformers_loads_it_with_the_logits_of_its_weights(
    done: Callable[..., Done], model: str, methods: tuple[Any, ...]
) -> None:
    """Logits within 1e-4 of the largest (fp32 sums in another order) of the module holding the decoded weights."""
    made = done(model, methods)
    ids = torch.randint(90, (BATCH, TOKENS), generator=torch.Generator().manual_seed(0))
    dense = dense_weights(made)
    expected = logits_of(dense, made, ids)
    # the library unpacks NVFP4 to bf16, which has fewer digits than the product of scale and number
    theirs_expected = logits_of(dense, made, ids, torch.bfloat16) if in_four_bits(made.tensors) else expected
    tolerance = 1e-4 * float(expected.abs().max())
    with torch.inference_mode():
        ours = load(made.applied.path).model(ids).logits
        torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)
        if model == "mixtral" and isinstance(methods[0], FP8 | Head):
            return  # transformers rounds fp8 experts to bf16, and does not load dense ones beside a packed head
        theirs = reload(made.applied.path)(ids).logits
    torch.testing.assert_close(theirs, theirs_expected, rtol=0, atol=tolerance)


def logits_of(
    dense: dict[str, np.ndarray], made: Done, ids: torch.Tensor, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Logits, in fp32, of the source's module holding these weights as `dtype` keeps them."""
    source = load(made.source).model
    source.config.tie_word_embeddings = "lm_head.weight" not in made.tensors
    floats = {n: torch.from_numpy(t).float().to(dtype).float() for n, t in dense.items()}
    module = source.__class__.from_pretrained(None, config=source.config, state_dict=floats).eval()
    round_inputs(module, made)
    with torch.inference_mode():
        found: torch.Tensor = module(ids).logits
    return found


def in_four_bits(tensors: dict[str, torch.Tensor]) -> bool:
    """Whether matrices are stored as 4-bit floats."""
    return any(name.endswith("weight_packed") and tensor.dtype == torch.uint8 for name, tensor in tensors.items())


def round_inputs(module: torch.nn.Module, made: Done) -> None:
    """Linear layers with scales in the file round their inputs: integers here, floats by compressed-tensors.

    In fp32, as everybody does: the largest input of a token lies half a step beyond the last level, at a tie.
    """
    config = json.loads((made.applied.path / "config.json").read_text()).get("quantization_config", {})
    groups = config.get("config_groups", {}).values()

    def rounded(x: torch.Tensor, how: QuantizationArgs, whole: torch.Tensor | None) -> torch.Tensor:
        if how.type == "float":
            scale, zero = compute_dynamic_scales_and_zp(x, how, torch.nn.Module(), whole)
            return fake_quantize(x, scale, zero, how, whole)  # type: ignore[no-any-return]
        half = 2 ** (how.num_bits - 1)
        step = x.abs().amax(-1, keepdim=True) / (half - 0.5)
        return torch.round(x / step).clamp(-half, half - 1) * step

    for name, linear in module.named_modules():
        if f"{name}.weight_scale" in made.tensors:
            given = next(group["input_activations"] for group in groups if names(group, name))
            if given is not None:
                how, whole = QuantizationArgs(**given), made.tensors.get(f"{name}.input_global_scale")
                linear.register_forward_pre_hook(lambda _, x, how=how, whole=whole: rounded(x[0], how, whole))


def names(group: dict[str, Any], module: str) -> bool:
    """Whether a group of the config is for this module, the first that is being the one."""
    patterns = (
        target.removeprefix("re:") if target.startswith("re:") else re.escape(target) for target in group["targets"]
    )
    return "Linear" in group["targets"] or any(re.match(pattern + "$", module) for pattern in patterns)


def reload(folder: Path) -> Any:
    """What a user of transformers does with the folder; compressed-tensors unpacks 4-bit floats to bf16 alone."""
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig

    if not in_four_bits(load_file(folder / "model.safetensors")):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    how = CompressedTensorsConfig(dequantize=True)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, quantization_config=how).eval().float()


def products(graph: Graph) -> float:
    """FLOPs of matrix products and attention: what torch's counter sees."""
    return float(sum(o.dense_flops * o.repeat for o in graph.operators if isinstance(o, Linear | Attention)))


@pytest.mark.parametrize(("model", "methods"), [c for c in CASES if "mixtral" not in str(c.id)])
def test_executed_flops_are_as_predicted(done: Callable[..., Done], model: str, methods: tuple[Any, ...]) -> None:
    """Torch's counter on the executed model with eager attention; rotary angles, made by a product, aside."""
    made = done(model, methods)
    loaded = load(made.applied.path, attention="eager")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        loaded.model(torch.ones(BATCH, TOKENS, dtype=torch.int64))
    counts = counter.get_flop_counts()
    angles = sum(sum(ops.values()) for module, ops in counts.items() if module.endswith("rotary_emb"))
    assert products(made.graph_of(made.source, TOKENS)) == counter.get_total_flops() - angles


def test_every_method_names_examples_that_fit(model_folder: Callable[[str], Path]) -> None:
    assert {"rtn", "gptq", "magnitude", "rotation", "fp8", "mxfp4", "nvfp4", "nvfp4a16"} <= set(METHODS)
    for name in METHODS:
        examples = METHODS[name].examples((128, 256))
        if name == "draft":  # a draft for one model is none for another
            continue
        assert len(set(examples)) == len(examples) > 0
        assert all(type(example) is METHODS[name] for example in examples)
    assert Checkpoint.open(model_folder("llama")).payload_bytes > 0
