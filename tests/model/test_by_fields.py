"""An unknown type is read as a Llama only where transformers agrees tensor by tensor; the rest is refused by name."""

from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.config import Config
from dovetail.model.families import FAMILIES
from dovetail.model.families.by_fields import LOOK_ALIKES, unlike
from tests.model.oracle import expected_tensors

LLAMA: dict[str, Any] = {
    "model_type": "another-llama", "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "vocab_size": 48,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "hidden_act": "silu",
    "max_position_embeddings": 64,
}  # fmt: skip
TINY = {**{k: v for k, v in LLAMA.items() if k not in ("model_type", "hidden_act")}, "head_dim": 8}


def tiny_config(kind: str) -> Any:
    """The type's own default config with narrow layers; None for types that need other fields."""
    import transformers

    try:
        return transformers.AutoConfig.for_model(kind, **TINY)
    except Exception:  # no candidate, whatever its config complains of
        return None


def test_every_type_that_is_accepted_has_a_llamas_tensors() -> None:
    auto = pytest.importorskip("transformers.models.auto.modeling_auto", reason="the oracle needs the torch extra")
    import torch
    import transformers

    accepted = 0
    for kind in sorted(set(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(FAMILIES)):
        config = tiny_config(kind)
        fields = {} if config is None else {k: v for k, v in config.to_dict().items() if k != "layer_types"}
        if unlike(Config({**fields, "model_type": kind})):
            continue
        with torch.device("meta"):
            module = transformers.AutoModelForCausalLM.from_config(config)
        model = Model.load({**fields, "model_type": kind})
        assert model.architecture.matched_by
        assert expected_tensors(model) == {name: list(p.shape) for name, p in module.named_parameters()}, kind
        accepted += 1
    assert accepted >= 2


def test_it_says_how_it_was_matched() -> None:
    model = Model.load(LLAMA)
    assert "another-llama" in model.architecture.matched_by
    assert model.parameters == Model.load({**LLAMA, "model_type": "llama"}).parameters


@pytest.mark.parametrize("kind", sorted(LOOK_ALIKES))
def test_look_alikes_are_refused_by_name(kind: str) -> None:
    if kind in FAMILIES:
        pytest.skip(f"{kind} has its own family")
    with pytest.raises(DovetailError, match=f"unknown architecture '{kind}'.*other layers"):
        Model.load({**LLAMA, "model_type": kind})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_experts": 8}, "num_experts may change"), ({"rms_norm_eps": None}, "it lacks rms_norm_eps"),
        ({"head_dim": {}}, "head_dim"),
        ({"head_dim": 16}, "heads of 16 channels are not"), ({"hidden_act": "gelu"}, "activation is gelu"),
        ({"attention_bias": True}, "attention_bias may change"),
        ({"sliding_window": 128, "qk_norm": True}, "qk_norm, sliding_window may"),
    ],
)  # fmt: skip
def test_a_field_that_may_change_the_layers_is_named(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(DovetailError, match=reason):
        Model.load({**LLAMA, **change})


def test_parts_that_nothing_defines_are_named() -> None:
    with pytest.raises(DovetailError, match=r"attn_res_block_size.*use_full_rank_gate"):
        Model.load({"model_type": "kimi_k3", "text_config": {"model_type": "kimi_linear", "attn_res_block_size": 12}})
    with pytest.raises(DovetailError, match="'some_text', its language model"):
        Model.load({"model_type": "some_vl", "text_config": {"model_type": "some_text"}})
