"""The zoo's typed facts against two public collections of configs, field by field where both speak of a model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.find import zoo


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
        if name not in zoo():
            continue
        model = Model.load(name)
        arch, spec = model.architecture, model.architecture.layers[0]
        attention, block = spec.attention, spec.feed_forward
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
        super().__init__(fields)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


@pytest.mark.parametrize("name", sorted(zoo()))
def test_every_field_typed_is_read(name: str) -> None:
    """A misspelt optional field would silently give way to its default."""
    fields = Watched(Model.load(name).config)
    Model.load(fields)
    assert set(fields) <= fields.asked
