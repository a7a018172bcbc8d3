"""The simulator against independent loops over integers, closed forms and its own plain definition."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.crossbar.adc import Adc
from dovetail.crossbar.cells import ENCODINGS, Cells
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.columns import Arrays
from dovetail.crossbar.device import Device
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.folded import lossless
from dovetail.crossbar.inputs import Inputs
from dovetail.crossbar.kernels.library import find
from dovetail.crossbar.layer import Layer, Setup, write
from dovetail.crossbar.reference import multiply_plainly


def layer_of(setup: Setup, grid: FixedPoint | None = None, outputs: int = 9, inputs: int = 37, seed: int = 0) -> Layer:
    weights = np.random.default_rng(seed).normal(size=(outputs, inputs))
    return write((grid or FixedPoint(8)).codes(weights), setup)


def vectors_of(layer: Layer, count: int = 5, seed: int = 1) -> np.ndarray:
    wanted = layer.setup.inputs
    x = np.random.default_rng(seed).integers(wanted.lowest, wanted.highest + 1, (count, layer.codes.shape[1]))
    x[0] = wanted.lowest
    x[-1] = wanted.highest
    return x


@cache
def least(value: int, radix: int, slices: int) -> list[int]:
    """Signed digits of a magnitude, the lowest first, with the least sum of levels, then the fewest that are not 0."""
    if slices == 1:
        return [value] if abs(value) < radix else []
    ways = []
    for digit in (value % radix, value % radix - radix):
        rest = least((value - digit) // radix, radix, slices - 1) if abs(digit) < radix else []
        if rest:
            ways.append([digit, *rest])
    return min(ways, key=lambda way: (sum(map(abs, way)), sum(d != 0 for d in way), way), default=[])


def loops(weights: list[list[int]], x: list[int], setup: Setup, bits: int, cap: int | None) -> Iterator[int]:
    """Outputs of integer codes by nothing but Python integers: cells, cycles and saturating converters, one by one."""
    cells, width = setup.cells, setup.inputs.bits
    radix, rows = 1 << cells.bits, setup.arrays.rows
    for line in weights:
        total = 0
        for first in range(0, len(line), rows):
            tile = range(first, min(first + rows, len(line)))
            for cycle in range(width):
                on = [(x[i] % (1 << width)) >> cycle & 1 for i in tile]
                place = -(1 << cycle) if setup.inputs.signed and cycle == width - 1 else 1 << cycle
                for s in range(-(-(bits + (cells.encoding == "offset")) // cells.bits)):
                    if cells.encoding == "differential":
                        planes = [(1, [max(line[i], 0) for i in tile]), (-1, [max(-line[i], 0) for i in tile])]
                    elif cells.encoding == "balanced":
                        held = [least(abs(line[i]), radix, -(-bits // cells.bits)) for i in tile]
                        held = [d if line[i] >= 0 else [-v for v in d] for d, i in zip(held, tile)]
                        planes = [(sign, [max(sign * d[s], 0) * radix**s for d in held]) for sign in (1, -1)]
                    elif cells.encoding == "offset":
                        planes = [(1, [line[i] + (1 << bits) for i in tile])]
                    else:
                        planes = [(1, [line[i] for i in tile])]
                    for sign, stored in planes:
                        digits = [(abs(w) // radix**s % radix) * (-1 if w < 0 else 1) for w in stored]
                        q = sum(d for d, o in zip(digits, on) if o)
                        if cap is not None and cells.signed:
                            q = max(min(q, (1 << cap - 1) - 1), -(1 << cap - 1))
                        elif cap is not None:
                            q = min(q, (1 << cap) - 1)
                        total += sign * place * radix**s * q
                if cells.encoding == "offset":
                    total -= place * (1 << bits) * sum(on)
        yield total


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("cell", "bits"), [(1, 5), (2, 8), (4, 8)])
@pytest.mark.parametrize("adc", [None, 2, 4, 5])
def test_no_difference_from_plain_integers(encoding: str, signed: bool, cell: int, bits: int, adc: int | None) -> None:
    converter = Adc("ideal") if adc is None else Adc("saturating", adc)
    setup = Setup(Cells(cell, encoding), Arrays(16, 8), converter, Inputs(6, signed))
    layer = layer_of(setup, FixedPoint(bits))
    x = vectors_of(layer)
    got = Engine.of(layer).multiply(x) / layer.codes.steps[0, 0]
    wanted = [list(loops(layer.codes.values.tolist(), row, setup, bits, adc)) for row in x.tolist()]
    assert got.tolist() == wanted
    assert (multiply_plainly(layer, x) / layer.codes.steps[0, 0]).tolist() == wanted
    if adc is None:
        assert wanted == (x @ layer.codes.values.T).tolist()


KINDS = [Adc("saturating", 4), Adc("saturating", (3, 5, 4, 2)), Adc("uniform", 4), Adc("uniform", (6, 3, 3, 1))]


@pytest.mark.parametrize("adc", KINDS, ids=str)
@pytest.mark.parametrize("encoding", ["differential", "sign-magnitude"])
@pytest.mark.parametrize("grid", [FixedPoint(8), FixedPoint(8, "row"), FixedPoint(8, "group", 48)])
@pytest.mark.parametrize("rows", [7, 64, 128, 300])
def test_the_engine_is_the_definition(adc: Adc, encoding: str, grid: FixedPoint, rows: int) -> None:
    setup = Setup(Cells(2, encoding), Arrays(rows, 64), adc, Inputs(8, True))
    layer = layer_of(setup, grid, 21, 200)
    x = vectors_of(layer)
    plain = multiply_plainly(layer, x)
    for variant in find() or {"": None}:
        found = Engine.of(layer).multiply(x, variant=variant)
        assert np.allclose(found, plain, rtol=1e-12, atol=1e-9 * np.abs(plain).max())
        if adc.kind == "saturating":
            assert np.array_equal(found, plain)


def test_the_same_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of(Setup(adc=Adc("saturating", 5), arrays=Arrays(32, 32)), inputs=100)
    x, fast = vectors_of(layer), Engine.of(layer)
    with_kernel = fast.multiply(x)
    monkeypatch.setenv("DOVETAIL_KERNELS", "off")
    assert np.array_equal(fast.multiply(x), with_kernel)


def test_a_bitline_is_folded_exactly_where_no_inputs_can_clip() -> None:
    """The bound is tight: where it says lossy, all inputs on do lose; where it says lossless, they do not."""
    layer = layer_of(Setup(adc=Adc("saturating", 4), arrays=Arrays(16, 16)), outputs=30, inputs=64)
    exact = lossless(layer)
    assert 0 < exact.mean() < 1
    on = np.add.reduceat(layer.digits, layer.starts, axis=3, dtype=np.int64).transpose(0, 1, 3, 2)
    assert np.array_equal(exact, on <= 15)


def test_long_sums_stay_exact() -> None:
    """Sums beyond 2**24, which float32 could not hold in one product."""
    layer = layer_of(Setup(adc=Adc("ideal")), outputs=3, inputs=2000)
    x = np.full((1, 2000), 255)
    assert np.array_equal(Engine.of(layer).multiply(x) / layer.codes.steps[0, 0], x @ layer.codes.values.T)
    heavy = write(FixedPoint(8).codes(np.ones((2, 2000))), Setup(adc=Adc("saturating", 9)))
    assert Engine.of(heavy).multiply(x)[0, 0] / heavy.codes.steps[0, 0] == 2000 * 255 * 255


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_read_noise_has_the_moments_of_every_cell_by_itself(encoding: str) -> None:
    sigma, setup = 0.3, Setup(Cells(2, encoding), Arrays(16, 8), Adc("ideal"), Inputs(3), Device(read_sigma=0.3))
    layer = layer_of(setup, FixedPoint(4), 400, 16)
    x = np.tile(np.arange(16) % 8, (50, 1))
    noise = Engine.of(layer).multiply(x, seed=5) - x @ layer.codes.values.T * layer.codes.steps[0, 0]
    live = (layer.statistics.highest > layer.statistics.lowest)[:, :, 0]
    cells = sum(4**i * int(np.sum(x[0] >> i & 1)) for i in range(3)) * (2 if encoding == "sign-magnitude" else 1)
    worth = (layer.worth[:, :, None] ** 2 * live).sum(axis=(0, 1))
    scaled = noise / (sigma * layer.codes.steps[0, 0] * np.sqrt(cells * worth))
    assert abs(scaled.mean()) < 4 / np.sqrt(scaled.size)
    assert abs(scaled.var() - 1) < 4 * np.sqrt(2 / scaled.size)
    assert abs((scaled**4).mean() - 3) < 4 * np.sqrt(96 / scaled.size)


def test_noise_before_a_converter_has_the_definitions_distribution() -> None:
    """Rounded and cut, noise is no longer normal: the collapsed draw must still give what every cell gives."""
    setup = Setup(Cells(2), Arrays(16, 8), Adc("saturating", 3), Inputs(2), Device(read_sigma=0.6))
    layer = layer_of(setup, FixedPoint(4), 60, 16)
    x = np.tile(np.arange(16) % 4, (300, 1))
    fast, plain = Engine.of(layer).multiply(x), multiply_plainly(layer, x)
    error = np.sqrt(fast.var(axis=0) / 300 + plain.var(axis=0) / 300)
    assert np.abs((fast.mean(axis=0) - plain.mean(axis=0)) / error).max() < 4.5
    assert 0.9 < fast.var(axis=0).sum() / plain.var(axis=0).sum() < 1.1


def test_noise_is_of_the_seed() -> None:
    layer = layer_of(Setup(device=Device(read_sigma=0.2)))
    x, fast = vectors_of(layer), Engine.of(layer)
    assert np.array_equal(fast.multiply(x, seed=3), fast.multiply(x, seed=3))
    assert not np.array_equal(fast.multiply(x, seed=3), fast.multiply(x, seed=4))


REAL = [
    Device(program_sigma=0.1), Device(stuck_low=0.05, stuck_high=0.05), Device(on_off=20),
    Device(on_off=20, off_column=False), Device(drift=0.05, drift_sigma=0.01, seconds=1e4),
    Device(retention_s=1e6, seconds=1e5, kelvin=330), Device(wire=3e-3),
]  # fmt: skip


@pytest.mark.parametrize("device", REAL, ids=str)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("adc", [Adc("ideal"), Adc("uniform", 7)], ids=str)
def test_real_cells_by_the_engine_are_the_definition(device: Device, encoding: str, adc: Adc) -> None:
    layer = layer_of(Setup(Cells(2, encoding), Arrays(16, 8), adc, Inputs(5, True), device, seed=7))
    x = vectors_of(layer)
    fast, plain = Engine.of(layer).multiply(x), multiply_plainly(layer, x)
    ideal = x @ layer.codes.weights().T
    far = np.abs(fast - plain).max()
    assert far <= (1e-5 if adc.kind == "ideal" else 2e-2) * np.abs(ideal).max()  # a float32 sum on a threshold
    assert device.on_off == 20 or far < 0.5 * np.abs(plain - ideal).max()  # what is only offset is subtracted again


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Adc("saturating", 0), "ADC of 0 bits.*1 to 12"),
        (lambda: Adc("saturating", 20), "ADC of 20 bits.*1 to 12"),
        (lambda: Adc("saturate"), "saturating"),
        (lambda: layer_of(Setup(adc=Adc("saturating", (3, 3)))), "2 numbers of bits, 4 slices"),
        (lambda: Device(on_off=-3), "on/off ratio of -3"),
        (lambda: Device(on_off=float("nan")), "on/off"),
        (lambda: Device(stuck_low=1.5), "share"),
        (lambda: Device(stuck_low=0.7, stuck_high=0.7), "more cells"),
        (lambda: Device(read_sigma=-1), "read_sigma"),
        (lambda: Inputs(0), "inputs of 0 bits"),
        (lambda: Engine.of(layer_of(Setup())).multiply(np.full((1, 37), 256)), "0 to 255"),
        (lambda: Engine.of(layer_of(Setup())).multiply(np.full((1, 37), 0.5)), "integers"),
        (lambda: Engine.of(layer_of(Setup())).multiply(np.zeros((1, 36), int)), "37 inputs"),
    ],
)
def test_bad_input_says_why(make: object, word: str) -> None:
    with pytest.raises(DovetailError, match=word):
        make()  # type: ignore[operator]
