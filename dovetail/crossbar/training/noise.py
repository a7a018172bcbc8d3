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
    """Spread of programmed cells, drawn anew at every step.

    Each cell conducts its digit times ``1 + sigma z``. The errors of a code's digits are independent and normal, so
    their sum is drawn at once: ``sigma sqrt(sum (digit * place)**2)`` of one normal number.
    """

    sigma: float = 0.1  # relative to a cell's conductance

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < 1:
            raise DovetailError(f"a spread of {self.sigma}", where="noise", hint="0.1: at least 0, below 1")

    def disturb(self, codes: Tensor, form: Form, source: torch.Generator) -> Tensor:
        torch = require("torch", "torch", to="train")
        worth = torch.tensor(form.places, dtype=codes.dtype)[:, None, None]
        spread = (digits_of(codes, form) * worth).square().sum(0).sqrt()
        found: Tensor = codes + self.sigma * spread * torch.randn(codes.shape, generator=source, dtype=codes.dtype)
        return found
