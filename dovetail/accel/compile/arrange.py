"""Where the channels of each tensor stand in the overlay's words: heads in whole words, pairs of rotary together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dovetail.accel.golden import program as p

Places = npt.NDArray[np.int64]  # of each lane its channel, or -1 where it pads


def padded(channels: int, columns: int) -> Places:
    """Channels in their order, to a multiple of the columns."""
    return np.concatenate([np.arange(channels), np.full(-channels % columns, -1)])


def by_head(channels: int, heads: int, columns: int, pairs: bool) -> Places:
    """Each head to a multiple of the columns; with `pairs`, channels i and i + n/2 next to each other.

    Products of queries and keys stay what they are when both change places alike.
    """
    size = channels // heads
    order = np.arange(size).reshape(2, -1).T.reshape(-1) if pairs else np.arange(size)
    one = np.concatenate([order, np.full(-size % columns, -1)])
    return np.concatenate([np.where(one < 0, -1, one + head * size) for head in range(heads)])


def arrange(steps: Sequence[p.Step], columns: int) -> dict[str, Places]:
    """Of every tensor of a program."""
    makers = {step.name: step for step in steps}
    found = {step.name: padded(step.channels, columns) for step in steps}
    first = steps[0]  # of a model without tokens: what it reads has as many channels as what is made of it
    if not isinstance(first, p.Lookup) and first.inputs[0] not in found:
        found[first.inputs[0]] = padded(first.channels, columns)
    for step in steps:
        if isinstance(step, p.Attend):
            query, key, value = step.inputs
            for name, heads in ((query, step.heads), (key, step.kv_heads), (value, step.kv_heads)):
                chain = _chain(name, makers)
                pairs = any(isinstance(each, p.Rotate) for each in chain)
                for each in chain:
                    found[each.name] = by_head(each.channels, heads, columns, pairs)
            found[step.name] = by_head(step.channels, step.heads, columns, False)
    for step in steps:
        if isinstance(step, p.Quantise) and isinstance(makers.get(step.inputs[0]), p.Attend):
            found[step.name] = found[step.inputs[0]]
    return found


def _chain(name: str, makers: dict[str, p.Step]) -> list[p.Step]:
    """The step that makes a tensor and those before it, up to the product they come from."""
    found = [makers[name]]
    while not isinstance(found[-1], p.Product):
        found.append(makers[found[-1].inputs[0]])
    return found


def place(values: npt.NDArray[np.int64], places: Places, axis: int = -1) -> npt.NDArray[np.int64]:
    """Values by channel moved to their lanes; zeros where lanes pad."""
    moved = np.take(values, np.maximum(places, 0), axis=axis)
    shape = [1] * moved.ndim
    shape[axis] = -1
    return np.where((places >= 0).reshape(shape), moved, 0)
