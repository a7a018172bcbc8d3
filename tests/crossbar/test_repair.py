"""Writing around defects: codes that come back, against every way there is to write them."""

from itertools import product

import numpy as np
import pytest

from dovetail.crossbar.adc import Adc
from dovetail.crossbar.arrange import arranged, fitted
from dovetail.crossbar.cells import ENCODINGS, Cells
from dovetail.crossbar.codes import Codes, FixedPoint
from dovetail.crossbar.columns import Arrays
from dovetail.crossbar.conductance import chips
from dovetail.crossbar.device import Device
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.layer import Layer, Setup, write
from dovetail.crossbar.reference import multiply_plainly
from dovetail.crossbar.repair import repaired
from dovetail.hardware.adc import adc_model


def held(layer: Layer) -> np.ndarray:
    """The codes that the cells stand for."""
    cells = layer.digits if layer.conductance is None else layer.conductance
    offset = layer.setup.cells.offset(layer.codes.grid.bits)
    return np.einsum("ps,psoi->oi", layer.worth.astype(float), cells) - offset


def layer_of(device: Device, encoding: str = "differential", bits: int = 8, seed: int = 0) -> Layer:
    weights = np.random.default_rng(seed).normal(size=(40, 60))
    return write(FixedPoint(bits).codes(weights), Setup(Cells(2, encoding), adc=Adc("ideal"), device=device, seed=seed))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_perfect_cells_are_written_as_ever(encoding: str) -> None:
    layer = layer_of(Device(), encoding)
    again = repaired(layer)
    assert again.conductance is None
    assert np.array_equal(again.digits, layer.digits)


@pytest.mark.parametrize("bits", [3, 5, 7, 8])
@pytest.mark.parametrize("cell", [1, 2, 4])
def test_balanced_codes_stay_balanced(bits: int, cell: int) -> None:
    """All codes, without defects and with: cells that need no repair hold balanced digits, not differential ones."""
    values = np.repeat(np.arange(-(2**bits) + 1, 2**bits, dtype=np.int32)[None], 8, axis=0)
    codes = Codes(values, np.ones((1, 1)), FixedPoint(bits))
    for device in (Device(), Device(stuck_low=0.02, stuck_high=0.02)):
        layer = write(codes, Setup(Cells(cell, "balanced"), adc=Adc("ideal"), device=device))
        again = repaired(layer)
        whole = (chips(layer.digits.shape, layer.setup.cells, device, 0)[0].stuck == 0).all(axis=(0, 1))
        assert np.array_equal(again.digits[:, :, whole], layer.digits[:, :, whole])


def test_arranged_columns_keep_their_digits() -> None:
    codes = FixedPoint(8).codes(np.random.default_rng(0).normal(size=(30, 50)))
    device = Device(stuck_low=0.01, stuck_high=0.01)
    layer = arranged(write(codes, Setup(arrays=Arrays(16, 16), adc=Adc("ideal"), device=device)), adc_model("paper"))
    assert layer.arrangement is not None
    assert 0 < layer.arrangement.balanced.mean() < 1
    again = fitted(repaired(layer), adc_model("paper"))
    whole = (chips(layer.digits.shape, layer.setup.cells, device, 0)[0].stuck == 0).all(axis=(0, 1))
    assert np.array_equal(again.digits[:, :, whole], layer.digits[:, :, whole])
    assert (again.statistics.highest <= again.converters.high).all()
    before, after = (np.square(held(each) - layer.codes.values).mean() for each in (layer, again))
    assert after < before / 4


@pytest.mark.parametrize("encoding", ["differential", "sign-magnitude"])
def test_stuck_cells_are_worked_around(encoding: str) -> None:
    layer = layer_of(Device(stuck_low=0.01, stuck_high=0.01), encoding)
    before, after = (np.abs(held(each) - layer.codes.values) for each in (layer, repaired(layer)))
    assert np.square(after).mean() < np.square(before).mean() / 20
    assert (after > 0).mean() < (before > 0).mean() / 10


def test_no_other_way_is_nearer() -> None:
    """Two slices and two planes: all ways to fill the cells that are not stuck, for every code."""
    grid, cells = FixedPoint(4), Cells(2)
    values = np.repeat(np.arange(-15, 16, dtype=np.int32)[None], 40, axis=0)
    setup = Setup(cells, adc=Adc("ideal"), device=Device(stuck_low=0.1, stuck_high=0.1), seed=3)
    layer = write(Codes(values, np.ones((1, 1)), grid), setup)
    stuck, near = chips(layer.digits.shape, cells, setup.device, 3)[0].stuck, held(repaired(layer))
    worse = 0
    for o, i in np.ndindex(values.shape):
        options = [[0] if s < 0 else [3] if s > 0 else range(4) for s in stuck[:, :, o, i].ravel()]
        best = min(abs(p0 + 4 * p1 - m0 - 4 * m1 - values[o, i]) for p0, p1, m0, m1 in product(*options))
        worse += abs(near[o, i] - values[o, i]) > best
    assert worse < 0.02 * values.size  # a slice below that is stuck too is not foreseen


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_spread_is_made_up_for_by_the_slices_below(encoding: str) -> None:
    layer = layer_of(Device(program_sigma=0.1, on_off=50), encoding)
    before, after = (np.square(held(each) - layer.codes.values).mean() for each in (layer, repaired(layer)))
    assert after < before / 4


def test_the_chip_is_the_same() -> None:
    """Where repair changes no digit, the cell conducts what it did before."""
    layer = layer_of(Device(program_sigma=0.1, stuck_low=0.02))
    again = repaired(layer)
    same = again.digits == layer.digits
    assert same.mean() > 0.5
    assert np.array_equal(again.conductance[same], layer.conductance[same])
    x = np.random.default_rng(1).integers(0, 256, (3, 60))
    assert np.allclose(Engine.of(again).multiply(x), multiply_plainly(again, x), rtol=1e-4, atol=1e-2)
