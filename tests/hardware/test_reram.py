"""The crossbar template: a full array is that of the crossbar model; fewer converter bits take more reads."""

import numpy as np
import pytest

from dovetail.cost import evaluate
from dovetail.crossbar.adc import Adc
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.columns import Arrays
from dovetail.crossbar.cost import cost
from dovetail.crossbar.layer import Setup
from dovetail.crossbar.mapping import dense_work
from dovetail.hardware import load_machine
from dovetail.hardware.adc import MODELS
from dovetail.hardware.crossbar_parts import ISAAC
from dovetail.hardware.stationary import Stationary
from dovetail.hardware.templates.template import TEMPLATES, Variant
from dovetail.model import Model
from dovetail.search import Space, search
from dovetail.search.codesign import evaluator


def held(**numbers: float) -> Stationary:
    found = Variant("it", "crossbar", numbers).machine().stationary
    assert found is not None
    return found


@pytest.mark.parametrize("size", [(128, 128, 2, 9), (64, 256, 1, 7), (256, 32, 4, 12)])
@pytest.mark.parametrize("adc", TEMPLATES["crossbar"].choices[1].options)
def test_a_full_array_is_that_of_the_crossbar_model(size: tuple[int, int, int, int], adc: str) -> None:
    rows, columns, cell_bits, bits = size  # bits: as many as the largest sum needs
    setup = Setup(Cells(cell_bits, "offset"), Arrays(rows, columns), Adc("saturating", bits))
    known = cost(dense_work(columns, rows, setup, 8), MODELS[adc])
    numbers = {"array_rows": rows, "array_columns": columns, "cell_bits": cell_bits, "adc_bits": bits, "tiles": 7}
    machine = Variant("it", "crossbar", numbers, {"adc": adc}).machine()
    found = machine.stationary
    assert found is not None
    assert found.pass_s == pytest.approx(known.interval_s, rel=1e-12)
    assert found.latency_s == pytest.approx(known.time_s, rel=1e-12)
    # the tile's own watts are the machine's idle draw
    assert found.j_per_weight * rows * columns == pytest.approx(known.energy - known.energy_j["tile"], rel=1e-12)
    slices = -(-9 // cell_bits)
    assert found.weights == 7 * ISAAC.tile_arrays * rows * columns / slices
    alone = machine.area_mm2 - load_machine("l4").area_mm2
    assert alone == pytest.approx(known.area / slices * 7 * ISAAC.tile_arrays, rel=1e-12)


def test_a_converter_of_fewer_bits_reads_in_parts_and_one_of_more_stops_early() -> None:
    nine, twelve, seven = (held(adc_bits=bits) for bits in (9, 12, 7))
    assert twelve == nine  # 128 rows of three steps need nine bits
    reads = np.ceil(128 / np.floor(127 / 3))
    assert reads == 4
    assert seven.pass_s == pytest.approx(8 * reads * max(ISAAC.read_s, 128 * MODELS["isaac_cdac"].time_s(7)))


def test_what_does_not_fit_stays_in_memory() -> None:
    graph = Model.load("Qwen/Qwen3-8B").graph(batch=1, tokens=1, context=500)
    times = [
        float(evaluate(graph, Variant("it", "crossbar", {"tiles": tiles}).machine()).bytes)
        for tiles in (1, 4000, 40_000, 1_000_000)
    ]
    assert times == sorted(times, reverse=True)
    assert times[0] > 15e9 > 1e9 > times[-1]


def space(**more: object) -> Space:
    arrays = {"array_rows": [64, 128, 256], "array_columns": [32, 64, 128], "cell_bits": [1, 2, 4], "adc_bits": [6, 8]}
    tiles = {"tiles": {"from": 8192, "to": 65536, "steps": "log2"}, "beside": ["l4", "rtx-4090"]}
    gpu = {"template": "gpu-like", "like": "l4", "sms": [32, 58, 96], "bandwidth": ["200 GB/s", "600 GB/s"]}
    keys: dict[str, object] = {
        "models": ["Qwen/Qwen3-1.7B"], "recipes": ["none", "w8a8"],
        "machines": [{"template": "crossbar", **arrays, **tiles}, gpu],
        "workload": {"batch": [1, 16], "prompt": 200, "output": 50},
        "objectives": ["tpot", "energy_per_token", "area"],
    }  # fmt: skip
    return Space.of(**{**keys, **more})


@pytest.mark.parametrize("rules", [[], ["tpot < 4 ms", "area < 3000 mm2"], ["adc_bits < 7", "power < 120 W"]])
def test_arrays_and_a_gpu_in_one_space(rules: list[str]) -> None:
    asked = space(constraints=rules)
    ask = evaluator(asked)
    found, whole = search(asked, ask), search(asked, ask, prune=False)
    assert found.front == whole.front
    assert found.winner == whole.winner
    assert found.evaluated + sum(points for _, points in found.pruned) == asked.size
    if not rules:
        assert found.evaluated < whole.evaluated == asked.size == 2 * 2 * (2 * 3 * 3 * 3 * 2 * 4 + 6)
        assert {c.structure.machine.partition(" ")[0] for c in found.front} == {"crossbar", "gpu-like"}


def test_a_price_is_not_known() -> None:
    asked = space(objectives=["usd_per_mtok", "tpot"])
    assert {c.structure.machine for c in search(asked, evaluator(asked)).front} == {"gpu-like"}
