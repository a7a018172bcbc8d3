"""What moves between a chip and the memory of its host during a step."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.formats import Number
from dovetail.model.operators import Operator


@dataclass(frozen=True, slots=True, eq=False)
class HostTransfer(Operator):
    """Weights or caches of the coming layers on their way, while the operators of the step run; no arithmetic.

    `size` is the bytes of one step in the busier direction.
    """

    size: Number = 0.0

    @property
    def dense_flops(self) -> Number:
        return 0.0 * self.size

    executed_flops = dense_flops
