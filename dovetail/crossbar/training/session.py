"""``with bit_slice(model, …) as training``: a torch module whose weights are codes in cells while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import Codes, FixedPoint
from dovetail.crossbar.columns import Arrays, SliceStatistics, statistics
from dovetail.crossbar.training.converting import Converting
from dovetail.crossbar.training.matrices import as_matrix, coded, matrix_layers, step_of
from dovetail.crossbar.training.parts import Disturbance, Form, Penalty, Restriction, Weights
from dovetail.crossbar.training.restrictions import Prune

if TYPE_CHECKING:
    from torch import Tensor, nn


class Training:
    """A network whose matrices are codes; made by `bit_slice`."""

    def __init__(self, model: nn.Module, form: Form, parts: Sequence[Any], digital: Sequence[str], seed: int,
                 held: Mapping[str, Codes]) -> None:  # fmt: skip
        torch = require("torch", "torch", to="train")
        self.form, self.parts = form, tuple(parts)
        self.layers = matrix_layers(model, digital)
        self.source = torch.Generator().manual_seed(seed)
        self.thresholds = dict.fromkeys(self.layers, 0.0)
        self._held = {name: torch.from_numpy(codes.steps).float() for name, codes in held.items()}
        self._final: dict[str, Codes] = {}
        self._seen: dict[str, tuple[int, Tensor, Tensor]] = {}
        self.at(0.0)

    def at(self, progress: float) -> None:
        """Say how much of the training is done, 0 to 1: what is pruned grows with it."""
        prune = next((part for part in self.parts if isinstance(part, Prune)), None)
        if prune is None:
            return
        torch = require("torch", "torch", to="train")
        magnitudes = torch.cat([self.real(name).detach().abs().reshape(-1) for name in self.layers])
        count = round(prune.share(progress) * len(magnitudes))
        cut = float(magnitudes.kthvalue(count).values) if count else 0.0
        above = float(torch.nextafter(torch.tensor(cut), torch.tensor(float("inf"))))  # the cut itself goes too
        self.thresholds = dict.fromkeys(self.layers, above if count else 0.0)

    def real(self, name: str) -> Tensor:
        """The weights (outputs, inputs) of a layer that the optimiser changes."""
        layer: Any = self.layers[name]
        held = getattr(layer, "parametrizations", None)
        return as_matrix(held.weight.original if held is not None else layer.weight)

    def weights(self, name: str) -> Weights:
        """The weights of a layer with their codes."""
        real = self.real(name)
        version, step, codes = self._seen.get(name, (-1, real, real))
        if version != real._version:  # the optimiser was here since the last forward pass
            step, codes = self.look(name)
        return Weights(real, step, codes)

    def look(self, name: str) -> tuple[Tensor, Tensor]:
        """Steps and codes of a layer's weights as they now are."""
        real = self.real(name).detach()
        step = self._held[name] if name in self._held else step_of(real, self.form.grid)
        codes = self.rounded(real, step, name)
        self._seen[name] = real._version, step, codes
        return step, codes

    def rounded(self, real: Tensor, step: Tensor, name: str) -> Tensor:
        """The codes of weights (outputs, inputs), with all restrictions."""
        scaled = real / step
        codes = scaled.round().clamp(-self.form.grid.top, self.form.grid.top)
        threshold = self.thresholds[name]
        for part in self.parts:
            if isinstance(part, Restriction):
                cut = threshold / float(step.min()) if threshold else 0.0
                codes = part.restrict(scaled, codes, self.form, cut)
        return codes

    def penalty(self) -> Tensor:
        """What all penalties add to the loss: the strength of each times its mean over all weights."""
        torch = require("torch", "torch", to="train")
        penalties = [part for part in self.parts if isinstance(part, Penalty)]
        total: Tensor = torch.zeros(())
        views = [self.weights(name) for name in self.layers] if penalties else []
        count = sum(view.real.numel() for view in views)
        for penalty in penalties:
            for view in views:
                total = total + penalty.strength / count * penalty.total(view, self.form)
        return total

    def codes(self) -> dict[str, Codes]:
        """The codes of all layers, by name; also after the training."""
        return self._final or {name: self._coded(name) for name in self.layers}

    def _coded(self, name: str) -> Codes:
        step, codes = self.look(name)
        return coded(codes, step, self.form.grid)

    def statistics(self) -> dict[str, SliceStatistics]:
        """Non-zero cells and bitline sums of all layers, by name."""
        return {name: statistics(codes, self.form.cells, self.form.arrays) for name, codes in self.codes().items()}

    def finish(self) -> None:
        """Keep the codes as they now are."""
        self.at(1.0)
        self._final = self.codes()


@contextmanager
def bit_slice(
    model: nn.Module,
    *parts: Penalty | Restriction | Disturbance | Converting,
    grid: FixedPoint | None = None,
    cells: Cells | None = None,
    arrays: Arrays | None = None,
    digital: Sequence[str] = (),
    seed: int = 0,
    held: Mapping[str, Codes] | None = None,
) -> Iterator[Training]:
    """Train (or run) a module whose linear layers and convolutions compute with the codes that cells would hold.

    Weights are rounded to dynamic fixed point in the forward pass, and gradients pass the rounding. When the block is
    left the module is as it was, its weights being what their codes stand for; where it is left by an error, those that
    the optimiser has made. An optimiser made before stays valid.

    Parameters
    ----------
    model : nn.Module
    *parts : Penalty, Restriction, Disturbance or Converting
        What the training is to do: `penalties`, `restrictions` (in this order), `noise`, `converting`. Errors of cells
        only come while the module is in training mode.
    grid, cells, arrays : FixedPoint, Cells, Arrays
        8-bit codes with a scale for each layer, differential 2-bit cells, 128 x 128 by default.
    digital : sequence of str
        Globs of layers that stay as they are.
    held : mapping of str to Codes
        Layers whose steps are those of these codes, and no longer follow the largest weight.

    Raises
    ------
    DovetailError
        Nothing to put on crossbars, weights that are not finite, parts that do not fit the slices.

    Examples
    --------
    >>> with bit_slice(model, StepL1(0.1), Prune(0.9)) as training:  # doctest: +SKIP
    ...     for i, (x, y) in enumerate(batches):
    ...         training.at(i / len(batches))
    ...         loss = cross_entropy(model(x), y) + training.penalty()
    """
    torch = require("torch", "torch", to="train")
    form = Form(grid or FixedPoint(), cells or Cells(), arrays or Arrays())
    _check(parts, form)
    training = Training(model, form, parts, digital, seed, held or {})
    converting = next((part for part in parts if isinstance(part, Converting)), None)
    done = False
    try:
        for name, layer in training.layers.items():
            torch.nn.utils.parametrize.register_parametrization(layer, "weight", _coding(training, name))
            if converting is not None:
                layer.forward = partial(_converted, training, converting, name)
        yield training
        training.finish()
        done = True
    finally:
        for name in training.layers:
            _leave(training, name, done)


def _leave(training: Training, name: str, done: bool) -> None:
    """Give a layer back; where the training is done its weights are what the codes stand for."""
    torch = require("torch", "torch", to="train")
    layer: Any = training.layers[name]
    layer.__dict__.pop("forward", None)
    if not torch.nn.utils.parametrize.is_parametrized(layer, "weight"):
        return
    if done:
        original = layer.parametrizations.weight.original
        original.data.copy_(torch.from_numpy(training.codes()[name].weights()).reshape(original.shape))
    torch.nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


def _converted(training: Training, converting: Converting, name: str, given: Tensor) -> Tensor:
    return converting.forward(training.layers[name], given, lambda: training.weights(name), training.form)


def _coding(training: Training, name: str) -> nn.Module:
    """What a layer's weights pass in the forward pass."""
    torch = require("torch", "torch", to="train")
    disturbances = [part for part in training.parts if isinstance(part, Disturbance)]

    class Coding(torch.nn.Module):  # type: ignore[name-defined, misc]
        def forward(self, weight: Tensor) -> Tensor:
            with torch.no_grad():
                step, codes = training.look(name)
                for part in disturbances if self.training else ():
                    codes = part.disturb(codes, training.form, training.source)
                error = (codes * step).reshape(weight.shape) - weight
            return weight + error

    return Coding()


def _check(parts: Sequence[object], form: Form) -> None:
    """Every part is one, and fits the slices."""
    for part in parts:
        if not isinstance(part, Penalty | Restriction | Disturbance | Converting):
            hint = "penalties, restrictions, Noise, Converting"
            raise DovetailError(f"'{part}' is no part of a training", where="bit_slice", hint=hint)
    if form.cells.bits > form.grid.bits:
        why = f"cells of {form.cells.bits} bits, codes of {form.grid.bits}"
        raise DovetailError("cells larger than codes", where="cells", why=why, hint="smaller cells")
