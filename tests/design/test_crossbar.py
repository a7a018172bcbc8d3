"""Models on arrays end to end: the keys, quality against the model itself, plans, the machine in an estimate."""

from pathlib import Path

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.crossbar.adc import Adc
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.cost import work
from dovetail.crossbar.inputs import Inputs
from dovetail.crossbar.layer import Setup, write
from dovetail.crossbar.mapping import dense_work
from dovetail.design.crossbar import Simulation, map_model, simulate
from dovetail.design.estimate import estimate
from dovetail.hardware.adc import MODELS
from dovetail.workload import Workload

SHORT = {"tokens": 40}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("def add(a, b):\n    return a + b\n\n\nclass Point:\n    x: int = 0\n    y: int = 0\n" * 8)
    return path


def test_a_simulation_answers(text: Path) -> None:
    found = simulate("embedded", Simulation(text=text, sweep=(5,), **SHORT))
    assert {"quality", "nonzero_slices", "adc_bits", "energy", "area"} <= set(found)
    assert found["quality"]["value"] == pytest.approx(found["quality_digital"]["value"], rel=0.2)
    assert found["quality"]["unit"] == "perplexity"
    assert len(found["nonzero_slices"]) == len(found["adc_bits"]) == 4
    assert 0 < found["nonzero_slices"][3] < found["nonzero_slices"][0] < 1
    assert [row["model"].partition(",")[0] for row in found["by_model"]] == list(MODELS)
    assert found["energy"]["unit"] == "J/tok"
    assert found["by_bits"][0]["ratio"] > found["ratio"]
    for row in found["column_sums"]:
        assert sum(row["bitlines_by_bits"]) == sum(found["column_sums"][0]["bitlines_by_bits"])
    assert {row["module"] for row in found["stays_digital"]} == {"Embedding", "LlamaRMSNorm", "tied Linear"}


def test_a_plan_keeps_quality_with_fewer_bits(text: Path) -> None:
    found = simulate("embedded", Simulation(text=text, budget=0.05, **SHORT))["plan"]
    assert max(found["mean_bits"]) < 9
    assert found["mean_bits"][3] < found["mean_bits"][1]
    assert found["saves_against_8_bits"] > 1
    assert found["ratio"] < 1.3


def test_noise_and_defects_cost_quality(text: Path) -> None:
    from dovetail.crossbar.device import Device

    broken = Setup(device=Device(stuck_high=0.05), inputs=Inputs(8, True))
    found = simulate("embedded", Simulation(broken, text=text, **SHORT))
    assert found["ratio"] > 1.2
    assert found["layers"] == 28
    mended = simulate("embedded", Simulation(broken, text=text, repair=True, **SHORT))
    assert abs(mended["ratio"] - 1) < 0.3 * abs(found["ratio"] - 1)


@pytest.mark.parametrize("encoding", ["differential", "offset", "sign-magnitude"])
def test_work_without_weights_is_that_of_full_bitlines(encoding: str) -> None:
    setup = Setup(Cells(2, encoding), adc=Adc("saturating", 7))
    layer = write(FixedPoint(8).codes(np.random.default_rng(0).normal(size=(200, 300))), setup)
    counted, reckoned = work(layer), dense_work(200, 300, setup, 8)
    for field in ("arrays", "cycles", "drives", "cells", "bytes_moved"):
        assert getattr(counted, field) == pytest.approx(getattr(reckoned, field)), field
    assert counted.conversions.sum() + counted.skipped == reckoned.conversions.sum()
    assert np.array_equal(counted.converters, reckoned.converters)


def test_a_mapped_model_stands_in_an_estimate(tmp_path: Path) -> None:
    found = map_model("Qwen/Qwen3-8B", context=1088)
    path = tmp_path / "arrays.yaml"
    path.write_text(found["machine"])
    there = estimate("Qwen/Qwen3-8B", on=str(path), workload=Workload.chat(prompt=1024, output=128, batch=1))
    assert there.tpot.value == pytest.approx(found["tpot"]["value"], rel=0.15)
    here = estimate("Qwen/Qwen3-8B", on="jetson-orin", workload=Workload.chat(prompt=1024, output=128, batch=1))
    assert there.tpot.value < here.tpot.value / 5
    assert {row["name"] for row in found["digital"]} >= {"attention", "embed"}
    assert "attention" in found["bottleneck"]
    cells = 7_568_097_280 * 4 * 2
    assert found["arrays"] * 128 * 128 == cells  # every matrix divides by 128
    assert found["writing"]["energy"]["value"] == pytest.approx(cells * 10e-12)


def test_a_longer_context_is_the_digital_chips(tmp_path: Path) -> None:
    short, long = (map_model("Qwen/Qwen3-8B", context=n) for n in (2, 32768))
    assert short["arrays_s"] == long["arrays_s"]
    assert long["digital_s"] > 20 * short["digital_s"]
    assert "attention" in long["bottleneck"]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(DovetailError, match="no ADC model"):
        map_model("embedded", adc="cdac")
    with pytest.raises(DovetailError, match="weights of"):
        simulate("Qwen/Qwen3-8B")
