"""What a trained network asks of crossbars: cells that are not empty, converters without loss, converters with some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import Codes
from dovetail.crossbar.columns import Arrays, statistics
from dovetail.crossbar.training.converting import Converting
from dovetail.crossbar.training.fit import Pair, right_answers
from dovetail.crossbar.training.remembering import Memory, Remembering
from dovetail.crossbar.training.session import bit_slice

if TYPE_CHECKING:
    from torch import Tensor, nn


_START = 6  # bits from which a greedy search goes down: sums that real inputs make rarely fill more


@dataclass(frozen=True, slots=True)
class Slices:
    """Of a whole network, slice by slice, the lowest first.

    Parameters
    ----------
    nonzero : array, shape (slices,)
        Share of all weights whose digit is not 0.
    bits : array of int, shape (slices,)
        Of converters that lose nothing: of the bitline with the largest sum; 0 where nothing is ever converted.
    conversions : array, shape (slices, 1 + most bits)
        Share of all bitlines that need so many bits.
    """

    nonzero: NDArray[np.float64]
    bits: NDArray[np.int64]
    conversions: NDArray[np.float64]

    @classmethod
    def of(cls, codes: Mapping[str, Codes], cells: Cells | None = None, arrays: Arrays | None = None) -> Slices:
        """From the codes of all layers."""
        found = [(statistics(one, cells, arrays), one.values.size) for one in codes.values()]
        weights = np.array([size for _, size in found], float)
        nonzero = np.stack([s.nonzero_slices for s, _ in found])
        every = [np.moveaxis(s.bits, 1, 0).reshape(s.bits.shape[1], -1) for s, _ in found]
        bits = np.concatenate(every, axis=1)
        counts = np.stack([np.bincount(row, minlength=13) for row in bits])
        return cls(weights @ nonzero / weights.sum(), bits.max(axis=1), counts / bits.shape[1])


def converted_accuracy(
    model: nn.Module, codes: Mapping[str, Codes], data: Pair, bits: int | Sequence[int], *, input_bits: int = 8,
    cells: Cells | None = None, arrays: Arrays | None = None, digital: Sequence[str] = (),
) -> float:  # fmt: skip
    """Accuracy with saturating converters of `bits` for each slice, of a network whose weights are those of `codes`.

    Raises
    ------
    DovetailError
        Bits out of range, or not one for each slice.
    """
    how = Converting(bits if isinstance(bits, int) else tuple(bits), input_bits)
    right = _answers(model, codes, data, how, cells=cells, arrays=arrays, digital=digital)
    return int(right.sum()) / len(right)


def _answers(model: nn.Module, codes: Mapping[str, Codes], data: Pair, how: Converting, **form: Any) -> Tensor:
    with bit_slice(model, how, grid=next(iter(codes.values())).grid, held=codes, **form):
        return right_answers(model, data)


def fewest_bits(
    model: nn.Module, codes: Mapping[str, Codes], data: Pair, loss: float = 0.003, *, sure: float = 0.0,
    input_bits: int = 8, **form: Any,
) -> tuple[int, ...]:  # fmt: skip
    """Converters of fewest bits in all, found greedily, that keep accuracy within `loss`.

    The search begins with those that lose nothing, or of 6 bits where they have more. Each round takes a bit from the
    slice that then keeps most of the accuracy. A slice that is never converted has 0.

    Parameters
    ----------
    sure : float
        So many standard errors of what is lost, on these examples with and without converters, have to fit within
        `loss` as well: 1.64 leaves a chance of 5 % that more is lost on others, 0 trusts the examples.
    form : cells, arrays, digital
        As `bit_slice` takes them.
    """
    bits = [min(int(b), _START) for b in Slices.of(codes, form.get("cells"), form.get("arrays")).bits]
    before, memory = right_answers(model, data), Memory()

    def lost(tried: Sequence[int]) -> float:
        how = Remembering(tuple(max(1, b) for b in tried), input_bits, memory)
        return _bound(before, _answers(model, codes, data, how, **form), sure)

    while True:
        tries = {s: lost([b - (s == i) for i, b in enumerate(bits)]) for s in range(len(bits)) if bits[s] > 1}
        best = min(tries, key=lambda s: (tries[s], -bits[s]), default=None)
        if best is None or tries[best] > loss:
            return tuple(bits)
        bits[best] -= 1


def _bound(before: Tensor, after: Tensor, sure: float) -> float:
    """The share of right answers that is lost, and `sure` standard errors of it."""
    change = before.double() - after.double()
    return float(change.mean() + sure * change.std(correction=0) / len(change) ** 0.5)
