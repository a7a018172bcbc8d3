"""What is asked of a model: prompts, outputs and how many requests run together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.errors import DovetailError
from dovetail.core.formats import Number
from dovetail.workload.lengths import Lengths


@dataclass(frozen=True, slots=True, eq=False)
class Workload(ByContent):
    """A fixed batch of requests; arrays make one workload for each point and broadcast together.

    Parameters
    ----------
    prompt : Number
        Tokens of each prompt, >= 1.
    output : Number
        Tokens generated for each request, >= 1; the first comes out of the prefill.
    batch : Number
        Requests that run together, >= 1.

    Raises
    ------
    DovetailError
        A value is not a whole finite number in range; names the field and the value.
    """

    prompt: Number = 1024
    output: Number = 128
    batch: Number = 1

    def __post_init__(self) -> None:
        for name in ("prompt", "output", "batch"):
            _check(name, getattr(self, name))

    @property
    def total_tokens(self) -> Number:
        """Tokens in the cache when a request ends, its last token excluded (it is never attended)."""
        return self.prompt + self.output

    @property
    def decode_steps(self) -> Number:
        """Forward passes after the prefill."""
        return self.output - 1

    @property
    def mean_context(self) -> Number:
        """Mean number of tokens already cached when a decode step starts: step i of 1..output-1 sees prompt + i - 1."""
        return self.prompt + np.maximum(np.asarray(self.output) - 2, 0) / 2

    @staticmethod
    def chat(prompt: Number = 1024, output: Number = 256, batch: Number = 1) -> Workload:
        """Conversation-like requests of fixed lengths."""
        return Workload(prompt=prompt, output=output, batch=batch)

    @staticmethod
    def spread(prompt: Lengths, output: Lengths, batch: int = 1) -> Workload:
        """Requests whose lengths follow two independent distributions: one point for each pair, all equally likely.

        The shape of `prompt` and `output` is (prompt quantiles * output quantiles,).
        """
        first, second = np.meshgrid(prompt.tokens, output.tokens, indexing="ij")
        return Workload(prompt=first.ravel(), output=np.maximum(second.ravel(), 1), batch=batch)

    def columns(self) -> dict[str, np.ndarray]:
        """prompt, output and batch broadcast to one shape."""
        names = ("prompt", "output", "batch")
        return dict(zip(names, np.broadcast_arrays(self.prompt, self.output, self.batch), strict=True))


def _check(name: str, value: Any) -> None:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise DovetailError(
            f"{name} must be a number or an array of numbers", where=name, why=f"got {value!r}"
        ) from None
    bad = ~(np.isfinite(array) & (array >= 1) & (array <= 1e9))
    if array.size == 0 or bad.any():
        worst = array[bad].flat[0] if array.size else "nothing"
        hint = f"a {name} of at least 1" + (" request" if name == "batch" else " token")
        raise DovetailError(
            f"{name} must be between 1 and 10^9", where=name, why=f"got {worst:g}" if array.size else "", hint=hint
        )
