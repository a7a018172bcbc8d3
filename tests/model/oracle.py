"""What a graph says and what the `transformers` module of the same config says: names, shapes, FLOPs."""

from __future__ import annotations

import importlib
import json
import struct
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest

from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Linear, Weight


def contraction_flops(graph: Graph) -> float:
    """FLOPs of matrix products and full scores; a chunk counts as a window, for transformers lets its cache slide."""
    products = (
        replace(o, chunked=False) if isinstance(o, Attention) else o
        for o in graph.operators if isinstance(o, Linear | Attention)
    )  # fmt: skip
    return float(sum(o.dense_flops * o.repeat for o in products))


def counted_flops(module: Any, **inputs: Any) -> tuple[float, Any]:
    """What torch counts, less the outer product that makes rotary angles, and the output."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        output = module(use_cache=True, **inputs)
    counts = {name: sum(by_op.values()) for name, by_op in counter.get_flop_counts().items()}
    angles = sum(flops for name, flops in counts.items() if name.endswith("rotary_emb"))
    return float(counts["Global"] - angles), output


def saved_tensors(file: Path) -> dict[str, list[int]]:
    """Names and shapes in a safetensors file."""
    with file.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        header = json.loads(handle.read(length))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def saved_parameters(module: Any, folder: Path) -> dict[str, list[int]]:
    """Names and shapes of what a module saves, but for its buffers, which are not parameters."""
    module.save_pretrained(folder)
    buffers = {name.rpartition(".")[2] for name, _ in module.named_buffers()}
    saved = saved_tensors(folder / "model.safetensors")
    return {name: shape for name, shape in saved.items() if name.rpartition(".")[2] not in buffers}


def expected_tensors(model: Model) -> dict[str, list[int]]:
    """Names and shapes of the tensors that the graph says a checkpoint has."""
    shapes: dict[str, list[int]] = {}
    for weight, layers in model.graph().weights():
        shape = [weight.rows, weight.cols]
        if model.architecture.inputs_first and weight.linear and not weight.name.startswith("lm_head"):
            shape.reverse()
        if weight.experts > 1 and "{expert}" not in weight.name:
            shape = fused_shape(model, weight)
        for name in weight.tensors(layers):
            shapes[name] = shape[1:] if weight.rows == 1 and not weight.name.endswith("_gate.weight") else shape
    return shapes


def fused_shape(model: Model, weight: Weight) -> list[int]:
    """Shape of one tensor that holds all experts of a layer."""
    if weight.rows == 1:
        return [0, weight.experts, weight.cols]  # a bias: the first entry is dropped with that of every vector
    flipped = model.architecture.fused_inputs_first
    return [weight.experts, *((weight.cols, weight.rows) if flipped else (weight.rows, weight.cols))]


def kept(module: Any, tokens: int) -> int:
    """Bytes of every tensor in the cache after a prefill of two sequences."""
    import torch

    output = module(torch.randint(3, 48, (2, tokens)), use_cache=True)
    found = output.get("past_key_values") or output.get("cache_params")
    total = 0
    for layer in found.layers:
        parts = [getattr(layer, name, None) for name in ("keys", "values")]
        for name in ("conv_states", "recurrent_states"):
            parts += getattr(layer, name, {}).values() if isinstance(getattr(layer, name, None), dict) else []
        total += sum(part.nbytes for part in parts if isinstance(part, torch.Tensor))
    return total


def linear_flops(module: Any, tiny: Model, **inputs: Any) -> float:
    """Products of linear layers and experts (``mm``, ``addmm``) and of attention; scans are made of other products."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        module(use_cache=True, **inputs)
    total = 0.0
    for name, counts in counter.get_flop_counts().items():
        for operator, flops in counts.items():
            products = name == "Global" and str(operator) in ("aten.mm", "aten.addmm")
            total += flops if products else 0.0
            attention = name.endswith(("mixer", "self_attn")) and int(name.split(".")[-2]) in attention_layers(tiny)
            total += flops if attention and str(operator) == "aten.bmm" else 0.0
    return total


def attention_layers(tiny: Model) -> set[int]:
    return {i for i, layer in enumerate(tiny.architecture.layers) if hasattr(layer.mixer, "kv_heads")}


def module_of(fields: Mapping[str, Any]) -> Any:
    """The module that `transformers` builds of a config: random weights, eager attention, experts one by one."""
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    torch.manual_seed(0)
    how = {"attn_implementation": "eager"}
    if fields.keys() & {"num_experts_per_tok", "num_experts", "n_routed_experts"}:
        how["experts_implementation"] = "eager"
    config = transformers.AutoConfig.for_model(**fields)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=config.dtype, **how).eval()


def inferring(fields: Mapping[str, Any]) -> Any:
    """`module_of` a config without gradients: a mode of torch's around a fixture would outlive it out of order."""
    pytest.importorskip("torch", reason="the oracle needs the torch extra")
    return module_of(fields).requires_grad_(False)


def image_processing(family: str) -> ModuleType:
    """The module of a family's image processor, for its arithmetic of sizes.

    It imports torchvision, which resizes; where that is absent an empty module stands in, for nothing is resized here.
    """
    pytest.importorskip("torch", reason="the oracle needs the torch extra")
    pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    path = f"transformers.models.{family}.image_processing_{family}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        names = ("torchvision", "torchvision.transforms", "torchvision.transforms.v2")
        stand_ins = {name: ModuleType(name) for name in names}
        stand_ins["torchvision.transforms.v2"].functional = None  # type: ignore[attr-defined]
        with patch.dict(sys.modules, stand_ins):
            return importlib.import_module(path)
