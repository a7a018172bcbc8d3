"""A torch network whose linear layers and convolutions run on simulated arrays while a context is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.cost import Work, work
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.layer import Layer, Setup, write
from dovetail.crossbar.torch_engine import TorchEngine

if TYPE_CHECKING:
    from torch import Tensor, nn

Change = Callable[[str, Layer], Layer]
SAMPLE = 256  # input vectors of a layer that are kept for calibration


@dataclass(slots=True, eq=False)
class Placed:
    """A module whose product arrays make.

    Parameters
    ----------
    name : str
    module : Module
    layer : Layer
    sample : array of int32, shape (at most SAMPLE, inputs)
        Inputs that came, as the arrays saw them.
    vectors, live, cycles : int
        Vectors that came; cycles of a tile with an input that is on, and all of them.
    """

    name: str
    module: nn.Module
    layer: Layer
    engine: Engine
    sample: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    vectors: int = 0
    live: int = 0
    cycles: int = 0
    on_device: TorchEngine | None = None

    def work(self) -> Work:
        """What its arrays did for each vector, cycles without inputs left out."""
        return work(self.layer, self.live / self.cycles if self.cycles else None)

    def change(self, layer: Layer) -> None:
        """Put other converters before the same cells."""
        self.layer, self.engine, self.on_device = layer, Engine.of(layer), None

    def product(self, x: Tensor) -> Tensor:
        """``x @ weights.T`` by arrays: inputs rounded with a scale for each vector, in the module's dtype."""
        torch = require("torch", "torch")
        flat = x.reshape(-1, x.shape[-1])
        wanted = self.layer.setup.inputs
        scale = flat.abs().amax(dim=1, keepdim=True).double().clamp(min=1e-30) / wanted.highest
        whole = (flat.double() / scale).round().clamp(wanted.lowest, wanted.highest).to(torch.int32)
        if x.device.type == "cpu":
            out = torch.from_numpy(self.engine.multiply(self._noted(whole.numpy()), seed=self.vectors))
        else:
            self._noted(whole[:SAMPLE].cpu().numpy(), len(whole))
            self.on_device = self.on_device or TorchEngine.of(self.engine, str(x.device))
            out = self.on_device.multiply(whole, seed=self.vectors)
        scaled: Tensor = (out * scale).to(x.dtype).reshape(*x.shape[:-1], -1)
        return scaled

    def _noted(self, x: NDArray[np.int32], count: int | None = None) -> NDArray[np.int32]:
        room = SAMPLE - len(self.sample)
        if room > 0:
            self.sample = np.concatenate([self.sample.reshape(-1, x.shape[1]), x[:room]])
        driven = self.layer.driven(x)
        bits = np.bitwise_or.reduceat(driven & (1 << self.layer.setup.inputs.bits) - 1, self.layer.starts, axis=1)
        self.live += sum(int(np.count_nonzero(bits >> k & 1)) for k in range(self.layer.setup.inputs.bits))
        self.cycles += bits.size * self.layer.setup.inputs.bits
        self.vectors += len(x) if count is None else count
        return x


def matrix(module: Any) -> Tensor | None:
    """The weights of a module as (outputs, inputs); None where arrays cannot make its product."""
    kind, weight = type(module).__name__, getattr(module, "weight", None)
    if weight is None:
        return None
    if kind == "Conv1D":  # transformers' linear layer with transposed weights
        return weight.T  # type: ignore[no-any-return]
    if _is_linear(module):
        return weight  # type: ignore[no-any-return]
    if _is_convolution(module) and module.groups == 1:
        return weight.flatten(1)  # type: ignore[no-any-return]
    return None


def _is_linear(module: nn.Module) -> bool:
    torch = require("torch", "torch")
    return isinstance(module, torch.nn.Linear)


def _is_convolution(module: nn.Module) -> bool:
    torch = require("torch", "torch")
    return (
        isinstance(module, torch.nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    )


def _tables(model: nn.Module) -> set[int]:
    """Ids of the matrices that embeddings look up."""
    torch = require("torch", "torch")
    return {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}


def digital(model: nn.Module) -> dict[str, int]:
    """What stays digital: kinds of modules with parameters of their own that arrays do not multiply with, counted.

    A tied head is one: its matrix is a table in memory, which the embedding looks up.
    """
    kinds, tables = dict[str, int](), _tables(model)
    for module in model.modules():
        own = next(module.parameters(recurse=False), None)
        tied = matrix(module) is not None and id(module.weight) in tables
        if own is not None and (tied or matrix(module) is None):
            name = f"tied {type(module).__name__}" if tied else type(module).__name__
            kinds[name] = kinds.get(name, 0) + 1
    return kinds


@contextmanager
def on_crossbars(
    model: nn.Module, setup: Setup | None = None, grid: FixedPoint | None = None, *, leave: Sequence[str] = (),
    unsigned: Sequence[str] = (), codes: Mapping[str, Any] | None = None, change: Change = lambda name, layer: layer,
) -> Iterator[tuple[Placed, ...]]:  # fmt: skip
    """Let arrays multiply in `model`, until the context ends; a head tied to the embedding stays digital.

    Parameters
    ----------
    model : Module
        In eval mode; its own weights are not changed.
    setup : Setup
        Inputs are taken as signed, whatever it says, but where `unsigned` names a layer.
    grid : FixedPoint
    leave : sequence of str
        Globs of module names that stay digital.
    unsigned : sequence of str
        Globs of modules whose inputs are never negative (after a ReLU): one bit more for the same cycles.
    codes : mapping of name to Codes
        Codes of layers that were rounded in another way than to the nearest.
    change : callable
        Of a layer's name and its written layer: other converters.

    Raises
    ------
    DovetailError
        No linear layer or convolution, or weights that are not finite.
    """
    setup, grid, given = setup or Setup(), grid or FixedPoint(), codes or {}
    placed: list[Placed] = []
    tables = _tables(model)
    for name, module in model.named_modules():
        weight = matrix(module)
        if weight is None or id(module.weight) in tables or any(fnmatch(name, glob) for glob in leave):
            continue
        signed = not any(fnmatch(name, glob) for glob in unsigned)
        own = replace(setup, inputs=replace(setup.inputs, signed=signed), seed=setup.seed + len(placed))
        coded = given.get(name) or grid.codes(weight.detach().double().cpu().numpy(), name)
        layer = change(name, write(coded, own))
        placed.append(Placed(name, module, layer, Engine.of(layer)))
    if not placed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in digital(model).items()) or "no parameters"
        why = f"it has {kinds}, which stay digital"
        hint = "a model with linear layers or 2-D convolutions of one group"
        raise DovetailError("nothing for crossbars to multiply", where=type(model).__name__, why=why, hint=hint)
    before = [each.module.__dict__.get("forward") for each in placed]
    try:
        for each in placed:
            each.module.forward = _forward(each)
        yield tuple(placed)
    finally:
        for each, own_forward in zip(placed, before):
            if own_forward is None:
                del each.module.__dict__["forward"]
            else:
                each.module.forward = own_forward


def _forward(placed: Placed) -> Callable[[Tensor], Tensor]:
    module: Any = placed.module
    bias = module.bias

    def linear(x: Tensor) -> Tensor:
        out = placed.product(x)
        return out if bias is None else out + bias

    def convolution(x: Tensor) -> Tensor:
        torch = require("torch", "torch")
        how = {name: getattr(module, name) for name in ("kernel_size", "dilation", "padding", "stride")}
        columns = torch.nn.functional.unfold(x, **how).transpose(1, 2)
        spans = [
            (x.shape[2 + k] + 2 * module.padding[k] - module.dilation[k] * (module.kernel_size[k] - 1) - 1)
            // module.stride[k] + 1 for k in (0, 1)
        ]  # fmt: skip
        return linear(columns).transpose(1, 2).reshape(len(x), -1, *spans)

    return convolution if _is_convolution(module) else linear
