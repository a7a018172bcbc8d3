"""Whole tokens out of the Verilog, every tensor beside the golden model, and the cycles as predicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from dovetail.accel.compile.schedule import Program, schedule
from dovetail.accel.compile.shape import Shape
from dovetail.accel.cycles.predict import predict
from dovetail.accel.cycles.ring import Port
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.simulate.compare import Comparison, compare
from dovetail.accel.simulate.verilator import Memory, Run, build, run, verilator, write
from dovetail.core.errors import DovetailError
from tests.accel.simulate.models import small

PROMPT, TOTAL = (3, 77, 14, 15, 9, 26, 53, 58, 9, 79, 32), 17
FAMILIES = {"silu": (("llama", "w8a8"), ("llama", "w4a8"), ("qwen3", "w8a8")), "gelu": (("gpt2", "w8a8"),)}
MEMORIES = {
    "wide": Memory(latency=20), "slow": Memory(latency=60, bytes=5, cycles=3), "stalls": Memory(latency=9, stall=5),
    "other stalls": Memory(latency=30, bytes=9, stall=11),
}  # fmt: skip


def overlay(models: list[IntegerModel]) -> Shape:
    """An overlay that holds all of some models."""
    shape = Shape(rows=2, columns=4, lanes=4, tile=4, context=64)
    shapes = [schedule(model, shape).shape for model in models]
    names = ("ring", "operands", "stream", "halves", "constants", "line")
    most = {name: max(getattr(each, name) for each in shapes) for name in names}
    return Shape(rows=2, columns=4, lanes=4, tile=4, context=64, **most)


@pytest.fixture(scope="module", params=FAMILIES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Program]]:
    """One simulator for all models with the same gate."""
    try:
        verilator()
    except DovetailError as error:
        pytest.skip(str(error))
    models = {f"{family} {weights}": small(family, weights) for family, weights in FAMILIES[request.param]}
    shape = overlay(list(models.values()))
    programs = {name: schedule(model, shape) for name, model in models.items()}
    folder = tmp_path_factory.mktemp(request.param)
    write(next(iter(programs.values())), folder)
    build(folder, fast=False)
    return folder, programs


def runs(built: tuple[Path, dict[str, Program]], memory: Memory) -> list[tuple[IntegerModel, Program, Run, Comparison]]:
    folder, programs = built
    found = []
    for name, program in programs.items():
        model = small(*name.split())
        made = run(folder, program, PROMPT, TOTAL, memory, folder / "trace.bin")
        found.append((model, program, made, compare(model, program, made.tokens, folder / "trace.bin")))
    return found


@pytest.mark.parametrize("memory", MEMORIES)
def test_tokens_are_the_golden_models(built: tuple[Path, dict[str, Program]], memory: str) -> None:
    for model, _, made, compared in runs(built, MEMORIES[memory]):
        assert list(made.tokens[len(PROMPT) :]) == model.decode(PROMPT, TOTAL - len(PROMPT))
        assert compared.differences == ()
        assert compared.bits_different == 0
        # all that is quantised, all products and the last token's logits, in each of the passes
        tensors = [s for s in model.steps if type(s).__name__ in ("Product", "Quantise", "Attend", "Lookup")]
        assert compared.tensors >= len(tensors) * (len(made.passes) - 2)


@pytest.mark.parametrize("memory", [name for name, memory in MEMORIES.items() if not memory.stall])
def test_cycles_are_as_predicted(built: tuple[Path, dict[str, Program]], memory: str) -> None:
    served = MEMORIES[memory]
    for _, program, made, _ in runs(built, served):
        port = Port(served.latency, max(1.0, program.shape.word * served.cycles / served.bytes))
        for each in made.passes:
            chooses = each.position + each.tokens >= len(PROMPT)
            predicted = predict(program, each.position, each.tokens, port, chooses=chooses)
            assert predicted.cycles == pytest.approx(each.cycles, rel=0.02)
            assert predicted.words == pytest.approx(each.words, rel=0.02)
