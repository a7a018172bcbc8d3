"""Rotations are orthogonal, spread what they turn, and are what their definition says."""

import numpy as np
import pytest
import torch

from dovetail.recipe.arithmetic.hadamard import Rotation, paley, rotation


def matrix(turn: Rotation) -> np.ndarray:
    return np.asarray(turn(torch.eye(turn.size, dtype=torch.float64)))


@pytest.mark.parametrize("order", [1, 4, 8, 12, 20, 24, 28, 36, 44, 60, 76, 104, 148, 180])
def test_matrices_of_paley_are_hadamard(order: int) -> None:
    found = paley(order)
    assert set(np.unique(found)) <= {-1.0, 1.0}
    assert np.array_equal(found @ found.T, order * np.eye(order))


@pytest.mark.parametrize("order", [0, 2, 3, 16, 40, 92])
def test_other_orders_are_not_made(order: int) -> None:
    with pytest.raises(ValueError, match=f"order {order}$"):
        paley(order)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 12, 40, 64, 96, 172, 256, 896, 1152, 1536])
def test_orthogonal_at_every_size(size: int) -> None:
    found = matrix(rotation(size, 1))
    assert np.abs(found @ found.T - np.eye(size)).max() < 1e-13


@pytest.mark.parametrize("size", [64, 80, 896, 1152, 2560, 2880, 3584, 5376, 6144])
def test_widths_of_models_have_entries_of_one_size(size: int) -> None:
    """So that an outlier of any channel is spread over all: max |R_ij| = 1/sqrt(size), the least there can be."""
    turn = rotation(size, 0)
    one = torch.zeros(size, dtype=torch.float64)
    one[size // 3] = 1.0
    assert np.allclose(turn(one).abs().numpy() * size**0.5, 1.0, atol=1e-12)


@pytest.mark.parametrize("size", [8, 24, 56])
def test_the_product_of_factors_is_the_dense_matrix(size: int) -> None:
    turn = rotation(size, 5)
    dense = turn.base
    while len(dense) < size:  # S_2n = [[S, S], [S, -S]], each with the base inside
        dense = np.block([[dense, dense], [dense, -dense]]) / 2**0.5
    expected = np.diag(turn.signs) @ dense
    x = torch.randn(3, 2, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert np.allclose(turn(x).numpy(), x.numpy() @ expected, atol=1e-12)


def test_a_seed_decides() -> None:
    assert np.array_equal(matrix(rotation(28, 3)), matrix(rotation(28, 3)))
    assert not np.array_equal(matrix(rotation(28, 3)), matrix(rotation(28, 4)))
