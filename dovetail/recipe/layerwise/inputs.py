"""What the inputs of linear layers are like on the calibration text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dovetail.core.lazy import require
from dovetail.recipe.arithmetic.gptq import Factored, factorised

if TYPE_CHECKING:
    from torch import Tensor, nn

_SAMPLE = 1024  # rows kept, spread over the batches


@dataclass(slots=True)
class Inputs:
    """Statistics of the inputs of one linear layer, or of several that read the same tensor.

    Parameters
    ----------
    moment : Tensor (cols, cols)
        Sum of ``x x^T``; (0, 0) where it was not asked for.
    peak : Tensor (cols,)
        Largest absolute value of each channel.
    mean : Tensor (cols,)
        Mean absolute value of each channel.
    sample : Tensor (rows, cols)
        Some of the inputs, spread evenly.
    count : int
        Inputs seen.
    """

    moment: Tensor
    peak: Tensor
    mean: Tensor
    sample: Tensor
    count: int
    _factored: dict[tuple[float, bool], Factored] = field(default_factory=dict, init=False)  # of this very moment

    def factored(self, damp: float = 0.01, order: bool = True) -> Factored:
        """What GPTQ asks of these inputs, found once for all matrices that read them. Errors as those of `gptq`."""
        if (damp, order) not in self._factored:
            self._factored = {(damp, order): factorised(self.moment, damp=damp, order=order)}
        return self._factored[damp, order]


@dataclass(slots=True)
class _Sum:
    """Statistics while batches come in."""

    wanted_rows: int
    moments: bool = True
    moment: Any = None
    peak: Any = None
    total: Any = None
    rows: list[Any] = field(default_factory=list)
    count: int = 0

    def add(self, x: Tensor) -> None:
        flat = x.detach().reshape(-1, x.shape[-1]).float()
        if self.moment is None:
            size = flat.shape[1] if self.moments else 0
            self.moment = flat.new_zeros(size, size)
            self.peak, self.total = flat.new_zeros(flat.shape[1]), flat.new_zeros(flat.shape[1])
        if self.moments:
            self.moment.addmm_(flat.T, flat)
        self.peak = self.peak.maximum(flat.abs().amax(0))
        self.total += flat.abs().sum(0)
        self.count += len(flat)
        # odd: sequences are of even lengths, and their first tokens are unlike all others
        stride = (max(1, len(flat) // max(1, self.wanted_rows)) - 1) | 1
        self.rows.append(flat[::stride].clone())

    def done(self) -> Inputs:
        torch = require("torch", "torch")
        return Inputs(self.moment, self.peak, self.total / self.count, torch.cat(self.rows), self.count)


def collect(
    linears: Mapping[str, nn.Linear], passes: Iterable[Callable[[], object]], batches: int, moments: bool = True
) -> dict[str, Inputs]:
    """Statistics of the inputs of `linears` over forward passes.

    Layers that read the same tensor share one object: their statistics are computed once.

    Parameters
    ----------
    passes : iterable of callable
        Each runs the module that holds the layers on one batch.
    batches : int
        How many there are.
    moments : bool
        Whether second moments are wanted: they take by far the most time and memory.
    """
    sums: dict[str, _Sum] = {}
    leader: dict[str, str] = {}  # of each layer, the first of those that read the same tensor
    seen: dict[int, tuple[str, Tensor]] = {}  # in this pass: a tensor, kept so that its identity stays its own

    def hook(name: str) -> Callable[..., None]:
        def look(module: object, given: tuple[Tensor, ...]) -> None:
            first = leader.setdefault(name, seen.setdefault(id(given[0]), (name, given[0]))[0])
            if first == name:
                sums.setdefault(name, _Sum(-(-_SAMPLE // batches), moments)).add(given[0])

        return look

    handles = [linear.register_forward_pre_hook(hook(name)) for name, linear in linears.items()]
    try:
        for run in passes:
            seen.clear()
            run()
    finally:
        for handle in handles:
            handle.remove()
    found = {name: one.done() for name, one in sums.items()}
    return {name: found[leader[name]] for name in leader}  # in the order in which they were called
