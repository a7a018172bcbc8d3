"""What runs on an NVIDIA GPU gives what it gives on the CPU; without one only the sentences that say so are tried."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.crossbar.adc import Adc
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.columns import Arrays
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.layer import Setup, write
from dovetail.crossbar.torch_engine import TorchEngine
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.cache.filled import filled
from dovetail.runtime.cache.forecast import free_bytes, free_on, held_bytes
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decoding.llama import LlamaRunner
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.modes import Given, speculation
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.speed import decode_speed

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
PROMPT = list(range(5, 400, 3)) * 2
CUTS = ("kv-window:keep=60", "snapkv:keep=64", "h2o:keep=64", "adakv:keep=64", "tova:keep=64", "kv-int4", "kv-int8")


@pytest.fixture(scope="module")
def folder() -> Path:
    return weights_of(Model.load("embedded"))


@pytest.fixture(scope="module")
def here(folder: Path) -> Loaded:
    return load(folder)


@pytest.fixture(scope="module")
def there(folder: Path) -> Loaded:
    return load(folder, device="cuda")


def made(loaded: Loaded, mode: str = "none", plan: CachePlan | None = None) -> tuple[tuple[int, ...], ...]:
    proposer = speculation(loaded, mode, Given(always=4))
    return Loop(runner_of(loaded), 24, Sampling(), proposer=proposer, plan=plan).run([PROMPT, PROMPT[:40]]).tokens


@pytest.mark.parametrize("device", ["cuda:99", "mps", "nonsense"])
def test_a_device_that_is_not_here_is_refused(folder: Path, device: str) -> None:
    with pytest.raises(DovetailError, match=f"no device '{device}' here .*CUDA device"):
        load(folder, device=device)


def test_free_memory_is_asked_where_the_model_is(here: Loaded) -> None:
    found = free_on(here.device)
    assert found is None or abs(found - (free_bytes() or 0)) < 0.2 * found


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("recipe", ["snapkv:keep=64", "h2o:keep=64"])
def test_a_filled_cache_has_the_dtype_of_the_model(folder: Path, dtype: str, recipe: str) -> None:
    runner, plan = runner_of(load(folder, dtype)), Recipe.load(recipe).on_cache()
    assert isinstance(runner, LlamaRunner)
    assert plan is not None
    cache = filled(runner, 2, plan, 100)
    assert cache.bytes == 2 * int(held_bytes(runner, plan, 100))
    with torch.inference_mode():
        assert runner.forward(torch.zeros(2, 1, dtype=torch.long), cache).dtype == runner.embedding.dtype


@cuda
@pytest.mark.parametrize("mode", ["none", "lookup", "medusa", "medusa+lookup", "exit:2"])
def test_texts_are_those_of_the_cpu(here: Loaded, there: Loaded, mode: str) -> None:
    assert isinstance(runner_of(there), LlamaRunner)
    assert made(there, mode) == made(here)


@cuda
@pytest.mark.parametrize("recipe", CUTS)
def test_cut_caches_hold_what_is_forecast(here: Loaded, there: Loaded, recipe: str) -> None:
    runner, plan = runner_of(there), Recipe.load(recipe).on_cache()
    assert isinstance(runner, LlamaRunner)
    assert plan is not None
    with torch.inference_mode():
        cache = plan.prefilled(runner, torch.tensor(PROMPT, device="cuda"))[0]
    assert cache.bytes == int(held_bytes(runner, plan, len(PROMPT)))
    assert made(there, plan=plan) == made(here, plan=plan)
    assert filled(runner, 2, plan, 100).bytes == 2 * int(held_bytes(runner, plan, 100))


@cuda
@pytest.mark.parametrize("adc", [Adc("ideal"), Adc("saturating", 4)], ids=str)
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_arrays_make_the_same_numbers(adc: Adc, precision: str) -> None:
    rng = np.random.default_rng(0)
    engine = Engine.of(
        write(FixedPoint(8, "row").codes(rng.normal(size=(30, 300))), Setup(arrays=Arrays(128, 128), adc=adc))
    )
    x = rng.integers(0, 256, (20, 300))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = TorchEngine.of(engine, "cuda").multiply(torch.from_numpy(x)).cpu().numpy()
    finally:
        torch.set_float32_matmul_precision(before)
    assert np.array_equal(found, engine.multiply(x))


@cuda
def test_memory_of_a_gpu_is_what_torch_holds_there(there: Loaded) -> None:
    free = free_on(torch.device("cuda"))
    assert free is not None
    assert 0 < free <= torch.cuda.mem_get_info()[1]
    found = decode_speed(there, 256, batch=8, budget_s=0.05)
    assert found.peak_bytes is not None
    assert 0 < found.peak_bytes < 10**9
