"""What is asked of a model: prompts, outputs and how many requests run together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.errors import DovetailError
from dovetail.core.formats import Number
from dovetail.workload.images import Images
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
    images : Images or None
        Images of each prompt, whose tokens join those of `prompt`.

    Raises
    ------
    DovetailError
        A value is not a whole finite number in range (names the field and the value), or shapes do not broadcast.
    """

    prompt: Number = 1024
    output: Number = 128
    batch: Number = 1
    images: Images | None = None

    def __post_init__(self) -> None:
        for name in _FIELDS:
            object.__setattr__(self, name, _checked(name, getattr(self, name)))
        images: object = self.images
        if not isinstance(images, Images | None):
            why = f"got {type(images).__name__}"
            raise DovetailError("images must be Images", where="workload", why=why, hint="Images(1, 448, 448)")
        shapes = [np.shape(getattr(self, name)) for name in _FIELDS]
        try:
            np.broadcast_shapes(*shapes)
        except ValueError:
            why = ", ".join(f"{name} {shape}" for name, shape in zip(_FIELDS, shapes))
            raise DovetailError("prompt, output and batch do not broadcast", where="workload", why=why) from None

    @property
    def prefilled(self) -> Number:
        """Tokens of each prompt, those of its images included once a model is known."""
        return self.prompt + self.images.prompt_tokens if self.images else self.prompt

    @property
    def total_tokens(self) -> Number:
        """Tokens of a finished request: what the model's context must hold."""
        return self.prefilled + self.output

    @property
    def cached_tokens(self) -> Number:
        """Tokens in the KV cache when a request ends: all but the last one, which is never fed back."""
        return self.total_tokens - 1

    @property
    def decode_steps(self) -> Number:
        """Forward passes after the prefill."""
        return self.output - 1

    @property
    def mean_context(self) -> Number:
        """Mean number of tokens already cached when a decode step starts: step i of 1..output-1 sees prompt + i - 1."""
        return self.prefilled + np.maximum(np.asarray(self.output) - 2, 0) / 2

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
        return Workload(prompt=np.maximum(first.ravel(), 1), output=np.maximum(second.ravel(), 1), batch=batch)

    def columns(self) -> dict[str, np.ndarray]:
        """prompt, output and batch broadcast to one shape."""
        return dict(zip(_FIELDS, np.broadcast_arrays(self.prompt, self.output, self.batch), strict=True))


_FIELDS = ("prompt", "output", "batch")
_MOST = 10**9


def _checked(name: str, value: Any) -> Number:
    """`value` as a Python scalar or a 64-bit array, so that no product of fields can overflow."""
    if isinstance(value, int) and abs(value) > _MOST:
        value = float(min(value, 10**300))  # out of range, and more than 64 bits hold
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal lengths
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        raise DovetailError(f"{name} must be a number or an array of numbers", where=name, why=f"got {value!r}"[:80])
    bad = ~((array >= 1) & (array <= _MOST) & (array == np.floor(array)))
    if array.size == 0 or bad.any():
        why = f"got {array[bad].flat[0]:g}" if array.size else "got nothing"
        hint = f"1 {'request' if name == 'batch' else 'token'} or more"
        raise DovetailError(f"{name} must be a whole number from 1 to 10^9", where=name, why=why, hint=hint)
    if array.ndim == 0:
        return array.item()
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float64, copy=False)
