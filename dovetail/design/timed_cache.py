"""`estimate --explain cache`: a decode step over a recipe's cache, from pieces that are timed on this computer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.quantity import Quantity, exact
from dovetail.design.cached_pace import CachedPace, Pieces
from dovetail.design.estimate import Estimate
from dovetail.design.ready import Ways, ready
from dovetail.runtime.cache.plan import CachePlan

SPREAD = 1.25  # nine of ten steps of other policies, budgets, batches and lengths lie within it: bench/kv.py, held-out
_SOURCE = "pieces timed on this computer now: dovetail.design.cached_pace"


@dataclass(frozen=True, slots=True)
class Timed:
    """A decode step of a scalar workload's mean context, and what it is made of.

    Parameters
    ----------
    context : int
        Tokens of each text, of which the cache may hold fewer.
    pieces : Pieces
        Seconds, for the whole batch.
    bytes : float
        Keys and values that a step reads.
    """

    context: int
    pieces: Pieces
    bytes: float

    @property
    def tpot(self) -> Quantity:
        """Time between tokens of a text."""
        seconds = self.pieces.seconds
        return Quantity(seconds, seconds / SPREAD, seconds * SPREAD, "s", "calibrated", _SOURCE)

    def to_json(self) -> dict[str, Any]:
        parts = {"pass": self.pieces.pass_s, "reading": self.pieces.read_s, "keeping": self.pieces.keep_s}
        return {
            "context": self.context, "tpot": self.tpot.to_json(),
            "parts": {name: exact(value, "s", "measured", _SOURCE).to_json() for name, value in parts.items()},
            "read": exact(self.bytes, "byte", "modelled", "the policy's own count of what is held").to_json(),
        }  # fmt: skip


def timed_cache(found: Estimate) -> Timed:
    """Time the pieces of an estimate's decode step here: the model is loaded, its recipe applied for real.

    Raises
    ------
    DovetailError
        Another machine than this computer, a recipe that guesses, weights that are not here, a model whose cache
        cannot be cut.
    """
    if found.machine.name != "host" or found.machine.count > 1:
        hint = "--on host"
        raise DovetailError(f"a cache on {found.machine.label} cannot be timed here", where="--explain", hint=hint)
    how = found.recipe
    if how.guess() is not None:
        hint = "the recipe without its guesses"
        raise DovetailError(f"recipe {how.name} guesses: its steps are not all alike", where="--explain", hint=hint)
    from dovetail.runtime.decoding.runner import runner_of

    batch, context = int(found.workload.batch), int(found.workload.mean_context)
    with ready(found.model, how, Ways()) as here:
        plan = here.plan or CachePlan()
        pace = CachedPace.of(runner_of(here.loaded))
        return Timed(context, pace.pieces(batch, plan, context), pace.bytes(batch, plan, context))
