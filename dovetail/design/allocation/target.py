"""What an allocation has to meet: limits on what the machine does and on quality, absolute or relative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.units import show
from dovetail.design.allocation.prices import METRICS

UNITS = {"ttft": "s", "tpot": "s", "e2e": "s", "energy_per_token": "J/tok", "memory": "byte", "weights": "byte"}
QUALITY = "perplexity"


@dataclass(frozen=True, slots=True)
class Limit:
    """``metric < bound``, in SI units; times the model as it is where `relative`."""

    metric: str
    bound: float
    relative: bool = False
    strict: bool = True

    def __str__(self) -> str:
        bound = f"{self.bound:.6g}x" if self.relative else show(self.bound, UNITS.get(self.metric, ""))
        sign = "<" if self.strict else "<="
        return f"{self.metric} {sign} {bound}"

    def absolute(self, before: float) -> float:
        """The bound in the metric's unit, of a model that has `before`."""
        return self.bound * before if self.relative else self.bound

    def holds(self, value: float, before: float) -> bool:
        """Whether `value` meets it."""
        bound = self.absolute(before)
        return value < bound if self.strict else value <= bound


def checked(limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """The limits, of which there is at least one, on metrics that an allocation decides. Raises `DovetailError`."""
    known = [*METRICS, QUALITY]
    for limit in limits:
        if limit.metric not in known:
            why = "bits of layers do not decide it alone" if limit.metric else ""
            raise DovetailError(
                f"no target '{limit.metric}'", where="target", why=why, hint=did_you_mean(limit.metric, known)
            )
        if not limit.bound > 0:
            raise DovetailError(f"nothing meets '{limit}'", where="target", hint="a bound above 0, such as tpot < 0.6x")
    if not limits:
        raise DovetailError("no target", where="target", hint="tpot < 0.6x, memory < 24 GB or perplexity < 1.02x")
    return tuple(limits)
