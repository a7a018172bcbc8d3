"""Random Hadamard rotations: orthogonal matrices whose entries are all equally large, so that outliers are spread.

A vector turned by one has each of its channels in every new channel. Of order ``2**k`` it is Sylvester's, applied in
``k`` passes of sums and differences; other orders are the product of that and a matrix of Paley's (J. Math. Phys. 12,
1933), of order ``p + 1`` for primes ``p = 3 mod 4`` and ``2 (p + 1)`` for ``p = 1 mod 4``. Random signs make it one of
many (QuIP#, arXiv 2402.04396). Where no such order divides the size, its odd part is turned by a random orthogonal
matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """``R = diag(signs) (S kron base)`` with S the normalised Sylvester matrix of order ``len(signs) / len(base)``.

    Parameters
    ----------
    signs : array (size,)
        1 and -1.
    base : array (order, order)
        Orthogonal.
    """

    signs: Matrix
    base: Matrix

    @property
    def size(self) -> int:
        return len(self.signs)

    def __call__(self, x: Tensor) -> Tensor:
        """``x R`` for rows x (…, size), in the dtype of `x`."""
        torch = require("torch", "torch", to="rotate weights")
        order = len(self.base)
        turned = x * torch.from_numpy(self.signs).to(x.dtype)
        if order > 1:
            turned = turned.reshape(-1, order) @ torch.from_numpy(self.base).to(x.dtype)
        found: Tensor = _sylvester(turned.reshape(-1, self.size // order, order)).reshape(x.shape)
        return found


def _sylvester(x: Tensor) -> Tensor:
    """The middle axis of `x` (rows, 2**k, order) turned by the normalised Sylvester matrix."""
    torch = require("torch", "torch", to="rotate weights")
    rows, count, order = x.shape
    step = 1
    while step < count:
        first, second = x.reshape(rows, -1, 2, step, order).unbind(2)
        x = torch.stack((first + second, first - second), 2)
        step *= 2
    found: Tensor = x.reshape(rows, count, order) / count**0.5
    return found


def rotation(size: int, seed: int) -> Rotation:
    """The rotation of a size that a seed chooses."""
    random = np.random.default_rng([seed, size])
    return Rotation(random.choice([-1.0, 1.0], size), _base(size, random))


def _base(size: int, random: np.random.Generator) -> Matrix:
    """The smallest orthogonal matrix that leaves a power of two: Paley's, or a random one of the odd part of `size`."""
    odd = size // (size & -size)
    orders = [order for k in range(size.bit_length()) if size % (order := odd << k) == 0]
    for order in orders:
        if order == 1 or (order % 4 == 0 and _paley_prime(order)):
            whole: Matrix = paley(order) / order**0.5
            return whole
    q, r = np.linalg.qr(random.standard_normal((odd, odd)))
    found: Matrix = q * np.sign(np.diag(r))
    return found


def paley(order: int) -> Matrix:
    """A Hadamard matrix: entries 1 and -1, rows orthogonal.

    Parameters
    ----------
    order : int
        1, ``p + 1`` for a prime ``p = 3 mod 4``, or ``2 (p + 1)`` for a prime ``p = 1 mod 4``.

    Raises
    ------
    ValueError
        Another order.
    """
    if order == 1:
        return np.ones((1, 1))
    if not (prime := _paley_prime(order)):
        raise ValueError(f"no matrix of Paley's has order {order}")
    square = np.full(prime, -1.0)
    square[np.arange(prime) ** 2 % prime] = 1.0
    square[0] = 0.0
    core = np.ones((prime + 1, prime + 1))
    core[0, 0] = 0.0
    core[1:, 1:] = square[(np.arange(prime)[None, :] - np.arange(prime)[:, None]) % prime]
    if prime % 4 == 3:
        core[1:, 0] = -1.0
        skew: Matrix = core + np.eye(order)
        return skew
    found: Matrix = np.kron(core, [[1, 1], [1, -1]]) + np.kron(np.eye(prime + 1), [[1, -1], [-1, -1]])
    return found


def _paley_prime(order: int) -> int:
    """The prime that makes a matrix of this order; 0 where there is none."""
    first, second = order - 1, order // 2 - 1
    if first % 4 == 3 and _is_prime(first):
        return first
    return second if order % 2 == 0 and second % 4 == 1 and _is_prime(second) else 0


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))
