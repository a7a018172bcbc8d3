"""Parameter counts of the public configs, against transformers on the meta device."""

import json
import os
from pathlib import Path

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.families import FAMILIES
from tests.model.test_zoo import meta_parameters, oracle_kind

_DATA = Path(os.environ.get("DOVETAIL_DATA") or Path(__file__).parents[3] / "shared" / "data")
CONFIGS = sorted((_DATA / "configs" / "aiconfigurator_hf").glob("*.json"))

# In billions, as their papers say: arXiv 2401.04088 §2, Mistral's announcement of 8x22B, arXiv 2505.09388 table 2.
ACTIVE = {
    "mistralai/Mixtral-8x7B-v0.1": 12.9,
    "mistralai/Mixtral-8x22B-v0.1": 39.2,
    "Qwen/Qwen3-30B-A3B": 3.4,
    "Qwen/Qwen3-235B-A22B": 22.2,
}


@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: f.stem.removesuffix("_config"))
def test_public_config_is_counted_or_named_as_unknown(file: Path) -> None:
    fields = json.loads(file.read_text())
    if fields["model_type"] in FAMILIES:
        transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
        if oracle_kind(fields["model_type"]) not in transformers.CONFIG_MAPPING:
            pytest.skip(f"transformers does not know {fields['model_type']}")
        assert Model.load(file).parameters == meta_parameters(fields)
        return
    with pytest.raises(DovetailError, match=fields["model_type"]) as caught:
        Model.load(file)
    assert str(file) in str(caught.value)
    assert "llama" in str(caught.value)


@pytest.mark.parametrize(("name", "billions"), ACTIVE.items())
def test_published_active_count(name: str, billions: float) -> None:
    model = Model.load(name)
    assert round(model.active_parameters / 1e9, 1) == billions
    assert model.active_parameters < model.parameters


def test_every_parameter_of_a_dense_model_is_active() -> None:
    model = Model.load("Qwen/Qwen3-8B")
    assert model.active_parameters == model.parameters


def test_stories_model_of_others(data_folder: Path) -> None:
    model = Model.load(data_folder / "models" / "stories260K" / "hf")
    assert model.parameters == meta_parameters(dict(model.config))
    assert (model.layers, model.max_context, model.kv_bytes_per_token) == (5, 512, 2 * 2 * 5 * 4 * 8)
