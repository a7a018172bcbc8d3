"""Channels inside a decoder layer that can be scaled down where they are made and up where they are read.

What makes them is a norm, or the rows of a linear layer; what reads them are columns of linear layers. Norms are found
by watching which tensors go where, linear layers by their names; whether a pair really leaves the layer's output as it
was is then tried: so heads that share values, biases and gains held as ``1 + w`` need no list of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.lazy import require
from dovetail.recipe.arithmetic.rounding import check_finite

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dovetail.recipe.layerwise.work import LayerWork

_INNER = (  # names of two linear layers of one block: channels of the first come to the second
    ("v_proj", ("o_proj", "out_proj", "dense")), ("up_proj", ("down_proj",)), ("fc1", ("fc2",)),
)  # fmt: skip
_SAME = 1e-3  # of what a layer adds to the hidden states: what scaling may change by rounding


@dataclass(frozen=True, slots=True)
class Pair:
    """Channels that one module makes and linear layers read.

    Parameters
    ----------
    maker : str
        Name in the layer of a norm or of a linear layer.
    readers : tuple of str
        Names of linear layers.
    head : int
        Channels of a head, where several heads of the readers read the same head of the maker; 0 where columns are
        channels.
    """

    maker: str
    readers: tuple[str, ...]
    head: int = 0

    def channels(self, work: LayerWork) -> int:
        """How many there are."""
        maker: Any = work.module.get_submodule(self.maker)
        return len(maker.weight)

    def targets(self, work: LayerWork) -> list[str]:
        """The readers whose matrices recipes change, by their names in the checkpoint."""
        names = (f"{work.prefix}{name}.weight" for name in self.readers)
        return [name for name in names if name in work.linears]

    def to_columns(self, scale: Tensor, columns: int) -> Tensor:
        """Values of channels (channels,) at the columns (columns,) that read them."""
        if not self.head:
            return scale
        heads = scale.reshape(-1, 1, self.head)
        return heads.expand(-1, columns // len(scale), -1).reshape(columns)

    def to_channels(self, values: Tensor, channels: int) -> Tensor:
        """The largest value of the columns (columns,) that read a channel: (channels,)."""
        if not self.head:
            return values
        return values.reshape(channels // self.head, -1, self.head).amax(1).reshape(channels)


def pairs(work: LayerWork) -> tuple[Pair, ...]:
    """All pairs of a layer, each tried: scaled at random, the layer's output stays as it was.

    Those between linear layers come first: rows of theirs that are large for no reason are then no more so when the
    errors of all rows are added up for the norms before them.

    Raises
    ------
    DovetailError
        A weight or a hidden state that is not finite; a layer in which there is no such pair.
    """
    for name, parameter in work.module.named_parameters():
        check_finite(work.prefix + name, parameter)
    batch = next(iter(work.states))
    before = work.run(batch) - batch
    if not before.isfinite().all():
        why = "the model overflows on the calibration text"
        raise DovetailError("hidden states are not finite", where=work.prefix.rstrip("."), why=why)
    found = tuple(pair for pair in (*_inner(work.module), *_norms(work, batch)) if pair.targets(work))
    if not _holds(work, batch, before, found):
        found = tuple(pair for pair in found if _holds(work, batch, before, (pair,)))
    if not found:
        why = "no norm or linear layer whose channels only linear layers read"
        hint = "rtn or gptq work on it; or a model of the Llama, Mistral, Qwen or Gemma families"
        where = work.prefix.rstrip(".")
        raise DovetailError("channels cannot be scaled", where=where, why=why, hint=hint, exit_code=INFEASIBLE)
    return found


def largest(work: LayerWork, names: Iterable[str]) -> Tensor:
    """Of each column (columns,) of some linears the largest absolute weight."""
    torch = require("torch", "torch")
    found: Tensor = torch.stack([work.linears[name].weight.abs().amax(0) for name in names]).amax(0)
    return found


def average(work: LayerWork, names: Iterable[str]) -> Tensor:
    """Of each column (columns,) of some linears the mean absolute weight."""
    torch = require("torch", "torch")
    found: Tensor = torch.cat([work.linears[name].weight for name in names]).abs().mean(0)
    return found


def rescale(work: LayerWork, pair: Pair, scale: Tensor, dtypes: Mapping[str, torch.dtype] | None = None) -> Tensor:
    """Divide channels where they are made and multiply them where they are read.

    Parameters
    ----------
    scale : Tensor (channels,)
        Above 0.
    dtypes : mapping of str to torch.dtype
        In which tensors are stored: a norm's gains are rounded to it, and columns make good for that.

    Returns
    -------
    Tensor (columns,)
        What the columns were multiplied by.
    """
    maker = work.module.get_submodule(pair.maker)
    if maker.weight.ndim == 2:
        _divide_rows(maker, scale)
    else:
        scale = _divide_gains(maker, scale, dtypes[f"{work.prefix}{pair.maker}.weight"] if dtypes else None)
    readers: list[Any] = [work.module.get_submodule(name) for name in pair.readers]
    columns = pair.to_columns(scale, readers[0].weight.shape[1])
    for reader in readers:
        reader.weight.data = reader.weight.data * columns
    return columns


def _divide_rows(linear: Any, scale: Tensor) -> None:
    linear.weight.data = linear.weight.data / scale[:, None]
    if linear.bias is not None:
        linear.bias.data = linear.bias.data / scale


def _divide_gains(norm: Any, scale: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The scale that the gains as stored really stand for; 1 where they would be lost."""
    torch = require("torch", "torch")
    offset, old = _offset(norm), norm.weight.data
    new = (old + offset) / scale - offset
    new = new.to(dtype).to(new.dtype) if dtype else new
    new = torch.where(new + offset == 0, old, new)
    done: Tensor = torch.where(old + offset == 0, 1.0, (old + offset) / (new + offset))
    norm.weight.data = new
    if getattr(norm, "bias", None) is not None:
        norm.bias.data = norm.bias.data / done
    return done


def _offset(norm: Any) -> float:
    """What a norm adds to its weights (1 in Gemma's), from what it does."""
    torch = require("torch", "torch")
    old, size = norm.weight.data, len(norm.weight)
    bias = getattr(norm, "bias", None)
    x = torch.linspace(-1, 1, size, dtype=old.dtype).square() + 0.5
    x = x * torch.where(torch.arange(size) % 2 == 0, 1, -1)

    def out(value: float) -> Any:
        norm.weight.data = torch.full_like(old, value)
        found = norm(x[None])[0]
        return found if bias is None else found - bias

    with torch.inference_mode():
        zero, one = out(0.0), out(1.0)
    norm.weight.data = old
    return float((zero / (one - zero)).nanmedian().round())


def _norms(work: LayerWork, batch: Tensor) -> Iterator[Pair]:
    """Modules of one vector of weights, and the linear layers that read the very tensor that they make."""
    torch = require("torch", "torch")
    made: dict[Any, str] = {}
    kept: list[Tensor] = []  # so that no other tensor gets the same place
    readers: dict[str, list[str]] = {}

    def place(x: Tensor) -> tuple[int, int]:
        return x.data_ptr(), x.shape[-1]

    def makes(name: str) -> Any:
        def hook(module: Any, given: Any, out: Tensor) -> None:
            kept.append(out)
            made[place(out)] = name

        return hook

    def reads(name: str) -> Any:
        def hook(module: Any, given: tuple[Tensor, ...]) -> None:
            kept.append(given[0])
            if (maker := made.get(place(given[0]))) is not None:
                readers.setdefault(maker, []).append(name)

        return hook

    handles = []
    for name, module in work.module.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, torch.nn.Linear):
            handles.append(module.register_forward_pre_hook(reads(name)))
        elif weight is not None and weight.ndim == 1:
            handles.append(module.register_forward_hook(makes(name)))
    try:
        work.run(batch)
    finally:
        for handle in handles:
            handle.remove()
    yield from (Pair(maker, tuple(names)) for maker, names in readers.items())


def _inner(module: Any) -> Iterator[Pair]:
    """Linear layers whose names say that the rows of one come to the columns of the other."""
    torch = require("torch", "torch")
    linears = {name: part for name, part in module.named_modules() if isinstance(part, torch.nn.Linear)}
    for name, part in linears.items():
        block, _, last = name.rpartition(".")
        wanted = next((after for first, after in _INNER if first == last), ())
        reader = next((f"{block}.{after}" for after in wanted if f"{block}.{after}" in linears), None)
        if reader is None:
            continue
        rows, columns = len(part.weight), linears[reader].weight.shape[1]
        head = getattr(module.get_submodule(block), "head_dim", 0) if rows != columns else 0
        if rows == columns or (head and rows % head == 0 and columns % rows == 0):
            yield Pair(name, (reader,), head)


def _holds(work: LayerWork, batch: Tensor, before: Tensor, some: Iterable[Pair]) -> bool:
    """Whether what the layer adds to hidden states stays when the channels of these pairs are scaled."""
    torch = require("torch", "torch")
    source = torch.Generator().manual_seed(0)
    with _undone(work.module):
        for pair in some:
            powers = torch.randint(-3, 4, (pair.channels(work),), generator=source)
            rescale(work, pair, 2.0**powers)
        changed = (work.run(batch) - batch - before).norm(dim=(0, 1))
    share = changed / before.norm(dim=(0, 1)).clamp(min=torch.finfo(torch.float32).tiny)
    return bool(share.median() < _SAME)


@contextmanager
def _undone(module: Any) -> Iterator[None]:
    """What is done to parameters inside is undone after; changes make new tensors, so the old are kept, not copied."""
    old: Mapping[str, Tensor] = {name: parameter.data for name, parameter in module.named_parameters()}
    try:
        yield
    finally:
        for name, parameter in module.named_parameters():
            parameter.data = old[name]
