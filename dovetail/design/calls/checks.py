"""Whether measured calls can be what they say: times and watts that the chip can have, and not too few of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.design.calls.table import Array

FASTER = 3.0  # than the peaks of a datasheet: clocks may be above it, a wrong unit is a thousand times
SLOWER = 50.0  # than predicted, in the median: slower than any host issues calls
POWER = 1.5  # of the board's limit: sampled power overshoots it a little, watts in another unit a thousand times
LEAST_SHAPES = {"gemm": 4, "attention": 2}
_SHAPE = {"gemm": "(n, k)", "attention": "(heads, KV heads)"}


def check_calls(family: str, calls: Any, predicted_s: Array) -> None:
    """Refuse calls whose unit must be wrong, and tables without a shape to judge on.

    Parameters
    ----------
    predicted_s : array, shape (calls,)
        What the machine says of them before it is calibrated.

    Raises
    ------
    DovetailError
        Naming the first such row.
    """
    chip = calls.chip
    least = np.maximum(calls.flops / chip.peak, calls.bytes / np.maximum(chip.bandwidth, chip.cache_bandwidth))
    fast = calls.time_s * FASTER < least
    if fast.any():
        row = int(np.argmax(fast))
        times, many = least[row] / calls.time_s[row], int(fast.sum())
        why = f"{calls.describe(row)} in {calls.time_s[row]:.3g} s is {times:,.0f} times faster than the peaks"
        why += f", and {many - 1:,} more such rows" if many > 1 else ""
        hint = "check the unit of the times, the dtype and --machine"
        raise DovetailError("faster than the chip can be", where=str(calls.rows[row]), why=why, hint=hint)
    slower = float(np.median(calls.time_s / predicted_s))
    if slower > SLOWER:
        why = f"the median call takes {slower:,.0f} times what is predicted"
        hint = "check the unit of the times and --machine"
        raise DovetailError("slower than any kernel", where=str(calls.rows[0]), why=why, hint=hint)
    count, needed = len(set(calls.shapes)), LEAST_SHAPES[family]
    if count < needed:
        why = f"{count} of {_SHAPE[family]}, at least {needed} are needed"
        hint = "measure more shapes: some are fitted, the others judge the fit"
        raise DovetailError("too few shapes to hold any out", where=str(calls.rows[0]), why=why, hint=hint)


def check_watts(calls: Any, limit_w: float) -> None:
    """Refuse power that a board limited to `limit_w` cannot draw. Raises `DovetailError` naming the first such row."""
    above = calls.power_w > POWER * limit_w  # NaN, where nothing was measured, is not above
    if above.any():
        row, many = int(np.argmax(above)), int(above.sum())
        why = f"{calls.power_w[row]:,.0f} W on a board of {limit_w:,.0f} W"
        why += f", and {many - 1:,} more such rows" if many > 1 else ""
        hint = "check that the power is in W, and --machine"
        raise DovetailError("more power than the board can draw", where=str(calls.rows[row]), why=why, hint=hint)
