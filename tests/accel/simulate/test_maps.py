"""A small CNN and an MLP out of the Verilog: windows, pools and classes beside the golden model; cycles as well."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.accel.compile.schedule import Program, schedule
from dovetail.accel.compile.shape import Shape
from dovetail.accel.cycles.predict import predict
from dovetail.accel.cycles.ring import Port
from dovetail.accel.frontend.read import read_features
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.lowering.lower import Scheme, lower_graph
from dovetail.accel.simulate.compare import compare
from dovetail.accel.simulate.verilator import Memory, build, run, verilator, write
from dovetail.core.errors import DovetailError

torch = pytest.importorskip("torch")
n = torch.nn
COUNT = 5
MODELS = {
    "cnn": (lambda: n.Sequential(
        n.Conv2d(3, 6, (3, 2), padding=1, stride=2), n.BatchNorm2d(6), n.MaxPool2d(2, 1), n.ReLU(),
        n.Conv2d(6, 5, 3, padding=1), n.SiLU(), n.AvgPool2d(2), n.Flatten(), n.Linear(5 * 2 * 3, 7),
    ), (3, 9, 13)),
    "mlp": (lambda: n.Sequential(n.Linear(20, 36), n.ReLU(), n.Linear(36, 40), n.SiLU(), n.Linear(40, 5)), (20,)),
}  # fmt: skip
MEMORIES = {"wide": Memory(20), "slow": Memory(60, bytes=5, cycles=3), "stalls": Memory(9, stall=5)}


@cache
def lowered(name: str, weights: str = "w8a8") -> tuple[IntegerModel, np.ndarray]:
    """An integer model and inputs for it."""
    make, shape = MODELS[name]
    torch.manual_seed(1)
    module: Any = make()
    module(torch.randn(64, *shape))  # the batch norm sees some images
    graph = read_features(module.eval(), torch.randn(1, *shape))
    images = torch.randn(20, *shape).reshape(20, -1).numpy()
    model = lower_graph(graph, [images], Scheme(weights))
    return model, model.integers(images[:COUNT])


def on_one_overlay(models: list[IntegerModel], shape: Shape) -> list[Program]:
    programs = [schedule(model, shape) for model in models]
    names = ("ring", "operands", "stream", "halves", "constants", "line", "maps")
    most = {name: max(getattr(each.shape, name) for each in programs) for name in names}
    return [replace(each, shape=replace(each.shape, **most)) for each in programs]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[IntegerModel, np.ndarray, Program]]]:
    try:
        verilator()
    except DovetailError as error:
        pytest.skip(str(error))
    names = [("cnn", "w8a8"), ("mlp", "w8a8"), ("mlp", "w4a8")]
    made = [lowered(*each) for each in names]
    programs = on_one_overlay([model for model, _ in made], Shape(2, 4, 4, context=32))
    folder = tmp_path_factory.mktemp("maps")
    write(programs[0], folder)
    build(folder, fast=False)
    return folder, {f"{a} {b}": (*each, program) for (a, b), each, program in zip(names, made, programs)}


@pytest.mark.parametrize("memory", MEMORIES)
def test_inputs_one_after_the_other(built: Any, memory: str) -> None:
    folder, each = built
    for model, inputs, program in each.values():
        found = run(folder, program, [0], COUNT + 1, MEMORIES[memory], folder / "trace", inputs=inputs, limit=1_000_000)
        compared = compare(model, program, found.tokens, folder / "trace", inputs)
        assert compared.differences == ()
        logits = model.pass_over_features(inputs).tensors[model.steps[-1].name]
        assert list(found.tokens[1:]) == logits.argmax(axis=-1).tolist()
        assert compared.tensors >= 2 * COUNT * sum(type(s).__name__ in ("Convolve", "Product") for s in model.steps)
        port = Port(MEMORIES[memory].latency, 16 * MEMORIES[memory].cycles / min(16, MEMORIES[memory].bytes))
        for one in found.passes if not MEMORIES[memory].stall else ():
            predicted = predict(program, one.position, 1, port, chooses=True).cycles
            assert predicted == pytest.approx(one.cycles, rel=0.02)


def test_a_wrong_operand_of_a_window_is_seen(built: Any, tmp_path: Path) -> None:
    """The comparison knows which place of the map each operand of a window is."""
    folder, each = built
    model, inputs, program = each["cnn w8a8"]
    found = run(folder, program, [0], 2, Memory(20), tmp_path / "trace", inputs=inputs[:1])
    wrong = inputs[:1].copy()
    wrong[0, 40] += 4096
    differs = compare(model, program, found.tokens, tmp_path / "trace", wrong).differences
    assert {"input", "input.operands"} <= {each.tensor for each in differs}


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        (lambda: [n.Conv2d(1, 4, 3), n.AvgPool2d(2), n.ReLU(), n.Flatten(), n.Linear(4 * 9, 3)], "other order"),
        (lambda: [n.Conv2d(1, 4, 3), n.MaxPool2d(2), n.GELU(), n.Flatten(), n.Linear(4 * 9, 3)], "other order"),
        (lambda: [n.Conv2d(1, 4, 3), n.Flatten()], "largest of a linear layer"),
        (lambda: [n.Conv2d(1, 4, 8, 7, 7), n.MaxPool2d(2, 9), n.Flatten(), n.Linear(4, 3)], "counts to 7"),
        (lambda: [n.Linear(8, 8), n.ReLU(), n.LayerNorm(8), n.Linear(8, 3)], "other order"),
    ],
)  # fmt: skip
def test_what_the_overlay_cannot_do_is_said(layers: Any, what: str) -> None:
    shape = (8,) if isinstance(layers()[0], n.Linear) else (1, 8, 8)
    module = n.Sequential(*layers()).eval()
    graph = read_features(module, torch.randn(1, *shape))
    model = lower_graph(graph, [torch.randn(4, *shape).reshape(4, -1).numpy()], Scheme())
    with pytest.raises(DovetailError, match=what) as error:
        schedule(model, Shape(2, 4, 4, context=32))
    assert error.value.where


def test_more_inputs_than_memory_holds(built: Any) -> None:
    folder, each = built
    _, inputs, program = each["mlp w8a8"]
    with pytest.raises(DovetailError, match="room for 32"):
        run(folder, program, [0], 2, Memory(20), inputs=np.tile(inputs, (8, 1)))
