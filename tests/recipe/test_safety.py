"""Calibrated work that is killed, refused or short of room: nothing half-written, and what resumes ends the same."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dovetail.core.errors import DovetailError
from dovetail.core.unfinished import held
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.method import METHODS
from dovetail.recipe.methods.gptq import GPTQ
from dovetail.recipe.recipe import Recipe, work_folder

Find = Callable[[str], Path]
SMALL = Calibration(samples=4, tokens=16)
RECIPE = [GPTQ(3, 32)]
LAYERS = 4


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of several layers."""
    return random_llama(tmp_path_factory.mktemp("deep"), LAYERS)


def random_llama(folder: Path, layers: int) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.recipe.conftest import save_tokenizer

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def dies(act: Callable[[], object]) -> bool:
    """Whether a forked copy of this process is killed in `act`; False when it ends well."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException as error:
            os.write(2, f"{error}\n".encode())
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("steps", [RECIPE, ["magnitude", *RECIPE]], ids=["gptq", "pruned first"])
def test_killed_wherever_a_file_appears_it_resumes_to_the_same_bytes(
    deep: Path, tmp_path: Path, steps: list[Any]
) -> None:
    """Each run may write one file more than the one before: killed before states, before a layer, before the end."""
    recipe, said = Recipe.load(steps), tmp_path / "said"
    recipe.apply(deep, tmp_path / "whole", calibration=SMALL)

    def go(files: int) -> None:
        replace, left = os.replace, [files]

        def counted(*words: Any) -> None:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            replace(*words)

        os.replace = counted  # type: ignore[assignment]
        recipe.apply(deep, tmp_path / "out", calibration=SMALL, report=lambda line: print(line, file=said.open("a")))

    deaths = 0
    while dies(partial(go, 1 + deaths)):
        deaths += 1
        assert not (tmp_path / "out").exists()
    assert deaths > LAYERS
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert json.loads((tmp_path / "out" / "dovetail.json").read_text())["recipe"]["calibration"]["samples"] == 4
    assert any(f"going on after layer {k} of {LAYERS}" in said.read_text() for k in range(1, LAYERS))
    assert names(tmp_path) == ["out", "said", "whole"]


def test_the_command_killed_in_the_middle_goes_on(deep: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("- gptq: {bits: 3, group: 32}\n")
    command = ["compress", str(deep), str(tmp_path / "recipe.yaml"), "--no-quality", "--no-speed", "--samples", "4",
               "--tokens", "16", "--out"]  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-m", "dovetail", *command, str(tmp_path / "out")],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("layer 2 of"):
            child.kill()
            break
    child.wait(timeout=60)
    if child.returncode == 0:
        pytest.skip("it ended before it could be killed")
    assert not (tmp_path / "out").exists()
    from dovetail.app.cli import main

    assert main([*command, str(tmp_path / "out"), "--quiet"]) == 0
    assert main([*command, str(tmp_path / "whole"), "--quiet"]) == 0
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert names(tmp_path) == ["out", "recipe.yaml", "whole"]


def test_the_seed_decides_the_result(deep: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        Recipe.load(RECIPE).apply(deep, tmp_path / name, calibration=Calibration(samples=4, tokens=16, seed=seed))
    assert weights(tmp_path / "one") == weights(tmp_path / "same")
    assert weights(tmp_path / "one") != weights(tmp_path / "other")


def stopped_after(layers: int, deep: Path, out: Path, calibration: Calibration = SMALL) -> None:
    def report(line: str) -> None:
        if line.startswith(f"layer {layers} of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Recipe.load(RECIPE).apply(deep, out, calibration=calibration, report=report)


def test_layers_of_other_settings_are_not_taken_and_that_is_said(deep: Path, tmp_path: Path) -> None:
    stopped_after(2, deep, tmp_path / "out")
    said: list[str] = []
    other = Calibration(samples=4, tokens=16, seed=5)
    Recipe.load(RECIPE).apply(deep, tmp_path / "out", calibration=other, report=said.append)
    Recipe.load(RECIPE).apply(deep, tmp_path / "whole", calibration=other)
    assert "starting anew" in said[0]
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("config.json", '"rope_theta": 10000.0', '"rope_theta": 500.0'), ("tokenizer.json", '"a": 65', '"\u00e9": 65')],
)
def test_layers_of_another_config_or_tokenizer_are_not_taken(
    deep: Path, tmp_path: Path, file: str, old: str, new: str
) -> None:
    """The same weights, and yet another model: what it computes of the text has changed."""
    model, said = Path(shutil.copytree(deep, tmp_path / "model")), list[str]()
    stopped_after(2, model, tmp_path / "out")
    text = (model / file).read_text()
    assert text.count(old) == 1
    (model / file).write_text(text.replace(old, new))
    Recipe.load(RECIPE).apply(model, tmp_path / "out", calibration=SMALL, report=said.append)
    Recipe.load(RECIPE).apply(model, tmp_path / "whole", calibration=SMALL)
    assert "starting anew" in said[0]
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


def test_somebody_elses_folder_is_neither_used_nor_deleted(deep: Path, tmp_path: Path) -> None:
    mine = work_folder(tmp_path / "out") / "step-1"
    mine.mkdir(parents=True)
    for name, text in (("state.json", '{"key": "of something else"}'), ("thesis.txt", "ten years")):
        (mine / name).write_text(text)
    with pytest.raises(DovetailError, match="was not written by dovetail"):
        Recipe.load(RECIPE).apply(deep, tmp_path / "out", calibration=SMALL)
    assert names(mine) == ["state.json", "thesis.txt"]


def test_what_else_lies_in_the_jobs_folder_stays(deep: Path, tmp_path: Path) -> None:
    stopped_after(1, deep, tmp_path / "out")
    work = work_folder(tmp_path / "out")
    (work / "step-1" / "notes.txt").write_text("mine")
    Recipe.load(RECIPE).apply(deep, tmp_path / "out", calibration=SMALL)
    assert [str(path.relative_to(work)) for path in work.rglob("*")] == ["step-1", "step-1/notes.txt"]


def test_two_processes_do_not_work_in_one_folder(deep: Path, tmp_path: Path) -> None:
    work = work_folder(tmp_path / "out")
    work.mkdir()
    with held(work), pytest.raises(DovetailError, match="another process is at work here"):
        Recipe.load(RECIPE).apply(deep, tmp_path / "out", calibration=SMALL)


def short_of_disk(deep: Path, out: Path, limit: int, said: Path) -> None:
    """Run in a copy of this process in which no file grows beyond `limit` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        Recipe.load(RECIPE).apply(deep, out, calibration=SMALL)
    except DovetailError as error:
        said.write_text(str(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(("limit", "what"), [(10_000, "could not"), (60_000, "could not write")])
def test_a_disk_that_is_full_is_one_sentence_and_then_it_goes_on(
    deep: Path, tmp_path: Path, limit: int, what: str
) -> None:
    """The system itself refuses: hidden states at the first limit, the whole checkpoint at the second."""
    assert not dies(lambda: short_of_disk(deep, tmp_path / "out", limit, tmp_path / "said"))
    said = (tmp_path / "said").read_text()
    assert what in said
    assert "File too large" in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.part"))
    Recipe.load(RECIPE).apply(deep, tmp_path / "out", calibration=SMALL)
    Recipe.load(RECIPE).apply(deep, tmp_path / "whole", calibration=SMALL)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert names(tmp_path) == ["out", "said", "whole"]


def poisoned(deep: Path, out: Path, name: str) -> Path:
    shutil.copytree(deep, out)
    tensors = load_file(out / "model.safetensors")
    tensors[name].view(-1)[5] = float("nan")
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out


@pytest.mark.parametrize("name", ["model.layers.2.mlp.up_proj.weight", "model.layers.1.input_layernorm.weight"])
def test_weights_that_are_no_numbers_leave_nothing_behind(deep: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DovetailError, match="not finite") as caught:
        Recipe.load(RECIPE).apply(poisoned(deep, tmp_path / "bad", name), tmp_path / "out", calibration=SMALL)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["bad"]


@pytest.mark.parametrize(
    ("method", "calibration", "words"),
    [
        (GPTQ(4, 32), Calibration(samples=10**6, tokens=16), "too short"),
        (GPTQ(4, 32, layers=(("*.dwn_proj", 8),)), SMALL, r"no layer '\*\.dwn_proj'"),
        (GPTQ(4, 128), SMALL, "larger than the layer"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    deep: Path, tmp_path: Path, method: Any, calibration: Calibration, words: str
) -> None:
    with pytest.raises(DovetailError, match=words) as caught:
        Recipe.load([method]).apply(deep, tmp_path / "out", calibration=calibration)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_models_without_plain_decoder_layers_are_refused(model_folder: Find, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    small = GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    GPT2LMHeadModel(small).save_pretrained(tmp_path / "gpt2")
    for folder, words in ((model_folder("mixtral"), "layer by layer"), (tmp_path / "gpt2", "cannot be packed")):
        with pytest.raises(DovetailError, match=words) as caught:
            Recipe.load([GPTQ(4, 0)]).apply(folder, tmp_path / "out", calibration=SMALL)
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["gpt2"]


def test_every_pair_meets_or_is_refused_with_the_reason() -> None:
    """Dense weights after packed ones cannot be had back: whichever methods there are."""
    found = {name: METHODS[name].examples((128, 256)) for name in METHODS if hasattr(METHODS[name], "takes")}
    examples = {name: several[0] for name, several in found.items()}
    for first in examples.values():
        before = [METHODS["rtn"]()] if first.takes == "packed" else []
        for second in examples.values():
            if getattr(first, "makes_zeros", False) and getattr(second, "fills_zeros", False):
                with pytest.raises(DovetailError, match="impossible order"):
                    Recipe.load([first, second])
                continue
            if second.takes in (first.leaves, "any"):
                assert Recipe.load([*before, first, second]).methods == (*before, first, second)
                continue
            with pytest.raises(DovetailError, match=r"impossible order.*needs .* weights, .* leaves them"):
                Recipe.load([*before, first, second])
    for pair in (["rtn", "gptq"], ["gptq", "rtn"], ["rtn", "magnitude"], ["gptq", "magnitude"]):
        with pytest.raises(DovetailError, match=f"{pair[1]} needs dense weights, {pair[0]} leaves them packed"):
            Recipe.load(pair)


def test_a_stop_in_the_first_layer_leaves_nothing(deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dovetail.recipe.methods.gptq.compensated", stop)
    with pytest.raises(KeyboardInterrupt):
        Recipe.load(RECIPE).apply(deep, tmp_path / "out", calibration=SMALL)
    assert names(tmp_path) == []
