"""What layers are made of: one file for each kind of block, a spec of numbers that lists its operators and caches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dovetail.model.graph import Cache
    from dovetail.model.operators import Operator
    from dovetail.model.step import Step


class Block(Protocol):
    """A mixer of tokens (attention, scan) or of channels (feed-forward), without the norm and residual around it."""

    def operators(self, step: Step) -> Iterator[Operator]:
        """What the block executes in one step, for each of `step.layers`."""
        ...

    def caches(self, step: Step) -> Iterator[Cache]:
        """What the block keeps between steps."""
        ...
