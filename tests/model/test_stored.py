"""A compressed folder is described as it is stored: its graph has the bytes of its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dovetail.model import Model
from dovetail.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint


@pytest.mark.parametrize("recipe", ["w8a16", "w4a16-rtn", "w3a16-rtn:group=64", "w2a16-rtn:group=0", "prune50"])
def test_the_graph_of_a_compressed_folder_has_the_bytes_of_its_file(recipe: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="compressing needs the torch extra")
    base = Model.load("embedded")
    if base.folder is None:
        pytest.skip("the embedded model's weights are not here")
    applied = Recipe.load(recipe).apply(base.folder, tmp_path / "applied")
    model = Model.load(str(applied.path))
    assert model.graph().weight_bytes() == Checkpoint.open(applied.path).payload_bytes == applied.bytes_after
    assert model.parameters == base.parameters


def test_an_unknown_format_keeps_the_dtype_of_the_config() -> None:
    config = dict(Model.load("embedded").config)
    plain = Model.load(config).graph().weight_bytes()
    for unknown in ({"quant_method": "fp8"}, {"format": "pack-quantized", "config_groups": {}}, "int4"):
        assert Model.load({**config, "quantization_config": unknown}).graph().weight_bytes() == plain
