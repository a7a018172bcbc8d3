"""Rounding and packing against float64 NumPy, brute force over all levels, and compressed-tensors itself."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.recipe.arithmetic import rounding
from dovetail.recipe.scheme import Scheme
from dovetail.runtime.packed import dequantise, pack, pack_zeros, unpack, unpack_zeros

BITS = (2, 3, 4, 5, 6, 7, 8)


def random_weight(rows: int, cols: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed)).to(dtype)


def absmax_scale(weight: torch.Tensor, bits: int, group: int = 0) -> torch.Tensor:
    scale, zero = rounding.grid(weight, Scheme(bits, group))
    assert zero is None
    return scale


def quantise(weight: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    return rounding.quantise(weight, scale, None, Scheme(bits, weight.shape[1] // scale.shape[1]))


def scheme(bits: int, group: int, symmetric: bool = True) -> Any:
    from compressed_tensors.quantization import QuantizationArgs

    strategy = "group" if group else "channel"
    return QuantizationArgs(num_bits=bits, type="int", symmetric=symmetric, strategy=strategy, group_size=group or None)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [0, 4, 16])
def test_scales_steps_and_floats_are_those_of_compressed_tensors(bits: int, group: int) -> None:
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    weight = random_weight(6, 48)
    groups = weight.reshape(6, -1, group or 48)
    expected_scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), scheme(bits, group))
    scale = absmax_scale(weight, bits, group)
    assert torch.equal(scale, expected_scale)
    steps = quantise(weight, scale, bits)
    assert torch.equal(steps, quantize(weight, scale, zero, scheme(bits, group), dtype=torch.int8))
    assert torch.equal(dequantise(steps, scale), dequantize(steps, scale, args=scheme(bits, group)))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("cols", [1, 7, 31, 32, 33, 64, 172, 100])
def test_words_are_those_of_compressed_tensors(bits: int, cols: int) -> None:
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32

    source = torch.Generator().manual_seed(cols)
    steps = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (5, cols), generator=source).to(torch.int8)
    words = pack(steps, bits)
    assert torch.equal(words, pack_to_int32(steps, bits))
    assert words.shape == (5, -(-cols * bits // 32))
    assert torch.equal(unpack(words, bits, cols), steps)
    assert torch.equal(unpack_from_int32(words, bits, steps.shape), steps)


@given(bits=st.sampled_from(BITS), cols=st.integers(1, 70), rows=st.integers(1, 4), seed=st.integers(0, 99))
def test_packing_loses_nothing_and_is_one_stream_of_bits(bits: int, cols: int, rows: int, seed: int) -> None:
    half = 2 ** (bits - 1)
    steps = np.random.default_rng(seed).integers(-half, half, (rows, cols), dtype=np.int8)
    words = pack(torch.from_numpy(steps), bits)
    for row, stored in zip(steps, words.numpy()):
        number = int.from_bytes(stored.astype("<i4").tobytes(), "little")
        assert number == sum((int(step) + half) << (i * bits) for i, step in enumerate(row))
    assert (unpack(words, bits, cols).numpy() == steps).all()


def test_large_matrices_are_packed_in_pieces_without_a_seam() -> None:
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    steps = torch.randint(-4, 4, (700, 1024), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    assert torch.equal(pack(steps, 3), pack_to_int32(steps, 3))


@given(bits=st.sampled_from(BITS), seed=st.integers(0, 50), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_no_level_is_nearer_than_the_one_chosen(bits: int, seed: int, dtype: torch.dtype) -> None:
    """Brute force in float64 over all levels, with the scale that is stored."""
    weight = random_weight(3, 16, seed, dtype)
    scale = absmax_scale(weight, bits, 8)
    levels = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    exact = weight.double().numpy().reshape(3, 2, 8)
    grid = levels * scale.double().numpy()[..., None]  # (3, 2, levels)
    nearest = np.abs(exact[..., None] - grid[:, :, None, :]).min(-1)
    chosen = quantise(weight, scale, bits).double().numpy().reshape(3, 2, 8) * scale.double().numpy()[..., None]
    np.testing.assert_allclose(np.abs(exact - chosen), nearest, rtol=1e-5, atol=1e-6)


@given(bits=st.sampled_from(BITS), group=st.sampled_from([0, 4, 8, 32]), seed=st.integers(0, 50))
def test_the_error_is_at_most_half_a_step(bits: int, group: int, seed: int) -> None:
    weight = random_weight(4, 64, seed)
    scale = absmax_scale(weight, bits, group)
    error = (dequantise(quantise(weight, scale, bits), scale) - weight).abs().reshape(*scale.shape, -1)
    assert bool((error <= scale.unsqueeze(-1) * (0.5 + 1e-4)).all())


@given(seed=st.integers(0, 50), group=st.sampled_from([0, 4, 16]))
def test_more_bits_and_smaller_groups_err_less(seed: int, group: int) -> None:
    weight = random_weight(8, 64, seed)

    def error(bits: int, size: int) -> float:
        scale = absmax_scale(weight, bits, size)
        return float((dequantise(quantise(weight, scale, bits), scale) - weight).square().mean())

    errors = [error(bits, group) for bits in BITS]
    assert errors == sorted(errors, reverse=True)
    assert error(4, 4) < error(4, 0)


def test_zero_stays_zero() -> None:
    weight = random_weight(4, 32)
    weight[:, ::2] = 0
    weight[1] = 0  # a whole group without a weight
    for bits in BITS:
        scale = absmax_scale(weight, bits, 16)
        found = dequantise(quantise(weight, scale, bits), scale)
        assert bool((found[weight == 0] == 0).all())
        assert bool(scale.isfinite().all())
        assert bool((scale > 0).all())


def test_a_second_rounding_changes_nothing_at_eight_bits() -> None:
    weight = random_weight(4, 32).double()
    scale = absmax_scale(weight, 8)
    once = dequantise(quantise(weight, scale, 8), scale)
    assert torch.equal(dequantise(quantise(once, scale, 8), scale), once)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [0, 4, 16])
@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_zero_points_are_those_of_compressed_tensors(bits: int, group: int, shift: float) -> None:
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    weight, ours = random_weight(6, 48) + shift, Scheme(bits, group, symmetric=False)
    groups, theirs = weight.reshape(6, -1, group or 48), scheme(bits, group, symmetric=False)
    expected, expected_zero = calculate_qparams(groups.amin(-1), groups.amax(-1), theirs)
    scale, zero = rounding.grid(weight, ours)
    assert zero is not None
    assert torch.equal(scale, expected)
    assert torch.equal(zero, expected_zero.to(torch.int8))
    steps = rounding.quantise(weight, scale, zero, ours)
    assert torch.equal(steps, quantize(weight, scale, expected_zero, theirs, dtype=torch.int8))
    floats = dequantise(steps, scale, zero)
    assert torch.equal(floats, dequantize(steps, scale, expected_zero, args=theirs))
    assert torch.equal(floats, rounding.nearest(weight, scale, zero, ours))
    words = pack_zeros(zero, bits)
    assert torch.equal(words, pack_to_int32(expected_zero.to(torch.int8), bits, packed_dim=0))
    assert torch.equal(unpack_zeros(words, bits, 6), zero)


def test_e4m3_has_its_greatest_value_at_the_greatest_weight() -> None:
    weight, fp8 = random_weight(4, 32), Scheme(8, 0, act_bits=8, kind="float")
    scale, _ = rounding.grid(weight, fp8)
    steps = rounding.quantise(weight, scale, None, fp8)
    assert steps.dtype == torch.float8_e4m3fn
    assert steps.float().abs().amax(1).tolist() == [448.0] * 4
    error = (rounding.nearest(weight, scale, None, fp8) - weight).abs() / weight.abs()
    assert float(error[weight.abs() > 0.02].max()) <= 2**-4  # half a step of three bits of mantissa
