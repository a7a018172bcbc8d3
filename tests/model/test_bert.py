"""BERT against the module transformers builds: an encoder, its head that fills in masked words, no cache."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.operators import Attention
from tests.model.oracle import contraction_flops, counted_flops, inferring
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_parameters_are_the_modules,
    test_saved_folder_loads_as_the_same_architecture,
    test_tensors_are_those_on_disk,
)

_BERT = {
    "model_type": "bert", "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip
TINY: Mapping[str, dict[str, Any]] = {
    "bert": _BERT,
    "bert-segments": {**_BERT, "type_vocab_size": 5, "hidden_act": "relu"},
    "bert-decoder": {**_BERT, "is_decoder": True},
}


@pytest.fixture(params=list(TINY), scope="module")
def tiny_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**TINY[request.param], "dtype": "float32"}


@pytest.fixture(scope="module")
def tiny(tiny_config: dict[str, Any]) -> Model:
    return Model.load(tiny_config)


@pytest.fixture(scope="module")
def tiny_module(tiny_config: dict[str, Any]) -> Any:
    return inferring(tiny_config)


@pytest.mark.parametrize("batch", [1, 3])
def test_flops_with_all_logits_and_with_one(tiny: Model, tiny_module: Any, batch: int) -> None:
    """The transform and the head run over the rows that get logits, the layers over all."""
    import torch

    text = torch.randint(3, 48, (batch, 9))
    counted, _ = counted_flops(tiny_module, input_ids=text)
    assert contraction_flops(tiny.graph(batch, 9, logit_tokens=9)) == counted
    fewer, _ = counted_flops(tiny_module, input_ids=text, logits_to_keep=1)
    assert contraction_flops(tiny.graph(batch, 9, logit_tokens=1)) == fewer < counted


def test_only_a_decoder_keeps_a_cache(tiny: Model, tiny_module: Any) -> None:
    import torch

    cache = tiny_module(torch.randint(3, 48, (2, 9)), use_cache=True).past_key_values
    held = 0 if cache is None else sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    graph = tiny.graph(2, 9, kv_dtype="fp32")
    assert sum(4 * 2 * c.length * c.elements_per_token for c in graph.caches) == held
    assert (held == 0) == (not tiny.config.get("is_decoder"))


def test_every_token_sees_every_other() -> None:
    graph = Model.load("google-bert/bert-base-uncased").graph(1, np.array([1, 64, 512]))
    attention = next(o for o in graph.operators if isinstance(o, Attention))
    assert np.all(attention.executed_flops == 4 * 768 * np.array([1, 64, 512]) ** 2)


@pytest.mark.parametrize(("size", "parameters"), [("base", 109_514_298), ("large", 335_174_458)])
def test_published_sizes(size: str, parameters: int) -> None:
    """What the hub's masked-word checkpoints hold without pooler and next-sentence head."""
    model = Model.load(f"google-bert/bert-{size}-uncased")
    assert model.parameters == parameters
    assert model.kv_bytes_per_token == 0


@pytest.mark.parametrize("fields", [{"add_cross_attention": True}, {"tie_word_embeddings": False}])
def test_what_is_not_described_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(DovetailError, match=next(iter(fields))):
        Model.load({**_BERT, **fields})
