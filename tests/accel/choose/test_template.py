"""The chip template beside the accelerator: the cycles of its formulas are those of the cycle model."""

from __future__ import annotations

import pytest

from dovetail.accel.choose.candidates import candidate
from dovetail.accel.choose.outline import outline
from dovetail.accel.compile.shape import Shape
from dovetail.accel.lowering.lower import Scheme
from dovetail.accel.resources.memories import bytes_on_chip
from dovetail.design.buildable import needs
from dovetail.design.estimate import Estimate, estimate
from dovetail.hardware.templates.asic import LATENCY, TILE
from dovetail.hardware.templates.template import Variant
from dovetail.model import Model
from dovetail.workload import Workload

CLOCK = 500e6
ARRAYS = ((2, 8, 4), (4, 8, 8), (4, 16, 4), (4, 32, 4), (8, 32, 8), (16, 32, 16))
MODELS = (("embedded", 64, 32), ("embedded", 256, 32), ("Qwen/Qwen3-0.6B", 200, 50))


def priced(model: str, size: tuple[int, int, int], bandwidth: float, recipe: str, work: Workload) -> Estimate:
    rows, columns, lanes = size
    fixed = {"rows": rows, "columns": columns, "lanes": lanes, "bandwidth": bandwidth, "clock": CLOCK, "sram": 4e6}
    return estimate(model, Variant("it", "overlay", fixed, {"format": "integers"}).machine(), work, recipe)


@pytest.mark.parametrize("recipe", ["w8a8", "w4a8"])
@pytest.mark.parametrize(("model", "prompt", "output"), MODELS)
def test_a_token_takes_the_cycles_of_the_cycle_model(model: str, prompt: int, output: int, recipe: str) -> None:
    known = outline(Model.load(model), prompt + output, Scheme(recipe))
    assert known is not None
    work = Workload(prompt=prompt, output=output, batch=1)
    for size in ARRAYS if model == "embedded" else ((4, 64, 8), (16, 128, 8)):
        for bandwidth in (1e9, 8e9, 68e9):
            made = candidate(known, Shape(*size, tile=max(TILE, size[0])), "asic", bandwidth, CLOCK, LATENCY)
            assert made is not None
            cycles = made.decode_cycles(int(work.mean_context))
            found = priced(model, size, bandwidth, recipe, work)
            assert float(found.metrics.tpot_s) * CLOCK == pytest.approx(cycles, rel=0.08), (size, bandwidth)
            assert found.feasible, found.why


def test_its_buffers_are_those_of_the_accelerator() -> None:
    model = Model.load("embedded")
    known = outline(model, 128, Scheme("w8a8"))
    assert known is not None
    made = candidate(known, Shape(4, 16, 4, tile=TILE), "asic", 8e9, CLOCK, LATENCY)
    assert made is not None
    assert needs(model, "w8a8", (4, 16, 4, TILE), 128) == bytes_on_chip(made.program.shape)
