"""How the tokens of one step spread over the experts of a mixture: expected loads of the busiest chip, in closed form.

Three laws. `Balanced`: every expert gets the same. `Uniform`: each token picks its experts at random. `PowerLaw`: some
experts are popular, by the law that the workload generator of the public kernel tables draws from (aiconfigurator,
Apache-2.0). With experts spread over several chips the slowest one counts, so loads are those of the busiest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True)
class Loads:
    """What the busiest chip has to do in one step, in expectation, and at least one row; arrays broadcast.

    Parameters
    ----------
    rows : Number
        Rows (token and expert pairs) that its experts multiply.
    active : Number
        Experts with at least one row.
    tiles : callable
        ``tiles(height)``: tiles of `height` rows over all its experts, each expert's last one padded.
    """

    rows: Number
    active: Number
    tiles: Callable[[Number], Number]


class Routing(Protocol):
    """A law of loads."""

    def loads(self, tokens: Number, top_k: Number, experts: Number, ways: Number) -> Loads:
        """Loads of the busiest of `ways` chips, each with ``experts / ways`` experts, for all the group's tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Balanced:
    """Every expert gets ``tokens * top_k / experts`` rows, or at most one while there are fewer rows than experts."""

    def loads(self, tokens: Number, top_k: Number, experts: Number, ways: Number) -> Loads:
        rows = np.maximum(np.asarray(tokens * top_k / ways, dtype=float), 1.0)
        active = np.minimum(experts / ways, rows)
        return Loads(rows, active, lambda height: active * _ceil(rows / active / height))


@dataclass(frozen=True, slots=True)
class Uniform:
    """Each token picks `top_k` experts at random: ``n (1 - (1 - k/E)^T)`` of a chip's n experts are met.

    Rows of one expert follow, to first order, Poisson's law of mean ``T k / E``; those of an expert that is met at all
    are taken to spread evenly with that law's mean and variance. The busiest of w chips has as many standard deviations
    more than the mean chip as the largest of w normals.
    """

    def loads(self, tokens: Number, top_k: Number, experts: Number, ways: Number) -> Loads:
        mean, held = tokens * top_k / experts, experts / ways
        spread = np.sqrt(held * mean * (1.0 - 1.0 / ways))
        rows = np.maximum(held * mean + spread * _largest_of(ways), 1.0)
        active = np.clip(held * (1.0 - (1.0 - top_k / experts) ** tokens), 1.0, rows)
        load = rows / active  # of an expert that has any: Poisson without its zeros
        width = np.sqrt(3.0 * load * np.maximum(1.0 + rows / held - load, 1e-6))

        def tiles(height: Number) -> Number:
            low, high = np.maximum(load - width, 0.0) / height, (load + width) / height
            mean_tiles = (_ceil_integral(high) - _ceil_integral(low)) / (high - low)
            return np.maximum(active * np.maximum(mean_tiles, 1.0), rows / height)

        return Loads(rows, active, tiles)


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """Popularities with density ``x^-exponent``, between 1 and 0.8 T, scaled to T k rows; none gets more than T.

    While there are fewer rows than experts they lie between 0.01 and 2. Experts expected to get less than half a row
    get none, and those rows, like the ones over T, go singly to idle experts. The rows of a group of experts follow a
    gamma law with their mean and variance, of which the busiest of w groups is the Blom quantile, by Wilson and
    Hilferty's cube (PNAS 17, 1931).
    """

    exponent: float

    def loads(self, tokens: Number, top_k: Number, experts: Number, ways: Number) -> Loads:
        law = _Truncated.of(self.exponent, tokens, top_k, experts)
        mean, held = tokens * top_k / experts, experts / ways
        rows = self._busiest(law, mean, held, experts, ways, tokens)
        load = rows / held
        scale = load / law.mean
        few, many = 0.5 / scale, tokens / scale

        def above(height: Number) -> Number:
            """Expected rows of one expert beyond `height`, those beyond `tokens` taken off."""
            return scale * law.excess(height / scale) - scale * law.excess(many)

        share, mass = law.tail(few)
        singles = load - scale * mass + scale * law.excess(many)
        active = np.maximum(np.minimum(held * np.minimum(share + singles, 1.0), rows), 1.0)
        return Loads(
            np.maximum(rows, 1.0),
            active,
            # ceil(t / height) is 1 up to about half a tile, then t / height + 1/2 on average
            lambda height: np.maximum(active + held * above(height / 2.0) / height, rows / height),
        )

    @staticmethod
    def _busiest(law: _Truncated, mean: Number, held: Number, experts: Number, ways: Number, tokens: Number) -> Number:
        group = mean * held
        # Shares of one total: the variance of a group falls by what it takes from the rest
        variance = law.relative_variance * mean**2 * held * (1.0 - 1.0 / ways)
        inverse_shape = variance / group**2
        cube = 1.0 - inverse_shape / 9.0 + _largest_of(ways) * np.sqrt(inverse_shape) / 3.0
        return np.clip(group * np.maximum(cube, 0.0) ** 3, group, np.minimum(held * tokens, group * ways))


@dataclass(frozen=True, slots=True)
class _Truncated:
    """The density ``x^-exponent`` on [low, high]."""

    exponent: float
    low: Number
    high: Number

    @classmethod
    def of(cls, exponent: float, tokens: Number, top_k: Number, experts: Number) -> _Truncated:
        many = np.asarray(tokens * top_k > experts)
        low = np.where(many, 1.0, 0.01)
        return cls(exponent, low, np.maximum(np.where(many, 0.8 * tokens, 2.0), low * 1.0001))

    def _integral(self, moment: int, start: Number) -> Number:
        power = moment + 1.0 - self.exponent
        if abs(power) < 1e-9:
            return np.log(self.high / start)
        return (self.high**power - start**power) / power

    @property
    def mean(self) -> Number:
        return self._integral(1, self.low) / self._integral(0, self.low)

    @property
    def relative_variance(self) -> Number:
        return self._integral(2, self.low) / self._integral(0, self.low) / self.mean**2 - 1.0

    def tail(self, start: Number) -> tuple[Number, Number]:
        """``P(x >= start)`` and ``E[x; x >= start]``."""
        inside, whole = np.clip(start, self.low, self.high), self._integral(0, self.low)
        return self._integral(0, inside) / whole, self._integral(1, inside) / whole

    def excess(self, start: Number) -> Number:
        """``E[max(x - start, 0)]``."""
        share, mass = self.tail(start)
        return np.maximum(mass - start * share, 0.0)


def _largest_of(count: Number) -> Number:
    """Expected largest of `count` standard normals: Blom's plotting position (1958), its quantile by Tukey's lambda."""
    share = (count - 0.375) / (count + 0.25)
    return np.where(np.asarray(count) > 1, (share**0.135 - (1.0 - share) ** 0.135) / 0.1975, 0.0)


def _ceil(value: Number) -> Number:
    """Smallest whole number not below `value`, forgiving the last bits of a division."""
    return np.ceil(np.asarray(value) * (1.0 - 1e-12))


def _ceil_integral(value: Number) -> Number:
    """Integral of the ceiling from 0 to `value`."""
    whole = np.floor(value)
    return whole * (whole + 1.0) / 2.0 + (value - whole) * (whole + 1.0)
