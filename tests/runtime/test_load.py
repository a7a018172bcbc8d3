"""Loading: what transformers loads, quietly; what it cannot, in one sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.runtime import load as loading
from dovetail.runtime.load import Loaded, load


def edited(folder: Path, out: Path, **changes: object) -> Path:
    shutil.copytree(folder, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, **changes}))
    return out


def test_a_folder_loads_in_the_dtype_asked(tiny_folder: Path) -> None:
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}.items():
        found = load(tiny_folder, name)
        assert {p.dtype for p in found.model.parameters()} == {dtype}
        assert not found.model.training
    assert found.max_context == 64
    assert found.tokenizer is None


def test_a_tokenizer_comes_along(trained: Loaded) -> None:
    assert (
        trained.tokenizer.decode(trained.tokenizer("Once upon").input_ids, skip_special_tokens=True).strip()
        == "Once upon"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"model_type": "no-such-model"}, "cannot load"), ({"hidden_size": 60}, "cannot load"), ({"auto_map": {}}, "")],
)
def test_an_unknown_model_is_one_sentence(
    tiny_folder: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    folder = edited(tiny_folder, tmp_path / "m", **changes)
    if not words:
        assert load(folder).vocabulary == 96
        return
    with pytest.raises(DovetailError, match=words) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_an_unknown_dtype_has_a_hint(tiny_folder: Path) -> None:
    with pytest.raises(DovetailError, match="did you mean 'fp32'"):
        load(tiny_folder, "f32")


def test_a_model_larger_than_memory_is_infeasible(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "available_memory", lambda: 1000)
    with pytest.raises(DovetailError, match="does not fit in memory") as caught:
        load(tiny_folder)
    assert caught.value.exit_code == 3


def test_loading_is_quiet(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(tiny_folder)
    assert capfd.readouterr() == ("", "")
