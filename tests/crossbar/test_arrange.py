"""Arranged layers compute the same, take what brute force counts, and no choice that was offered is cheaper."""

from dataclasses import replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.crossbar.adc import Adc
from dovetail.crossbar.arrange import ENCODINGS, Choosing, arranged, shared
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.columns import Arrays, digit_statistics, needed_bits, signed_bits
from dovetail.crossbar.cost import cost, work
from dovetail.crossbar.device import Device
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.exchange import Prices
from dovetail.crossbar.inputs import Inputs
from dovetail.crossbar.layer import Layer, Setup, write
from dovetail.crossbar.plan import MOST, choices, planned
from dovetail.crossbar.reference import multiply_plainly
from dovetail.hardware.adc import MODELS, adc_model

ISAAC = adc_model("isaac_cdac")


def layer_of(
    shape: tuple[int, int] = (40, 70), rows: int = 32, grid: FixedPoint | None = None, bits: int = 2, skew: float = 0.0
) -> Layer:
    rng = np.random.default_rng(1)
    weights = rng.standard_t(3, size=shape) * np.exp(skew * rng.normal(size=shape[1]))
    setup = Setup(Cells(bits), Arrays(rows, 16), Adc("ideal"), Inputs(6, True))
    return write((grid or FixedPoint(8)).codes(weights), setup)


def inputs_of(layer: Layer, count: int = 9) -> np.ndarray:
    return np.random.default_rng(2).integers(-32, 32, (count, layer.codes.shape[1])).astype(np.int32)


def real() -> Layer:
    layer = layer_of()
    return write(layer.codes, replace(layer.setup, device=Device(program_sigma=0.05)))


@pytest.mark.parametrize("encodings", [c for n in (1, 2, 3) for c in combinations(ENCODINGS, n)])
@pytest.mark.parametrize("grid", [FixedPoint(8), FixedPoint(7, "row"), FixedPoint(6, "group", 48)])
def test_outputs_are_those_of_the_layer_to_the_last_bit(encodings: tuple[str, ...], grid: FixedPoint) -> None:
    layer = layer_of(grid=grid)
    x = inputs_of(layer)
    wanted = x.astype(np.float64) @ layer.codes.weights().T
    assert np.array_equal(Engine.of(layer).multiply(x), wanted)
    found = arranged(layer, ISAAC, Choosing(encodings))
    assert np.array_equal(Engine.of(found).multiply(x), wanted)
    assert np.array_equal(multiply_plainly(found, x), wanted)


def test_every_conversion_is_counted_by_brute_force() -> None:
    """Every sum that inputs can make is held; conversions, converters and energy are those of loops over bitlines."""
    layer = arranged(layer_of((20, 50), rows=16), ISAAC, Choosing(widths=2))
    assert layer.arrangement is not None
    bits, counted, widths, energy = layer.converters.bits, 0, 0, 0.0
    for plane, slice_, tile in np.ndindex(*bits.shape[:3]):
        for block in range(0, 20, 16):
            there: set[int] = set()
            for output in range(block, min(block + 16, 20)):
                cells = layer.digits[plane, slice_, output, layer.tiles[tile]].astype(int)
                high, low = cells[cells > 0].sum(), cells[cells < 0].sum()
                width = int(bits[plane, slice_, tile, output])
                if high == low == 0:
                    assert width == 0
                    continue
                signed = bool(plane == 0 and layer.arrangement.paired[slice_, tile, output])
                reach = (-(2 ** (width - 1)), 2 ** (width - 1)) if signed else (0, 2**width)
                assert reach[0] <= low <= high < reach[1]
                there.add(width)
                counted += 1
                energy += float(ISAAC.energy_j(width)) * 6
            assert len(there) <= 2
            widths += len(there)
    done = work(layer)
    assert done.conversions.sum() == counted * 6
    assert done.converters.sum() == widths
    assert cost(done, ISAAC).energy_j["adc"] == pytest.approx(energy)
    assert done.conversions.sum() + done.skipped == bits.size * 6
    assert done.arrays == work(layer_of((20, 50), rows=16)).arrays


@pytest.mark.parametrize("name", MODELS)
def test_each_choice_saves_by_every_model(name: str) -> None:
    model, layer = adc_model(name), layer_of((48, 96), skew=1.0)
    plain = arranged(layer, model, Choosing(("differential",), 4, tries=0))
    ways = (("differential",), 1, 0), (("differential",), 4, 0), (ENCODINGS[:2], 4, 0), (ENCODINGS, 4, 0)
    made = [arranged(layer, model, Choosing(*way)) for way in (*ways, (ENCODINGS, 4, 2000))]
    found = [cost(work(each), model).energy_j["adc"] for each in made]
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(found))
    assert found[-1] < found[0]
    assert cost(work(plain), model).energy_j["adc"] == pytest.approx(found[1])


def test_no_choice_of_encodings_is_cheaper() -> None:
    """One tile of four columns and two slices: all ways to choose digits by column and currents by array."""
    rng = np.random.default_rng(5)
    close = 0
    for _ in range(20):
        values = np.rint(np.clip(rng.normal(size=(4, 12)) * 6, -15, 15)) / 16
        layer = write(FixedPoint(4).codes(values), Setup(Cells(2), Arrays(12, 4), Adc("ideal")))
        energy = ISAAC.energy_j(np.arange(13))
        found = arranged(layer, ISAAC, Choosing(widths=4))
        high = [digit_statistics(Cells(2, name).split(layer.codes), layer.starts).highest[:, :, 0] for name in
                ("differential", "balanced")]  # fmt: skip
        least = np.inf
        for ways in product((0, 1), repeat=4):
            sums = np.stack([high[way][:, :, o] for o, way in enumerate(ways)], axis=2)
            joint, alone = energy[signed_bits(sums[0], -sums[1])].sum(1), energy[needed_bits(sums)].sum((0, 2))
            least = min(least, float(np.minimum(joint, alone).sum()))
        needs = found.statistics
        bits = np.where(found.signed, signed_bits(needs.highest, needs.lowest), needs.bits)
        paid = float(energy[bits].sum())
        assert paid >= least * (1 - 1e-12)
        close += paid <= least * (1 + 1e-9)
    assert close >= 15  # turns may end in another minimum


def test_widths_are_the_cheapest() -> None:
    rng, prices = np.random.default_rng(3), Prices.of(adc_model("paper"))
    for widths in (1, 2, 3):
        bits = rng.integers(0, 8, (2, 3, 10))
        found = shared(bits, 5, widths, prices)
        assert (found >= bits).all()
        assert ((found > 0) == (bits > 0)).all()
        for first in (0, 5):
            for part, got in zip(
                bits[..., first : first + 5].reshape(-1, 5), found[..., first : first + 5].reshape(-1, 5)
            ):
                least = min(
                    sum(prices.energy[min(w for w in chosen if w >= b)] for b in part if b)
                    for chosen in combinations(range(13), widths) if max(chosen) >= part.max()
                )  # fmt: skip
                assert prices.energy[got].sum() == pytest.approx(least)
                assert len(set(got) - {0}) <= widths


def test_exchanges_level_tiles_and_stay_within_groups() -> None:
    """Large inputs all in one tile: exchanges spread or gather them, and the energy falls."""
    weights = np.random.default_rng(0).normal(size=(16, 64)) * np.where(np.arange(64) % 32 < 8, 1.0, 0.05)
    layer = write(FixedPoint(8, "group", 32).codes(weights), Setup(Cells(2), Arrays(16, 16), Adc("ideal")))
    stays, moves = (arranged(layer, ISAAC, Choosing(tries=tries)) for tries in (0, 2000))
    assert moves.arrangement is not None
    order = moves.arrangement.order
    assert sorted(order) == list(range(64))
    assert (order // 32 == np.arange(64) // 32).all()
    assert cost(work(moves), ISAAC).energy_j["adc"] < cost(work(stays), ISAAC).energy_j["adc"]


def test_plans_go_on_from_an_arranged_layer() -> None:
    layer = arranged(layer_of(), ISAAC)
    x = inputs_of(layer, 30)
    found = choices(layer, x, ISAAC)
    full = planned(layer, found, np.full(len(found.error), MOST))
    assert np.array_equal(Engine.of(full).multiply(x), Engine.of(layer).multiply(x))
    few = planned(layer, found, np.full(len(found.error), 3))
    assert np.allclose(Engine.of(few).multiply(x), multiply_plainly(few, x), rtol=1e-12)
    assert not np.array_equal(Engine.of(few).multiply(x), Engine.of(layer).multiply(x))


def test_torch_has_the_same_numbers() -> None:
    torch = pytest.importorskip("torch")
    from dovetail.crossbar.torch_engine import TorchEngine

    layer = arranged(layer_of(), ISAAC)
    x = inputs_of(layer)
    few = planned(layer, choices(layer, x, ISAAC), np.full(len(choices(layer, x, ISAAC).error), 3))
    for each in (layer, few):
        wanted = multiply_plainly(each, x)
        assert np.allclose(TorchEngine.of(Engine.of(each)).multiply(torch.from_numpy(x)).numpy(), wanted, rtol=1e-12)


def test_real_cells_keep_their_bitlines_apart() -> None:
    found = arranged(real(), ISAAC)
    assert found.arrangement is not None
    assert not found.arrangement.paired.any()
    x = inputs_of(found)
    assert np.allclose(Engine.of(found).multiply(x), multiply_plainly(found, x), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Choosing(("offset",)), "no choice of 'offset'"), (lambda: Choosing(()), "no encoding"),
        (lambda: Choosing(widths=0), "0 widths"), (lambda: Choosing(tries=-1), "-1 exchanges"),
        (lambda: arranged(write(layer_of().codes, Setup(Cells(2, "offset"))), ISAAC), "are not arranged"),
        (lambda: arranged(write(layer_of().codes, Setup(adc=Adc("uniform"))), ISAAC), "are not arranged"),
        (lambda: arranged(arranged(layer_of(), ISAAC), ISAAC), "already"),
        (lambda: arranged(real(), ISAAC, Choosing(("sign-magnitude",))), "real cells"),
        (lambda: arranged(layer_of((4, 4000), rows=4000, bits=4), ISAAC), "no converter holds"),
    ],
)  # fmt: skip
def test_bad_arrangements_are_one_sentence(make: object, words: str) -> None:
    with pytest.raises(DovetailError, match=words):
        make()  # type: ignore[operator]
