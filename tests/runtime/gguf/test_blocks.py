"""Block formats against the ``gguf`` package: layout bit by bit, and rounding that is no worse than its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.formats import Format
from dovetail.runtime.gguf.blocks import BLOCKS, SIZE, Block, Blocks, rounded
from dovetail.runtime.gguf.carry import Choice, carried, chosen

gguf = pytest.importorskip("gguf")
KINDS = [pytest.param(kind, id=kind.name) for kind in BLOCKS.values()]


def read(packed: np.ndarray, kind: Block) -> np.ndarray:
    return gguf.quants.dequantize(packed, gguf.GGMLQuantizationType[kind.name])


@pytest.mark.parametrize("kind", KINDS)
def test_every_integer_is_where_readers_look_for_it(kind: Block) -> None:
    rng = np.random.default_rng(0)
    steps = rng.integers(-kind.half, kind.half, (5, 3, SIZE)).astype(np.int8)
    steps[0, 0, :2] = -kind.half, kind.half - 1
    scale, low = rng.uniform(1e-4, 3, (2, 5, 3)).astype(np.float16)
    blocks = Blocks(kind, steps, scale, -low if kind.minimum else None)
    assert blocks.packed().shape == (5, kind.row_bytes(3 * SIZE))
    assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind.name]] == (SIZE, kind.bytes)
    assert np.array_equal(read(blocks.packed(), kind), blocks.values())


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 10**6), spread=st.sampled_from([1e-5, 0.02, 1.0, 500.0]), shift=st.sampled_from([0, 0.5, -3])
)
def test_rounding_is_to_the_nearest_level_and_no_worse_than_ggmls(
    kind: Block, seed: int, spread: float, shift: float
) -> None:
    values = (np.random.default_rng(seed).standard_normal((4, 2 * SIZE)) + shift).astype(np.float32) * np.float32(
        spread
    )
    blocks = rounded(values, kind)
    ours = read(blocks.packed(), kind).reshape(-1, SIZE)
    wanted = values.reshape(-1, SIZE)
    scale, low = (None if x is None else x.reshape(8, 1) for x in (blocks.scale, blocks.low))
    assert scale is not None
    every = np.tile(np.arange(-kind.half, kind.half, dtype=np.int8), (8, 1))[:, None, :]
    levels = Blocks(kind, every, scale, low).values()
    best = np.abs(wanted[:, :, None] - levels[:, None, :]).min(-1)
    step = np.abs(blocks.scale.astype(np.float32)).reshape(-1, 1)
    assert (np.abs(ours - wanted) <= best + 1e-3 * step + 1e-9).all()
    theirs = read(gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind.name]), kind).reshape(-1, SIZE)
    slack = 1e-3 * step[:, 0] ** 2 * SIZE + 1e-12
    assert (np.square(ours - wanted).sum(-1) <= np.square(theirs - wanted).sum(-1) + slack).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_of_one_value_is_kept(kind: Block) -> None:
    values = np.repeat(np.array([[0.0], [0.25], [-2.0]], np.float32), SIZE, 1)
    assert np.allclose(rounded(values, kind).values(), values, rtol=2**-10)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("zeros", [False, True], ids=["symmetric", "zeros"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_integers_are_carried_over_as_they_are(bits: int, zeros: bool, groups: int) -> None:
    cols, top, rng = 128, 2 ** (bits - 1), np.random.default_rng(bits)
    choice = chosen(Format(f"int{bits}", bits, packed=True, group=cols // groups, zeros=zeros), cols)
    if zeros and bits == 8:
        assert choice == Choice("Q8_0", False)
        return
    assert choice.carried
    assert choice.block is not None
    steps = rng.integers(-top, top, (6, cols)).astype(np.int8)
    steps[:, :2] = -top, top - 1
    zero = rng.integers(-top, top, (6, groups)).astype(np.int8) if zeros else None
    if zero is not None:
        zero[:2] = [[-top], [top - 1]]
    scale = rng.uniform(0.001, 0.1, (6, groups)).astype(np.float16).astype(np.float32)
    found = read(carried(steps, scale, zero, choice.block, bits).packed(), choice.block)
    points = np.zeros((6, groups)) if zero is None else zero.astype(np.float64)
    exact = (steps - np.repeat(points, cols // groups, 1)) * np.repeat(scale, cols // groups, 1).astype(np.float64)
    low = np.repeat((np.abs(points) + top) * scale, cols // groups, 1) if choice.block.minimum else 0
    assert (np.abs(found - exact) <= 2.0**-11 * low + 1e-6 * np.abs(exact)).all()  # half a step of 11 bits


@pytest.mark.parametrize(("form", "cols", "choice"), [
    (Format("int4", 4, packed=True, group=16), 64, Choice("Q4_0", False)),
    (Format("int4", 4, packed=True, group=43), 172, Choice("F16", False)),
    (Format("int4", 4, packed=True, group=0), 96, Choice("Q4_0", True)),
    (Format("int8", 8, block=(1, 0)), 96, Choice("Q8_0", True)),
    (Format("int8", 8, block=(1, 0), zeros=True), 96, Choice("Q8_0", False)),
    (Format("fp8", 8, block=(1, 0)), 96, Choice("Q8_0", False)),
    (Format("int5", 5, packed=True, group=32, zeros=True), 96, Choice("Q5_1", True)),
    (Format("int3", 3, packed=True, group=32, zeros=True), 96, Choice("Q4_0", True)),
], ids=str)  # fmt: skip
def test_what_fits_no_block_is_rounded_again(form: Format, cols: int, choice: Choice) -> None:
    assert chosen(form, cols) == choice
