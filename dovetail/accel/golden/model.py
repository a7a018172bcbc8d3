"""The integer model: steps that run, and a state that remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dovetail.accel.arithmetic.choose import argmax
from dovetail.accel.arithmetic.rounding import Ints
from dovetail.accel.golden.program import Lookup, Step
from dovetail.accel.golden.steps import Values, execute
from dovetail.core.errors import DovetailError


@dataclass(frozen=True, slots=True, eq=False)
class IntegerModel:
    """Integers that define what the hardware computes.

    Parameters
    ----------
    name : str
    steps : tuple of Step
        In order; the last makes the result (logits).
    source : str
        What the first step reads: token ids, or a vector of reals that `source_fraction` makes integers.
    context : int
        Most tokens of a sequence.
    weights : str
        ``w8a8`` or ``w4a8``.
    source_fraction : int
        Fraction bits of the features that a model without tokens reads.
    """

    name: str
    steps: tuple[Step, ...]
    source: str
    context: int
    weights: str
    source_fraction: int = 0

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding. 0 for a model without tokens."""
        return next((len(step.matrix.values) for step in self.steps if isinstance(step, Lookup)), 0)

    def pass_over(self, tokens: npt.ArrayLike, before: Values | None = None) -> Values:
        """Run tokens, after those that `before` has seen.

        Parameters
        ----------
        tokens : (..., tokens) of ids
        before : Values, optional
            What an earlier pass returned: its caches are read, and left as they are.

        Returns
        -------
        Values
            Every tensor of every step by name, exponents of operands, and caches with these tokens in them.

        Raises
        ------
        DovetailError
            An id outside the vocabulary, or more tokens than the context.
        """
        ids = np.asarray(tokens, np.int64)
        old = before or Values()
        self._check(ids, old.position)
        values = Values({self.source: ids}, {}, dict(old.cached), old.position)
        for step in self.steps:
            execute(step, values)
        values.position += ids.shape[-1]
        return values

    def run(self, tokens: npt.ArrayLike) -> Ints:
        """Logits (..., tokens, vocabulary) of the tokens after each of `tokens` (..., tokens): integers of 24 bits."""
        return self.pass_over(tokens).tensors[self.steps[-1].name]

    def logit_unit(self) -> float:
        """What one unit of a logit is worth."""
        return 2.0 ** -self.steps[-1].form.fraction

    def decode(self, prompt: Sequence[int], count: int) -> list[int]:
        """The next `count` tokens after a prompt, each the most likely.

        Raises
        ------
        DovetailError
            No prompt, or more tokens than the context holds.
        """
        if len(prompt) == 0:
            raise DovetailError("an empty prompt", where="prompt", hint="at least one token")
        if len(prompt) + count > self.context:
            why = f"{len(prompt)} and {count} tokens, the context is {self.context}"
            raise DovetailError("the text does not fit", where="count", why=why, hint="lower with a longer context")
        values, found = self.pass_over(prompt), []
        for _ in range(count):
            found.append(int(argmax(values.tensors[self.steps[-1].name][-1])))
            if len(found) < count:
                values = self.pass_over(found[-1:], values)
        return found

    def infer(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Results (..., channels) of a model without tokens for features (..., channels), as reals."""
        values = self.pass_over_features(self.integers(features))
        return np.asarray(values.tensors[self.steps[-1].name] * self.logit_unit(), np.float64)

    def integers(self, features: npt.ArrayLike) -> Ints:
        """Features (..., channels) as the integers of 16 bits that the first step reads."""
        scaled = np.rint(np.asarray(features, np.float64) * 2.0**self.source_fraction)
        return np.asarray(np.clip(scaled, -32768, 32767), np.int64)

    def pass_over_features(self, features: Ints) -> Values:
        """Every tensor of a model without tokens by name, for `integers` (inputs, channels)."""
        values = Values({self.source: features})
        for step in self.steps:
            execute(step, values)
        return values

    def _check(self, ids: Ints, position: int) -> None:
        if not self.vocabulary:
            raise DovetailError("this model reads no tokens", where=self.name, hint="infer")
        if ids.size and not 0 <= ids.min() <= ids.max() < self.vocabulary:
            why = f"the vocabulary has {self.vocabulary}"
            raise DovetailError(f"no token {ids.max() if ids.min() >= 0 else ids.min()}", where="tokens", why=why)
        if position + ids.shape[-1] > self.context:
            why = f"the context is {self.context}"
            raise DovetailError(f"{position + ids.shape[-1]} tokens", where="tokens", why=why, hint="a longer context")
