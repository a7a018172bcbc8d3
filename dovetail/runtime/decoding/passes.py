"""Times of passes of the decoder at the very shapes that are asked for: what predictions for this computer rest on.

A line through a few passes (`sizing.PassTime`) is enough to choose a number of guesses and learn from the steps that
follow. Passes of one, four and sixteen tokens do not lie on one: they take other kernels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import torch

from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.runner import Runner
from dovetail.runtime.decoding.tree import Tree


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds: of one CPU thread its own, whatever else a computer does; of more than that the wall's."""
    return time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


@dataclass(frozen=True, slots=True)
class TimedPass:
    """Seconds of a pass, measured once for each shape.

    Parameters
    ----------
    context : int
        Cached tokens of each sequence.
    repeats : int
        Of each pass; the median counts.
    """

    runner: Runner
    context: int = 64
    repeats: int = 9
    _known: dict[tuple[int, int], float] = field(default_factory=dict)

    def seconds(self, batch: int, guesses: int) -> float:
        """Of a pass over `batch` sequences with a chain of as many guesses each, and logits of all of them."""
        if (batch, guesses) not in self._known:
            self._known[batch, guesses] = self._timed(batch, guesses)
        return self._known[batch, guesses]

    def _timed(self, batch: int, guesses: int) -> float:
        runner, device, tree = self.runner, self.runner.device, Tree.chain(guesses)
        cache = KVCache(len(runner.layers), batch, device=device)
        clock = clock_of(device)
        with torch.inference_mode():
            runner.forward(torch.zeros(batch, self.context, dtype=torch.long, device=device), cache)
            cache.keep([self.context] * batch)
            ids, found = torch.zeros(batch, 1 + guesses, dtype=torch.long, device=device), []
            for _ in range(self.repeats):
                began = clock()
                visible = tree.visible().to(device) if guesses else None
                runner.logits(runner.forward(ids, cache, None, visible)).argmax(-1).tolist()
                found.append(clock() - began)
        return median(found)
