"""Every family against the module that transformers builds from the same config: names, shapes, FLOPs, cache bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.model import Model
from tests.model.oracle import contraction_flops, counted_flops, expected_tensors, saved_parameters


def test_tensors_are_those_on_disk(tiny: Model, tiny_module: Any, tmp_path: Path) -> None:
    assert expected_tensors(tiny) == saved_parameters(tiny_module, tmp_path)


def test_parameters_are_the_modules(tiny: Model, tiny_module: Any) -> None:
    assert tiny.parameters == sum(p.numel() for p in tiny_module.parameters())


def test_saved_folder_loads_as_the_same_architecture(tiny: Model, tiny_module: Any, tmp_path: Path) -> None:
    tiny_module.save_pretrained(tmp_path)
    again = Model.load(tmp_path)
    assert again.folder == tmp_path.resolve()
    assert again.architecture.layers == tiny.architecture.layers
    assert again.parameters == tiny.parameters


@pytest.mark.parametrize("batch", [1, 3])
def test_flops_of_prefill_then_decode(tiny: Model, tiny_module: Any, batch: int) -> None:
    import torch

    prompt = torch.randint(3, 48, (batch, 7))
    counted, output = counted_flops(tiny_module, input_ids=prompt)
    assert contraction_flops(tiny.graph(batch, 7, 0, logit_tokens=7)) == counted
    for context in (7, 8):
        counted, output = counted_flops(tiny_module, input_ids=prompt[:, :1], past_key_values=output.past_key_values)
        assert contraction_flops(tiny.graph(batch, 1, context)) == counted


def test_flops_of_a_chunk_with_last_logits_only(tiny: Model, tiny_module: Any) -> None:
    import torch

    prompt = torch.randint(3, 48, (2, 9))
    _, output = counted_flops(tiny_module, input_ids=prompt)
    past = output.past_key_values
    counted, _ = counted_flops(tiny_module, input_ids=prompt[:, :4], past_key_values=past, logits_to_keep=1)
    assert contraction_flops(tiny.graph(2, 4, 9, logit_tokens=1)) == counted


def test_cache_bytes_are_those_of_a_real_cache(tiny: Model, tiny_module: Any) -> None:
    import torch

    batch, tokens = 2, 9
    cache = tiny_module(torch.randint(3, 48, (batch, tokens)), use_cache=True).past_key_values
    graph = tiny.graph(batch, tokens, 0, kv_dtype="fp32")
    for kind in graph.caches:
        for layer in kind.layers:
            held = cache.layers[layer].keys.nbytes + cache.layers[layer].values.nbytes
            per_token = 4 * batch * kind.elements_per_token / len(kind.layers)
            # transformers drops the oldest token of a full window before the step, not after it
            length = kind.length if kind.window is None else min(tokens, kind.window - 1)
            assert held == per_token * length
    assert tiny.kv_bytes_per_token == sum(2 * c.elements_per_token for c in graph.caches)
    if all(kind.window is None for kind in graph.caches):
        held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
        assert held == 2 * tiny.kv_bytes_per_token * batch * tokens  # the module's cache is fp32


def test_a_window_bounds_the_cache() -> None:
    model = Model.load("mistralai/Mistral-7B-v0.1")
    lengths = model.graph(1, 1, np.array([10, 4094, 4095, 9000])).caches[0].length
    assert lengths.tolist() == [11, 4095, 4096, 4096]
