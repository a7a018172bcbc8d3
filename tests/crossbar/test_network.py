"""Networks on arrays: layers against their own products, contexts that leave nothing behind, torch against NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from dovetail.core.errors import DovetailError
from dovetail.crossbar.adc import Adc
from dovetail.crossbar.cells import ENCODINGS, Cells
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.columns import Arrays
from dovetail.crossbar.device import Device
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.inputs import Inputs
from dovetail.crossbar.layer import Setup, write
from dovetail.crossbar.network import digital, matrix, on_crossbars
from dovetail.crossbar.torch_engine import TorchEngine

IDEAL = Setup(adc=Adc("ideal"), inputs=Inputs(12))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(5, 6, 3, dilation=2), nn.ReLU(), nn.Flatten(),
        nn.LayerNorm(54), nn.Linear(54, 7, bias=False),
    ).eval()  # fmt: skip


def test_a_network_of_ideal_arrays_is_nearly_the_network() -> None:
    model, x = net(), torch.randn(4, 2, 14, 14)
    before = model(x)
    with on_crossbars(model, IDEAL, FixedPoint(12)) as placed:
        during = model(x)
    assert torch.equal(model(x), before)
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert [each.name for each in placed] == ["0", "2", "6"]
    assert (during - before).abs().max() < 5e-3 * before.abs().max()
    assert not torch.equal(during, before)


def test_the_error_is_that_of_rounding_weights_and_inputs() -> None:
    layer, x = nn.Linear(40, 9), torch.randn(6, 40)
    codes = FixedPoint(8).codes(layer.weight.detach().numpy())
    scale = x.abs().amax(dim=1, keepdim=True).double() / 127
    wanted = (x.double() / scale).round() * scale @ torch.from_numpy(codes.weights().T) + layer.bias
    with on_crossbars(layer, Setup(adc=Adc("ideal"))):
        assert torch.allclose(layer(x).double(), wanted, atol=1e-6)


def test_the_context_cleans_up_after_errors() -> None:
    model = net()
    with pytest.raises(ZeroDivisionError), on_crossbars(model, IDEAL):
        raise ZeroDivisionError
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_what_is_left_and_what_stays_digital() -> None:
    model = nn.Sequential(
        nn.Embedding(5, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 2), nn.Conv2d(4, 4, 1, groups=2)
    )
    assert digital(model) == {"Embedding": 1, "LayerNorm": 1, "Conv2d": 1}
    assert matrix(model[4]) is None
    with on_crossbars(model, IDEAL, leave=["3"]) as placed:
        assert [each.name for each in placed] == ["2"]


def test_a_head_tied_to_the_embedding_stays_digital() -> None:
    model = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 8), nn.Linear(8, 5))
    model[2].weight = model[0].weight
    assert digital(model) == {"Embedding": 1, "tied Linear": 1}
    with on_crossbars(model, IDEAL) as placed:
        assert [each.name for each in placed] == ["1"]
    model[2].weight = nn.Parameter(model[0].weight.detach().clone())
    with on_crossbars(model, IDEAL) as placed:
        assert [each.name for each in placed] == ["1", "2"]


def test_counts_of_live_cycles_are_those_of_the_inputs() -> None:
    layer = nn.Linear(8, 3)
    x = torch.zeros(4, 8)
    x[:2, 0] = 1.0  # 127: seven of eight cycles, in the first of two tiles
    with on_crossbars(layer, Setup(arrays=Arrays(4, 4))) as (placed,):
        layer(x)
    assert (placed.live, placed.cycles, placed.vectors) == (2 * 7, 4 * 2 * 8, 4)
    assert placed.sample.shape == (4, 8)


def test_unsigned_inputs_have_one_bit_more() -> None:
    layer, x = nn.Linear(30, 4, bias=False), torch.rand(50, 30)
    with torch.no_grad():
        exact = torch.from_numpy(FixedPoint(8).codes(layer.weight.numpy()).weights().T)
        wanted, off = x.double() @ exact, []
        for unsigned in ((), ("*",)):
            with on_crossbars(layer, Setup(adc=Adc("ideal"), inputs=Inputs(5)), unsigned=unsigned):
                off.append(float((layer(x) - wanted).square().sum()))
    assert 2.5 < off[0] / off[1] < 6  # half the step: a quarter of the error


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("adc", [Adc("ideal"), Adc("saturating", 4), Adc("uniform", 5)], ids=str)
@pytest.mark.parametrize("device", [Device(), Device(program_sigma=0.1)], ids=["ideal", "spread"])
def test_torch_makes_the_same_numbers(encoding: str, adc: Adc, device: Device) -> None:
    rng = np.random.default_rng(0)
    setup = Setup(Cells(2, encoding), Arrays(32, 32), adc, Inputs(6, True), device)
    engine = Engine.of(write(FixedPoint(8, "row").codes(rng.normal(size=(20, 75))), setup))
    x = rng.integers(-32, 32, (9, 75))
    here = engine.multiply(x)
    there = TorchEngine.of(engine).multiply(torch.from_numpy(x)).numpy()
    exact = device == Device() and adc.kind != "uniform"
    assert np.array_equal(here, there) if exact else np.abs(here - there).max() < 2e-2 * np.abs(here).max()


def test_torch_noise_has_the_moments() -> None:
    setup = Setup(arrays=Arrays(16, 16), adc=Adc("ideal"), inputs=Inputs(2), device=Device(read_sigma=0.2))
    layer = write(FixedPoint(4).codes(np.random.default_rng(0).normal(size=(300, 16))), setup)
    x = np.full((60, 16), 3)
    engine = Engine.of(layer)
    here = engine.multiply(x).std(axis=0)
    there = TorchEngine.of(engine).multiply(torch.from_numpy(x)).numpy().std(axis=0)
    assert abs(np.mean(there / here) - 1) < 0.05


def test_bad_models_say_why() -> None:
    with pytest.raises(DovetailError, match="1 LayerNorm"), on_crossbars(nn.LayerNorm(4)):
        pass
    broken = nn.Linear(2, 2)
    with torch.no_grad():
        broken.weight[1, 0] = float("nan")
    with pytest.raises(DovetailError, match=r"not finite.*\[1, 0\]"), on_crossbars(nn.Sequential(broken)):
        pass
