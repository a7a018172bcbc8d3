"""Packed keys and values: their bytes read one by one with NumPy, errors within half a step, sizes as predicted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.model.kv_groups import KVGroups
from dovetail.runtime.cache.packing import packed, unpacked


def bf16(codes: np.ndarray) -> np.ndarray:
    """Floats of pairs of bytes: the upper half of an fp32, little-endian."""
    words = codes.reshape(*codes.shape[:-1], -1, 2).astype(np.uint32)
    return ((words[..., 0] | words[..., 1] << 8) << 16).astype(np.uint32).view(np.float32).astype(np.float64)


def read(codes: np.ndarray, channels: int, groups: KVGroups) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Keys, values and their steps of one group, as KIVI describes them: keys by channel, values by token."""
    size, shares, wide = groups.size, channels // groups.shared(channels), groups.size * channels * groups.bits // 8

    def integers(some: np.ndarray) -> np.ndarray:
        rows = some.reshape(size, -1)
        return rows if groups.bits == 8 else np.concatenate((rows & 15, rows >> 4), 1)

    ends = np.cumsum([wide, 4 * channels, wide])
    key_codes, key_scales, value_codes, value_scales = np.split(codes, ends)
    scale, zero = bf16(key_scales.reshape(2, -1))
    keys, steps = integers(key_codes) * scale + zero, np.broadcast_to(scale, (size, channels))
    each = bf16(value_scales.reshape(size, 2, -1))
    scale, zero = (np.repeat(each[:, part], channels // shares, 1) for part in (0, 1))
    return keys, integers(value_codes) * scale + zero, steps, scale


@given(bits=st.sampled_from([4, 8]), size=st.integers(1, 40), channels=st.sampled_from([2, 16, 64, 80]),
       share=st.sampled_from([1, 8, 32, 64]), shift=st.floats(-50, 50), seed=st.integers(0, 99))  # fmt: skip
def test_numbers_come_back_within_half_a_step(
    bits: int, size: int, channels: int, share: int, shift: float, seed: int
) -> None:
    groups, source = KVGroups(bits, size, share), torch.Generator().manual_seed(seed)
    given_keys, given_values = (torch.randn(3, size, channels, generator=source) + shift for _ in range(2))
    codes = packed(given_keys, given_values, groups)
    assert codes.shape == (3, groups.group_bytes(channels, channels))
    found_keys, found_values = unpacked(codes, channels, groups)
    for index in range(3):
        keys, values, key_step, value_step = read(codes[index].numpy(), channels, groups)
        np.testing.assert_allclose(found_keys[index], keys, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found_values[index], values, rtol=1e-5, atol=1e-5)
        assert (abs(keys - given_keys[index].numpy()) <= 0.5001 * key_step + 1e-5).all()
        assert (abs(values - given_values[index].numpy()) <= 0.5001 * value_step + 1e-5).all()


def test_a_step_is_the_range_over_the_levels() -> None:
    """But for what bf16 rounds: less than one in a hundred here."""
    source = torch.Generator().manual_seed(1)
    keys, values = (torch.randn(1, 32, 64, generator=source) for _ in range(2))
    for bits in (4, 8):
        groups = KVGroups(bits)
        _, _, key_step, value_step = read(packed(keys, values, groups)[0].numpy(), 64, groups)
        wanted = (keys.amax(1) - keys.amin(1)) / (2**bits - 1)
        np.testing.assert_allclose(key_step[:1], wanted, rtol=0.02)
        rows = values.reshape(32, 2, 32)
        wanted = ((rows.amax(2) - rows.amin(2)) / (2**bits - 1)).repeat_interleave(32, 1)
        np.testing.assert_allclose(value_step, wanted, rtol=0.02)


def test_equal_numbers_have_no_step() -> None:
    same = torch.full((1, 8, 16), 3.0)
    found = unpacked(packed(same, torch.zeros_like(same), KVGroups(4, 8)), 16, KVGroups(4, 8))
    torch.testing.assert_close(found[0], same, rtol=0.01, atol=0)
    assert torch.equal(found[1], torch.zeros_like(same))


@given(tokens=st.integers(0, 500), size=st.integers(1, 64), bits=st.sampled_from([4, 8]))
def test_bytes_grow_by_tokens_and_shrink_where_a_group_is_full(tokens: int, size: int, bits: int) -> None:
    groups = KVGroups(bits, size, 32)
    wanted = tokens // size * (size * 64 * 2 * bits // 8 + 64 * 4 + size * 2 * 4) + tokens % size * 64 * 2 * 4
    assert groups.bytes(tokens, 64, 64, 4) == wanted


@pytest.mark.parametrize("wrong", [{"bits": 3}, {"size": 0}, {"share": 0}, {"size": 5000}], ids=str)
def test_groups_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(DovetailError):
        KVGroups(**wrong)
