"""What is computed in a slower way is told once, and the text is the same."""

import json
from pathlib import Path

import pytest

from dovetail.app.cli import main
from dovetail.runtime.cache import attention, fallback
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.kernels import library
from dovetail.runtime.kernels.library import Missing
from dovetail.runtime.load import Loaded

from .conftest import decode
from .test_held import plan_of

needs_kernels = pytest.mark.skipif(isinstance(library.find(), Missing), reason="no C++ compiler")


@needs_kernels
@pytest.mark.parametrize(
    ("recipe", "says"),
    [("h2o:keep=24", 1), ("observed-attention:keep=24,recent=4", 1), ("snapkv:keep=40", 0), ("kv-int4", 0)],
)
def test_weights_that_fused_attention_does_not_give(grouped: Loaded, recipe: str, says: int) -> None:
    found = fallback.fallbacks(runner_of(grouped), plan_of(recipe))
    assert len(found) == says
    assert all("fused attention" in one for one in found)
    assert fallback.fallbacks(runner_of(grouped), None) == ()


@needs_kernels
def test_numbers_that_the_kernel_does_not_take() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4
    )
    half = Loaded(LlamaForCausalLM(config).bfloat16().eval(), None, Path("half"))
    (found,) = fallback.fallbacks(runner_of(half), CachePlan())
    assert "heads of 16 channels in bfloat16 on cpu" in found


def test_no_kernels_are_told_and_change_no_token(
    grouped: Loaded, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("h2o:keep=24,slack=8")
    wanted = decode(grouped, prompts[:1], plan=plan).tokens
    for module in (attention, library):
        monkeypatch.setattr(module, "find", lambda: Missing("no compiler", "one"))
    found = fallback.fallbacks(runner_of(grouped), plan)
    assert len(found) == 2
    assert "(no compiler)" in found[1]
    assert decode(grouped, prompts[:1], plan=plan).tokens == wanted


def test_run_says_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("import json\n\n\ndef read(path):\n")
    words = ["run", "embedded", "--prompt-file", str(tmp_path / "text"), "--max-new", "3", "--recipe", "h2o:keep=64"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert err.count("note        fused attention") == 1
    assert "note" not in out
    assert main([*words, "--quiet"]) == 0
    assert "note" not in capsys.readouterr().err
    assert main([*words, "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert sum("fused attention" in note for note in notes) == 1
