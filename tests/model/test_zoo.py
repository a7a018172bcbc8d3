"""The zoo's typed facts against public configs, transformers on the meta device and published totals."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.config import read_fields
from dovetail.model.families import FAMILIES
from dovetail.model.find import ALIASES, zoo
from tests.model.published import BESIDE, HUB, ROUNDED

# Families whose first layer is like every other
ALIKE = ("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe")
# Fields of hub configs that transformers 5 takes under another name or in another place
OLDER = {
    "rope_theta", "rope_scaling", "rope_local_base_freq", "sliding_window_pattern", "partial_rotary_factor",
    "full_attention_interval", "hybrid_override_pattern", "mtp_hybrid_override_pattern", "attention_head_dim",
    "head_dim", "global_head_dim", "num_global_key_value_heads", "num_hidden_layers", "num_nextn_predict_layers",
    "model_type", "torch_dtype", "dtype", "tie_word_embeddings", "quantization_config", "deepstack_visual_indexes",
    "vision_use_head", "default_output_length",
}  # fmt: skip


def load(name: str) -> Model:
    """The model, or a skip that names the family still missing."""
    kind = read_fields(zoo()[name])["model_type"]
    if kind not in FAMILIES:
        pytest.skip(f"family {kind} is not described yet")
    return Model.load(name)


def meta_parameters(config: Mapping[str, Any]) -> int:
    """``sum(p.numel())`` of the whole module, vision tower included, that `transformers` builds."""
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    if oracle_kind(config["model_type"]) not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers does not know {config['model_type']}")
    # quantised layers are built on load only; scales are not parameters here
    fields = {k: v for k, v in config.items() if k not in ("model_type", "quantization_config")}
    flat = config["model_type"] == "step3p7" and "text_config" not in config
    fields = {"text_config": fields} if flat else fields  # transformers would ignore them all where they lie
    built = transformers.AutoConfig.for_model(oracle_kind(config["model_type"]), **fields)
    kinds = [transformers.AutoModelForCausalLM, transformers.AutoModelForImageTextToText]
    auto = next(a for a in (reversed(kinds) if "vision_config" in config else kinds) if type(built) in a._model_mapping)
    with torch.device("meta"):
        module = auto.from_config(built)
    parts = (module.model.language_model, module.lm_head) if flat else (module,)
    return sum(p.numel() for part in parts for p in part.parameters())


def oracle_kind(kind: str) -> str:
    """The type that transformers knows a model by which has another: Kimi K2 is DeepSeek V3, MiMo Qwen2."""
    others = {
        "kimi_k2": "deepseek_v3", "deepseek_ref": "deepseek_v4", "mimo": "qwen2", "minimax_m3": "minimax_m3_vl_text",
    }  # fmt: skip
    return others.get(kind, kind)


def test_shapes_equal_the_public_configs(data_folder: Path) -> None:
    compared = 0
    for file in sorted((data_folder / "configs" / "aiconfigurator_hf").glob("*_config.json")):
        name = file.name.removesuffix("_config.json").replace("--", "/", 1)
        try:
            ours = Model.load(name)
        except DovetailError:
            continue
        theirs = Model.load(file)
        a, b = ours.architecture, theirs.architecture
        for part in ("family", "hidden", "vocab", "layers", "max_context", "tied", "dtype", "rope_theta"):
            assert getattr(a, part) == getattr(b, part), (name, part)
        compared += 1
    assert compared >= 9


def test_shapes_equal_litgpt(data_folder: Path) -> None:
    shapes = json.loads((data_folder / "configs" / "litgpt" / "configs.json").read_text())
    compared = set()
    for shape in shapes.values():
        name = f"{shape['hf_config']['org']}/{shape['hf_config']['name']}"
        if name not in zoo() or read_fields(zoo()[name])["model_type"] not in ALIKE:
            continue
        model = Model.load(name)
        arch, spec = model.architecture, model.architecture.layers[0]
        attention, block = spec.mixer, spec.feed_forward
        assert (model.layers, arch.hidden) == (shape["n_layer"], shape["n_embd"]), name
        assert (attention.heads, attention.kv_heads, attention.head_dim) == (
            shape["n_head"], shape["n_query_groups"], shape["head_size"],
        ), name  # fmt: skip
        assert attention.qk_norm == shape["norm_qk"], name
        assert attention.qkv_bias == (shape["attn_bias"] or name.startswith("Qwen/Qwen2.5")), name
        assert block.intermediate == (shape["moe_intermediate_size"] or shape["intermediate_size"]), name
        assert (block.experts, block.top_k) == (shape["n_expert"] or 1, shape["n_expert_per_token"] or 1), name
        assert arch.rope_theta == shape["rope_base"], name
        compared.add(name)
    assert len(compared) >= 18


class Watched(dict[str, Any]):
    """A config that remembers which fields were asked for."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__({k: Watched(v) if isinstance(v, dict) else v for k, v in fields.items()})
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


def unread(fields: Watched, oracle: Any) -> set[str]:
    """Fields that neither our family asks for nor transformers' config declares."""
    left = set(fields) - fields.asked - OLDER
    for part in ("text_config", "vision_config"):
        if part in fields:
            left |= {f"{part}.{key}" for key in unread(fields[part], sub_config(oracle, part, fields[part]))}
    if "text_config" not in fields and "text_config" in oracle.sub_configs:  # Qwen2-VL's are beside vision_config
        left -= {f.name for f in dataclasses.fields(oracle.sub_configs["text_config"])}
    return left - {f.name for f in dataclasses.fields(oracle)} - set(oracle.attribute_map)


def sub_config(oracle: Any, part: str, fields: Mapping[str, Any]) -> Any:
    transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    kind = oracle.sub_configs[part]
    return (
        kind
        if hasattr(kind, "__dataclass_fields__")
        else transformers.CONFIG_MAPPING[oracle_kind(fields["model_type"])]
    )


@pytest.mark.parametrize("name", sorted(zoo()))
def test_every_field_typed_is_read(name: str) -> None:
    """A misspelt optional field would silently give way to its default."""
    transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    fields = Watched(load(name).config)
    Model.load(fields)
    if oracle_kind(fields["model_type"]) not in transformers.CONFIG_MAPPING:
        assert set(fields) - fields.asked - OLDER == set()
        return
    assert unread(fields, transformers.CONFIG_MAPPING[oracle_kind(fields["model_type"])]) == set()


@pytest.mark.parametrize("name", sorted(zoo()))
def test_model_holds_what_its_module_holds(name: str) -> None:
    model = load(name)
    assert model.parameters == meta_parameters(model.config)


@pytest.mark.parametrize(("name", "total"), HUB.items())
def test_hub_total(name: str, total: int) -> None:
    beside, _ = BESIDE.get(name, (0, ""))
    assert load(name).parameters == total - beside


@pytest.mark.parametrize(("name", "billions"), [(name, text) for name, (text, _) in ROUNDED.items()])
def test_rounded_total(name: str, billions: str) -> None:
    digits = len(billions.partition(".")[2])
    assert f"{load(name).parameters / 1e9:.{digits}f}" == billions


def test_the_zoo_is_large_and_its_totals_known() -> None:
    assert len(zoo()) >= 95
    assert len(HUB.keys() | ROUNDED.keys()) >= 60
    assert set(BESIDE) <= set(HUB)
    assert {*HUB, *ROUNDED} <= set(zoo())


def test_aliases_lead_to_models_and_hide_none() -> None:
    aliases = read_fields(ALIASES)
    assert set(aliases.values()) <= set(zoo())
    assert not {alias.lower() for alias in aliases} & {name.lower() for name in zoo()}
