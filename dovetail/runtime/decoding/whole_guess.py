"""Medusa heads asked in one call of the kernels: states, output head, the likeliest tokens and the tree of them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dovetail.runtime.decoding.speculation import Guess
from dovetail.runtime.decoding.step import CannotStepError, memory_of, weights_at
from dovetail.runtime.decoding.tree import Tree
from dovetail.runtime.kernels.dense import DenseProduct
from dovetail.runtime.kernels.library import Library, find
from dovetail.runtime.kernels.linear import refuse_failure
from dovetail.runtime.kernels.step import Guesses, GuessHeads

_MOST = 64  # sequences: with more, matrix libraries come near


class WholeGuess:
    """Trees of the likeliest guesses of heads; made by `of`."""

    def __init__(
        self, found: Library, turn: DenseProduct, embedding: Tensor, head: Callable[[Tensor], Tensor], ranks: int,
        epsilon: float,
    ) -> None:  # fmt: skip
        rows, hidden = turn.weight.shape[0], embedding.shape[1]
        weights, vocabulary = weights_at(head), _outputs(head)
        self._heads = GuessHeads(
            rows // hidden, hidden, vocabulary, min(ranks, vocabulary), epsilon, memory_of(embedding), turn.address,
            weights,
        )  # fmt: skip
        self._kept = turn, embedding, head  # whose memory is pointed to
        self._run, self._index = found.guess, found.variant()

    @classmethod
    def of(
        cls, turn: DenseProduct | None, embedding: Tensor, head: Callable[[Tensor], Tensor], ranks: int, epsilon: float
    ) -> WholeGuess | None:
        """None where there are no kernels, or not for all parts.

        Parameters
        ----------
        turn : DenseProduct or None
            Of all heads.
        ranks : int
            Guesses of one head that a tree may take.
        epsilon : float
            Beside the mean square of the newest token's embedding.
        """
        found = find()
        if turn is None or turn.address is None or not isinstance(found, Library):
            return None
        try:
            return cls(found, turn, embedding, head, ranks, epsilon)
        except CannotStepError:
            return None

    def takes(self, states: Sequence[Tensor]) -> bool:
        """Whether there are few sequences, with states as the kernels read them."""
        return len(states) <= _MOST and all(one.dtype is torch.float32 and one.is_cpu for one in states)

    def __call__(self, states: Sequence[Tensor], newest: Sequence[int], nodes: int) -> list[Guess]:
        """For each sequence a tree of up to `nodes` guesses.

        Parameters
        ----------
        states : sequence of Tensor (hidden,)
            Of the token before the newest.
        newest : sequence of int
        """
        count = len(states)
        hidden = torch.stack(list(states)) if count > 1 else states[0].contiguous()
        made, ids = np.empty(count, np.int64), np.array(newest, np.int64)
        parents, tokens = np.empty((2, count, nodes), np.int64)
        chances = np.empty((count, nodes), np.float64)
        arrays = (ids, made, parents, tokens, chances)
        asked = Guesses(count, nodes, hidden.data_ptr(), *(one.ctypes.data for one in arrays))
        failed = self._run(ctypes.addressof(self._heads), ctypes.addressof(asked), self._index, torch.get_num_threads())
        if failed:
            refuse_failure(failed, count)
        rows = zip(made.tolist(), parents.tolist(), tokens.tolist(), chances.tolist(), strict=True)
        return [Guess(Tree((-1, *above[:n])), own[:n], sure[:n]) for n, above, own, sure in rows]


def _outputs(head: object) -> int:
    return int(head.weight.shape[0] if isinstance(head, DenseProduct) else head.out_features)  # type: ignore[attr-defined]
