"""How many tokens a cache holds of a text: a function of its length alone, so that predictions are exact. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True)
class Budget:
    """`keep` tokens of each KV head, and up to `slack - 1` newer ones until the next selection.

    A text of ``keep + slack`` tokens or more is selected from whenever ``slack`` more have come: it holds
    ``keep + (length - keep) % slack`` tokens. The prompt's selection leaves as many as its length says, too.

    Parameters
    ----------
    keep : int
        Tokens of each KV head after a selection, on average over layers and heads.
    slack : int
        Tokens between two selections.

    Raises
    ------
    DovetailError
        Nothing to keep, or no token between selections.
    """

    keep: int
    slack: int = 64

    def __post_init__(self) -> None:
        if self.keep < 1 or self.slack < 1:
            what = f"a cache of {self.keep} tokens, selected every {self.slack}"
            raise DovetailError(what, where="cache", hint="keep=1024,slack=64")

    def held(self, length: Number) -> Number:
        """Tokens of a text of `length` that are held; arrays broadcast."""
        newer = (np.asarray(length) - self.keep) % self.slack
        return np.where(np.less(length, self.keep + self.slack), length, self.keep + newer)
