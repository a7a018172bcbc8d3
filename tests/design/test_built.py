"""Designs made real from a small trained model: built, reloaded by transformers, compressed, run and measured here."""

import json
import math
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.design.build import build
from dovetail.design.compress import compress
from dovetail.design.measure import measure, within
from dovetail.design.run import run
from dovetail.hardware import load_machine
from dovetail.hardware.host import host_machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.workload import Workload

WORK = Workload(prompt=24, output=8, batch=2)
PACKED = "w4a16-rtn:group=4"  # 4 divides the model's 64 and 172 columns


@pytest.fixture(scope="module")
def built(stories: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("built") / "design"
    out.mkdir()
    for name in ("old.txt", "design.json"):
        (out / name).write_text("of an earlier design")
    lines: list[str] = []
    found = build(str(stories), "host", WORK, PACKED, out, lines.append)
    assert lines
    return found


def test_a_built_folder_holds_the_design_and_nothing_old(built: dict[str, Any]) -> None:
    out = Path(built["path"])
    assert {p.name for p in out.iterdir()} == {"checkpoint", "design.json", "machine.yaml", "manifest.json"}
    assert [p.name for p in out.parent.iterdir()] == ["design"]
    assert {name.rstrip("/") for name in built["files"]} <= {p.name for p in out.iterdir()}
    assert "does not run on" in built["serve_why"]
    design = json.loads((out / "design.json").read_text())
    assert design["workload"] == {"batch": 2, "prompt": 24, "output": 8}
    assert Recipe.load(design["recipe"]).name == PACKED
    assert load_machine(out / "machine.yaml").peak == load_machine("host").peak
    assert len(json.loads((out / "manifest.json").read_text())["inputs"]) == 2


def test_the_checkpoint_loads_in_transformers_and_continues_text(built: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="the checkpoint is loaded by transformers")
    transformers = pytest.importorskip("transformers", reason="the checkpoint is loaded by transformers")
    folder = Path(built["path"]) / "checkpoint"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        made = model.generate(**tokenizer("Once upon a time", return_tensors="pt"), max_new_tokens=8, do_sample=False)
    assert tokenizer.decode(made[0], skip_special_tokens=True).startswith("Once upon a time")


def test_predicted_bytes_are_those_on_disk_and_speeds_have_finite_errors(built: dict[str, Any]) -> None:
    found = measure(Path(built["path"]), seconds=0.3)
    rows = {row["metric"]: row for row in found["rows"]}
    stored = rows.pop("stored weights")
    assert stored["predicted"]["value"] == stored["measured"]["value"] == built["bytes_after"]
    assert stored["error"] == 0
    assert set(rows) >= {"prefill, 2 x 24 tokens", "decode, batch 2, context 27"}
    for row in rows.values():
        assert row["measured"]["kind"] == "measured"
        assert row["measured"]["value"] > 0
        assert math.isfinite(row["error"])
        assert row["error"] == pytest.approx(row["predicted"]["value"] / row["measured"]["value"] - 1)


def test_a_built_folder_may_be_moved(built: dict[str, Any], tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("checkpoint", "design.json"):
        (moved / name).symlink_to(Path(built["path"]) / name)
    design = json.loads((moved / "design.json").read_text())
    (moved / "design.json").unlink()
    (moved / "design.json").write_text(json.dumps({**design, "source": "/gone"}))
    assert measure(moved, seconds=0.1)["rows"][0]["error"] == 0


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"recipe": {}, "machine": "host"}'])
def test_a_folder_that_was_not_built_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "design.json").write_text(content)
    with pytest.raises(DovetailError, match="not a built design"):
        measure(tmp_path)


def served_by(script: Path, scratch: Path) -> list[str]:
    """The folder and the words with which a script calls vllm, from another current folder."""
    fake = scratch / "bin" / "vllm"
    fake.parent.mkdir(exist_ok=True)
    fake.write_text('#!/bin/sh\npwd -P\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run([script], capture_output=True, text=True, check=True, cwd="/", env={"PATH": path})
    return done.stdout.splitlines()


def test_a_design_for_a_served_chip_has_the_command_as_a_script(stories: Path, tmp_path: Path) -> None:
    found = build(Model.load(stories), "h100-sxm", WORK, "none", tmp_path / "d")
    script = tmp_path / "d" / "serve.sh"
    assert os.access(script, os.X_OK)
    words = shlex.split(found["serve"])
    assert served_by(script, tmp_path) == [str(tmp_path / "d"), "serve", "./checkpoint", *words[3:]]
    moved = script.parent.rename(tmp_path / "moved on")
    assert served_by(moved / "serve.sh", tmp_path) == [str(moved), "serve", "./checkpoint", *words[3:]]
    assert words[2] == str(tmp_path / "d" / "checkpoint")
    assert words[words.index("--max-model-len") + 1] == "32"
    assert words[words.index("--max-num-seqs") + 1] == "2"


def test_what_does_not_fit_is_not_built(stories: Path, tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match=r"does not fit.*shorten the prompt") as error:
        build(str(stories), "host", Workload(prompt=4000), "none", tmp_path / "d")
    assert error.value.exit_code == INFEASIBLE
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_that_cannot_be_applied_leaves_the_old_folder(stories: Path, tmp_path: Path) -> None:
    kept = tmp_path / "d" / "kept.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(DovetailError, match="is larger than the layer"):
        build(str(stories), "host", WORK, "w4a16-rtn", kept.parent)
    assert kept.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_model_without_weights_is_not_built(tmp_path: Path) -> None:
    for act in (lambda: build("Qwen/Qwen2.5-0.5B", "h100-sxm", WORK, "none", tmp_path / "d"),
                lambda: compress("Qwen/Qwen2.5-0.5B", "w8a16", tmp_path / "d")):  # fmt: skip
        with pytest.raises(DovetailError, match=r"the weights of Qwen/Qwen2\.5-0\.5B are not here"):
            act()
    assert list(tmp_path.iterdir()) == []


def test_compressing_says_bytes_and_quality_before_and_after(stories: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 8)
    found = compress(str(stories), PACKED, tmp_path / "out", text=text)
    before, after = found["bytes_before"]["value"], found["bytes_after"]["value"]
    assert before == Checkpoint.open(stories).payload_bytes
    assert after == Checkpoint.open(tmp_path / "out").payload_bytes < before
    for side in ("perplexity_before", "perplexity_after"):
        q = found[side]
        assert 1 < q["low"] <= q["value"] <= q["high"] < 512
        assert q["kind"] == "measured"
    assert found["perplexity_before"] != found["perplexity_after"]
    again = compress(str(stories), PACKED, tmp_path / "out", text=text)
    for side in ("perplexity_before", "perplexity_after"):
        assert again[side] == found[side]


def test_running_continues_the_file_and_a_recipe_changes_it(stories: Path, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Once upon a time, there was")
    plain = run(str(stories), prompt, max_new=12)
    assert plain["tokens"] == 12
    assert plain["tokens_per_step"] == 1
    assert plain["tokens_per_s"]["value"] > 0
    assert run(str(stories), prompt, max_new=12)["text"] == plain["text"]
    sampled = [run(str(stories), prompt, max_new=12, temperature=1.0, seed=s)["text"] for s in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    rounded = run(str(stories), prompt, recipe="w2a16-rtn:group=4", max_new=12)
    assert rounded["text"] != plain["text"]
    assert rounded["cache_bytes"] == plain["cache_bytes"]


@pytest.mark.parametrize(("content", "said"), [
    (b"", "the prompt is empty"), (b" \n\t", "the prompt is empty"), (b"caf\xe9", "it is not UTF-8 text"),
    (None, "No such file"), (b"word " * 2000, "beyond the model's context"),
])  # fmt: skip
def test_prompts_that_cannot_be_continued_are_refused(
    stories: Path, tmp_path: Path, content: bytes | None, said: str
) -> None:
    prompt = tmp_path / "prompt.txt"
    if content is not None:
        prompt.write_bytes(content)
    with pytest.raises(DovetailError, match=said):
        run(str(stories), prompt, max_new=4)


def test_a_measurement_is_shrunk_until_it_is_short(stories: Path) -> None:
    model, host, recipe = Model.load(stories), host_machine(), Recipe.load("none")
    large = Workload(prompt=400, output=8, batch=64)
    whole = within(model, recipe, host, large, math.inf)
    assert (whole.workload.batch, whole.workload.prompt) == (64, 400)
    half = within(model, recipe, host, large, float(whole.metrics.ttft_s) * 0.6)
    assert (half.workload.batch, half.workload.prompt) == (32, 400)
    least = within(model, recipe, host, large, 0.0)
    assert (least.workload.batch, least.workload.prompt, least.workload.output) == (1, 1, 8)


def test_a_design_is_not_built_over_its_own_weights(stories: Path, tmp_path: Path) -> None:
    out = Path(build(str(stories), "host", WORK, "none", tmp_path / "d")["path"])
    before = Checkpoint.open(out / "checkpoint").sha256()
    for act in (lambda: build(str(out / "checkpoint"), "host", WORK, PACKED, out),
                lambda: compress(str(out / "checkpoint"), PACKED, out / "checkpoint")):  # fmt: skip
        with pytest.raises(DovetailError, match="its own source"):
            act()
    assert Checkpoint.open(out / "checkpoint").sha256() == before


@pytest.mark.parametrize("at", [1, 2])
def test_a_compression_stopped_while_it_is_measured_leaves_the_old_folder(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    from dovetail.design import compress as module

    compress(str(stories), "none", tmp_path / "out")
    old, calls = Checkpoint.open(tmp_path / "out").sha256(), []

    def stopped(*words: Any, **named: Any) -> Any:
        calls.append(words)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, ("measured_change", "speed_here")[at - 1], stopped)
    with pytest.raises(KeyboardInterrupt):
        compress(str(stories), PACKED, tmp_path / "out")
    assert len(calls) == 1
    assert Checkpoint.open(tmp_path / "out").sha256() == old
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
