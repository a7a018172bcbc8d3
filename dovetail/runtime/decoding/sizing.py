"""How many guesses pay: their chances against what they cost in a pass, on this machine and at this batch.

A pass with n guesses for each of B sequences yields ``1 + sum of their chances`` tokens of each, and takes ``t(B, n)``.
The n with the most tokens a second is chosen before every step. Times start from a fit to a few passes, and are
corrected by every step that is taken; chances are corrected by how many guesses were right. Where speculation was
slower than plain steps, it pauses, each time for longer.

A step of the other kind than the one before it, plain or with guesses, finds neither its code nor its memory in the
processor's caches, and takes up to twice as long as those that follow. It says nothing of which kind pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from dovetail.runtime.decoding.passes import TimedPass
from dovetail.runtime.decoding.runner import Runner

_TIMED = (1, 4, 16)  # tokens of the passes that are timed
_REPEATS, _CONTEXT = 5, 16
_RECENT = 0.1  # weight of the newest step in running means
_FASTER = 0.5  # and where it took less time than was known
_SURPRISE = 1.5  # times what the nearest width suggests: what the first step of a width may say at most
_FORGOTTEN = 0.02  # by each plain step, of what guesses were worth
_PAUSE, _LONGEST = 4, 1024  # plain steps after speculation did not pay: the first time, and at most
_WORTH = 1.0  # gain below which a pause begins
_COMMON = (0.5, 0.3, 0.2)  # chances of the first guesses, before any are known
_COMPARED, _REFRESHED = 3, 48  # plain steps at the beginning; steps after which there are others, to compare with
_AGAIN = 2  # of them: the first is not counted
_DOUBTED = 32  # plain steps before guesses are tried that should not pay
_REST = -1  # the width of a step for which no guesses were asked


@dataclass(frozen=True, slots=True)
class PassTime:
    """Seconds of a forward pass: ``fixed_s + token_s * tokens``, of all sequences together."""

    fixed_s: float
    token_s: float

    def seconds(self, batch: int, guesses: int) -> float:
        """Of a pass over `batch` sequences with as many guesses each, and the newest tokens."""
        return self.fixed_s + self.token_s * batch * (1 + guesses)

    @classmethod
    def of(cls, runner: Runner) -> PassTime:
        """Measured once for each runner, in a few dozen milliseconds for a small model."""
        if (found := _MEASURED.get(runner)) is None:
            passes = TimedPass(runner, _CONTEXT, _REPEATS)
            _MEASURED[runner] = found = _fitted({tokens: passes.seconds(1, tokens - 1) for tokens in _TIMED})
        return found


_MEASURED: WeakKeyDictionary[Runner, PassTime] = WeakKeyDictionary()


def _fitted(seconds: dict[int, float]) -> PassTime:
    """A line through passes of many tokens, raised to meet that of the fewest."""
    few, *_, many = sorted(seconds)
    slope = max(0.0, (seconds[many] - seconds[few]) / (many - few))
    return PassTime(max(1e-9, seconds[few] - slope * few), slope)


@dataclass(slots=True)
class Sizing:
    """Chooses the number of guesses, and learns from each step.

    Parameters
    ----------
    time : PassTime
        Before anything is measured in the loop.
    most : int
        Guesses of one sequence at most.
    always : int
        So many guesses in every step, whatever they cost; 0: as many as pay, none where none does.
    """

    time: PassTime
    most: int = 32
    always: int = 0
    trust: float = 1.0  # guesses that were right, against their chances
    _ratio: dict[tuple[int, int], float] = field(default_factory=dict)  # of measured to first time, by batch and width
    _width: int = 0
    _expected: float = 0.0
    _gain: float = 1.2
    _left: int = 0
    _steps: int = 0
    _pause: int = _PAUSE
    _rested: bool | None = None  # whether the step before was a plain one
    _cold: set[tuple[int, int]] = field(default_factory=set)  # of `_ratio`, those from the first step of a kind alone

    def resting(self, batch: int) -> bool:
        """Whether the coming step is a plain one, without asking for guesses: to compare, or in a pause.

        Where guesses of common chances would not pay at a batch, it is long before they are tried.
        """
        if self.always:
            return False
        self._steps += 1
        if (batch, _REST) not in self._ratio:
            known = [(abs(size - batch), ratio) for (size, width), ratio in self._ratio.items() if width == _REST]
            self._left = max(self._left, 0 if known else _COMPARED, 0 if self._promising(batch) else _DOUBTED)
            if known:
                self._ratio[batch, _REST] = min(known)[1]
        elif self._steps % _REFRESHED == 0:
            self._left = max(self._left, _AGAIN)
        if self._left == 0:
            return False
        self._left -= 1
        self._width, self._expected = _REST, 0.0
        return True

    def _promising(self, batch: int) -> bool:
        tokens, plain = 1.0, self.time.seconds(batch, 0)
        for count, chance in enumerate(_COMMON, 1):
            tokens += chance
            if tokens * plain > self.time.seconds(batch, count):
                return True
        return False

    def width(self, chances: Sequence[float], batch: int) -> int:
        """The number of guesses for a step, of which `learn` will be told.

        Parameters
        ----------
        chances : sequence of float
            Mean over the sequences of the chance of the first guess to be right, the second, …
        """
        self._width = self.best(chances, batch)
        self._expected = sum(chances[: self._width])
        return self._width

    def best(self, chances: Sequence[float], batch: int) -> int:
        """The number of guesses with the most tokens a second."""
        if self.always:
            return min(self.always, len(chances))
        tokens, rate, best = 1.0, 1.0 / self.seconds(batch, 0), 0
        for count, chance in enumerate(chances[: self.most], 1):
            tokens += self.trust * chance
            if (found := tokens / self.seconds(batch, count)) > rate:
                rate, best = found, count
        return best

    def seconds(self, batch: int, guesses: int) -> float:
        """Expected time of a step with so many guesses, asking for them included, from steps that were like it."""
        return self.time.seconds(batch, guesses) * self._like(batch, guesses)

    def _knows(self, batch: int) -> bool:
        return any(size == batch for size, _ in self._ratio)

    def _like(self, batch: int, width: int) -> float:
        """Measured over first time of the nearest width that was measured at that batch; 1 where none was."""
        known = [(abs(width - other), ratio) for (size, other), ratio in self._ratio.items() if size == batch]
        return min(known)[1] if known else 1.0

    def learn(
        self, batch: int, kept: Sequence[int], seconds: float, first: tuple[float, float] = (0.0, 0.0),
        slowest: float = 1.0,
    ) -> None:  # fmt: skip
        """Told after each step.

        Parameters
        ----------
        kept : sequence of int
            Tokens of each sequence that could get all that was right.
        seconds : float
            How long the step took.
        first : (float, float)
            Of the likeliest guess of each sequence: how many were right, and the chance that they had. It says what
            chances are worth where none was verified.
        slowest : float
            Tokens a step of the slowest text, over the mean of all. A batch ends with its slowest text: what a pass
            costs whatever its size is saved at that pace only.
        """
        key, ratio = (batch, self._width), seconds / self.time.seconds(batch, max(0, self._width))
        turned, self._rested = self._rested is not (self._width == _REST), self._width == _REST
        self._time(key, ratio, turned)
        if self.always:
            return
        if self._width == _REST:
            self.trust = self._mean(self.trust, 1.0, _FORGOTTEN)
            return
        if not kept:  # all texts ended: what else was right is not known
            return
        right = sum(kept) / len(kept) - 1
        came, expected = (right, self._expected) if self._width else first
        if expected > 0:
            self.trust = min(2.0, max(0.1, self._mean(self.trust, came / expected)))
        if turned:
            return
        plain = self._ratio.get((batch, _REST), 1.0) * self.time.seconds(batch, 0)
        fixed = self.time.fixed_s / self.time.seconds(batch, self._width)
        tokens = (1 + right) / (fixed / slowest + 1 - fixed)
        self._gain = self._mean(self._gain, tokens * plain / seconds)
        if self._gain < _WORTH:
            self._left, self._pause, self._gain = self._pause, min(2 * self._pause, _LONGEST), _WORTH
        elif self._gain > 1.1 * _WORTH:
            self._pause = _PAUSE

    def _time(self, key: tuple[int, int], ratio: float, turned: bool) -> None:
        """Note what a step took over its first time; `turned`: that before it was of the other kind."""
        known = self._ratio.get(key)
        if known is None:  # one hiccup shall not condemn a width
            self._ratio[key] = min(ratio, _SURPRISE * self._like(*key)) if self._knows(key[0]) else ratio
            if turned:
                self._cold.add(key)
        elif key in self._cold and not turned:
            self._ratio[key] = min(known, ratio)
            self._cold.discard(key)
        elif not turned:  # what disturbs a step makes it slower
            self._ratio[key] = self._mean(known, ratio, _FASTER if ratio < known else _RECENT)

    @staticmethod
    def _mean(old: float, new: float, weight: float = _RECENT) -> float:
        return old + weight * (new - old)
