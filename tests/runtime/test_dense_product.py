"""Products of float weights with few tokens, against float64."""

from __future__ import annotations

import pytest
import torch

from dovetail.runtime.kernels.dense import MOST, DenseProduct
from dovetail.runtime.kernels.library import CHOICE, Library, find

FOUND = find()
pytestmark = pytest.mark.skipif(not isinstance(FOUND, Library), reason="no kernels on this computer")
VARIANTS = FOUND.variants if isinstance(FOUND, Library) else ()


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(CHOICE, request.param)
    return str(request.param)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (16, 16), (33, 50), (130, 257), (256, 768)])
@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 5, 6, 7, 8, 17, MOST, MOST + 1])
@pytest.mark.parametrize("biased", [False, True])
def test_against_float64(variant: str, shape: tuple[int, int], tokens: int, biased: bool) -> None:
    source = torch.Generator().manual_seed(tokens)
    weight = torch.randn(*shape, generator=source)
    bias = torch.randn(shape[0], generator=source) if biased else None
    x = torch.randn(tokens, shape[1], generator=source)
    expected = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    scale = (x.double().abs() @ weight.double().abs().T) + 1.0
    found = DenseProduct(weight, bias)(x)
    assert found.shape == (tokens, shape[0])
    assert bool(((found.double() - expected).abs() <= 3e-7 * scale).all())


def test_each_token_is_multiplied_by_itself(variant: str) -> None:
    """A row that is not finite harms no other, and shapes are kept."""
    weight, x = torch.randn(40, 30), torch.randn(2, 3, 30)
    x[1, 1] = float("inf")
    found = DenseProduct(weight)(x)
    assert found.shape == (2, 3, 40)
    assert found.isfinite().all(-1).tolist() == [[True] * 3, [True, False, True]]


def test_what_kernels_cannot_take_goes_to_torch() -> None:
    weight = torch.randn(8, 6)
    x = torch.randn(4, 6)
    expected = x @ weight.T
    torch.testing.assert_close(DenseProduct(weight.double())(x.double()).float(), expected)
    torch.testing.assert_close(DenseProduct(weight.T.contiguous().T)(x), expected)
    strided = torch.randn(4, 12)[:, ::2]
    torch.testing.assert_close(DenseProduct(weight)(strided), strided @ weight.T)
    with torch.enable_grad():
        wanted = x.clone().requires_grad_()
        DenseProduct(weight)(wanted).sum().backward()
        assert wanted.grad is not None
    with pytest.raises(RuntimeError):
        DenseProduct(weight)(torch.randn(4, 5))


def test_weights_are_not_copied() -> None:
    weight = torch.randn(16, 16)
    product, x = DenseProduct(weight), torch.ones(1, 16)
    weight.zero_()
    assert product(x).abs().max() == 0


def test_threads_give_the_same_bits() -> None:
    weight, x, threads = torch.randn(4096, 256), torch.randn(5, 256), torch.get_num_threads()
    product = DenseProduct(weight)
    try:
        torch.set_num_threads(1)
        alone = product(x)
        torch.set_num_threads(3)
        assert torch.equal(product(x), alone)
    finally:
        torch.set_num_threads(threads)


def test_the_default_dtype_does_not_matter(variant: str) -> None:
    weight, x = torch.randn(16, 8), torch.randn(3, 8)
    expected, before = DenseProduct(weight)(x), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        found = DenseProduct(weight)(x)
    finally:
        torch.set_default_dtype(before)
    assert found.dtype is torch.float32
    assert torch.equal(found, expected)


def test_matrices_without_elements() -> None:
    for rows, columns in ((0, 5), (5, 0)):
        assert DenseProduct(torch.empty(rows, columns))(torch.empty(2, columns)).shape == (2, rows)
