"""A design of the overlay template as RTL: its cycles are the cycle model's, its simulator is built once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dovetail.accel.simulate.verilator as tool
from dovetail.core.errors import DovetailError
from dovetail.design import simulate
from dovetail.design.simulate import Simulator
from dovetail.hardware.machine import Machine
from dovetail.hardware.templates.template import Variant
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload
from tests.accel.simulate.models import CONTEXT, VOCABULARY, small

CONFIG: dict[str, Any] = {
    "model_type": "qwen3", "hidden_size": 48, "intermediate_size": 76, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": CONTEXT,
    "vocab_size": VOCABULARY, "tie_word_embeddings": False,
}  # fmt: skip
WORK = Workload(prompt=30, output=20, batch=1)


def machine(bandwidth: float) -> Machine:
    fixed = {"rows": 2.0, "columns": 4.0, "lanes": 4.0, "clock": 1e8, "sram": 1e6, "bandwidth": bandwidth}
    return Variant("it", "overlay", fixed, {"format": "integers"}).machine()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A small random model whose integers stand in for those of a folder."""
    pytest.importorskip("torch", reason="a small model is made by transformers")
    monkeypatch.setattr(simulate, "lowered", lambda folder, integers, context: (None, small("qwen3", integers)))
    monkeypatch.setattr(simulate, "prompt_of", lambda loaded, tokens: [(7 * i) % VOCABULARY for i in range(tokens)])
    return replace(Model.load(CONFIG), folder=Path("nowhere"))


@pytest.mark.slow
def test_cycles_and_one_simulator_for_all_memories(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        tool.verilator()
    except DovetailError as error:
        pytest.skip(str(error))
    built: list[Path] = []
    real = tool.build
    monkeypatch.setattr(tool, "build", lambda folder: built.append(folder) or real(folder, fast=False))
    with Simulator() as simulator:
        for bandwidth in (2e8, 3.2e9):
            counted = simulator.count(model, machine(bandwidth), Recipe.load("w8a8"), WORK)
            assert len(counted.cycles) == simulate.TOKENS - 1
            assert sum(counted.cycles) / len(counted.cycles) == pytest.approx(counted.predicted, rel=0.02)
            tpot = counted.tpot(machine(bandwidth))
            assert tpot.kind == "modelled"
            assert tpot.value == pytest.approx(sum(counted.cycles) / len(counted.cycles) / 1e8)
    assert len(built) == 1
    assert not built[0].exists()


def test_what_cannot_be_built_is_not_simulated(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "verilator", lambda: SimpleNamespace())
    with Simulator() as simulator, pytest.raises(DovetailError, match="not none"):
        simulator.count(model, machine(1e9), Recipe.load("none"), WORK)


@pytest.mark.parametrize(("prompt", "output"), [(15, 1), (63, 1), (62, 2), (61, 3), (60, 4), (30, 20)])
def test_the_memory_holds_the_passes_that_are_counted(
    model: Model, monkeypatch: pytest.MonkeyPatch, prompt: int, output: int
) -> None:
    """Also where the last token fills the memory: a prompt, its first token, and the others with a pass each."""
    asked: list[tuple[int, int, int]] = []

    def simulated(integers: Any, chosen: Any, words: list[int], count: int, folder: Path) -> Any:
        asked.append((len(words), count, integers.context))
        raise DovetailError("enough")

    work = Workload(prompt=prompt, output=output, batch=1)
    monkeypatch.setattr(tool, "verilator", lambda: SimpleNamespace())
    monkeypatch.setattr("dovetail.accel.choose.simulated.simulated", simulated)
    monkeypatch.setattr(Simulator, "_built", lambda *_: Path("nowhere"))
    monkeypatch.setattr(simulate, "_candidate", lambda integers, _: integers)
    monkeypatch.setattr(simulate, "lowered", lambda _, integers, context: (None, SimpleNamespace(context=context)))
    with Simulator() as simulator, pytest.raises(DovetailError, match="enough"):
        simulator.count(model, machine(1e9), Recipe.load("w8a8"), work)
    ((words, count, context),) = asked
    assert count == simulate.TOKENS
    assert words + count <= context
    assert 0 <= int(work.mean_context) - words < simulate.TOKENS
