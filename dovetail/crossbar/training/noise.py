"""Errors of cells that a network learns to bear (Joshi et al., Nature Communications 11, 2473, 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.crossbar.training.parts import Form
from dovetail.crossbar.training.slices import digits_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Noise:
    """Spread of programmed cells and cells that are stuck, drawn anew at every step.

    Each cell conducts its digit times ``1 + sigma z``. The errors of a code's digits are independent and normal, so
    their sum is drawn at once: ``sigma sqrt(sum (digit * place)**2)`` of one normal number. Stuck cells are drawn one
    by one, those of the empty plane as well.

    Parameters
    ----------
    sigma : float
        Relative to a cell's conductance.
    stuck_low, stuck_high : float
        Share of cells that stay at their lowest and at their highest level; of codes in two planes (`differential`,
        `sign-magnitude`).
    """

    sigma: float = 0.1
    stuck_low: float = 0.0
    stuck_high: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < 1:
            raise DovetailError(f"a spread of {self.sigma}", where="noise", hint="0.1: at least 0, below 1")
        if min(self.stuck_low, self.stuck_high) < 0 or self.stuck_low + self.stuck_high > 1:
            what = f"{self.stuck_low:g} and {self.stuck_high:g} of the cells stuck"
            raise DovetailError(what, where="noise", hint="0.005 and 0.005: at least 0, together at most 1")

    def disturb(self, codes: Tensor, form: Form, source: torch.Generator) -> Tensor:
        torch = require("torch", "torch", to="train")
        digits = digits_of(codes, form)
        worth = torch.tensor(form.places, dtype=codes.dtype)[:, None, None]
        held, variance = codes, (digits * worth).square().sum(0)
        if self.stuck_low or self.stuck_high:
            held, variance = self._stuck(digits, codes.sign(), worth, form, source)
        drawn = torch.randn(codes.shape, generator=source, dtype=codes.dtype)
        found: Tensor = held + self.sigma * variance.sqrt() * drawn
        return found

    def _stuck(
        self, digits: Tensor, signs: Tensor, worth: Tensor, form: Form, source: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What codes (outputs, inputs) are with stuck cells, and the squares of the levels that still vary."""
        if form.cells.encoding not in ("differential", "sign-magnitude"):
            why = f"'{form.cells.encoding}' has other cells"
            raise DovetailError("no stuck cells in training", where="noise", why=why, hint="differential")
        torch = require("torch", "torch", to="train")
        held, variance = torch.zeros_like(signs), torch.zeros_like(signs)
        for way in (1, -1):
            chance = torch.rand(digits.shape, generator=source, dtype=digits.dtype)
            low, high = chance < self.stuck_low, chance >= 1 - self.stuck_high
            free = digits * (signs == way) * ~(low | high)
            held += way * ((free + form.cells.levels * high) * worth).sum(0)
            variance += (free * worth).square().sum(0)
        return held, variance
