"""Measured matrix products of one dtype: their shapes, times, and what the model and a plain roofline say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dovetail.cost.gemm import GemmCost, Widths, gemm_cost
from dovetail.design.calls.table import Array
from dovetail.hardware.kernels import ChipFacts, GemmConstants

Flags = npt.NDArray[np.bool_]
LIMITS = dict.fromkeys(("compute", "memory", "smooth", "resident"), (0.0, 1.0)) | {"overlap": (1.0, 8.0)}
LEAST = 16  # matrices to fit on, where there are twice as many
_COLUMNS = ("m", "n", "k", "time_s", "power_w", "rows")


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """Calls of ``y[m, n] = x[m, k] w[n, k]^T``, one a row; seconds, and watts (NaN where not measured).

    Parameters
    ----------
    chip : ChipFacts
        With the peak of the dtype.
    rows : array of str, shape (calls,)
        Where each stands in the table.
    """

    m: Array
    n: Array
    k: Array
    time_s: Array
    power_w: Array
    chip: ChipFacts
    widths: Widths
    rows: npt.NDArray[np.str_]

    def of(self, keep: Flags) -> Self:
        """Some of the calls."""
        return replace(self, **{name: getattr(self, name)[keep] for name in _COLUMNS})

    @property
    def shapes(self) -> list[str]:
        """``n,k`` of each call: what the split goes by."""
        return [f"{n:.0f},{k:.0f}" for n, k in zip(self.n.tolist(), self.k.tolist(), strict=True)]

    @property
    def flops(self) -> Array:
        """Operations of each call."""
        return 2.0 * self.m * self.n * self.k

    @property
    def bytes(self) -> Array:
        """Bytes of operands and results of each call, each once."""
        w = self.widths
        return np.asarray(w.activation * self.m * self.k + w.weight * self.n * self.k + w.result * self.m * self.n)

    @property
    def groups(self) -> list[Flags]:
        """Calls that weigh the same in the fit, however many they are."""
        return [np.ones(len(self.time_s), bool)]

    def cost(self, constants: GemmConstants) -> GemmCost:
        """What the model says of these calls, each repeated by itself."""
        return gemm_cost(self.m, self.n, self.k, self.chip, constants, self.widths, alone=True)

    def free(self, constants: GemmConstants) -> list[str]:
        """The constants that are fitted: all that are neither zero nor infinite."""
        names = (field.name for field in fields(constants) if field.name != "spread")
        return [name for name in names if 0 < getattr(constants, name) < np.inf]

    def with_more(self, others: Sequence[Self]) -> Self:
        """These calls and others of the same dtype."""
        joined: dict[str, Any] = {c: np.concatenate([getattr(x, c) for x in (self, *others)]) for c in _COLUMNS}
        return replace(self, **joined)

    def describe(self, index: int) -> str:
        """One call, for a reader."""
        return f"{self.m[index]:.0f} x {self.n[index]:.0f} x {self.k[index]:.0f}"
