"""Maps of images: where their channels stand, and the instructions that pool them and gather their windows.

A map is one long vector, place after place, each place's channels in whole words. A convolution is a product whose rows
are places of its result; the vector unit writes each row's operands, window by window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dovetail.accel.compile.arrange import Places, padded
from dovetail.accel.golden import program as p
from dovetail.core.errors import DovetailError

MOST = {"places of a side": 127, "words of a place": 63, "size of a window": 15, "stride or padding": 7}


@dataclass(frozen=True, slots=True)
class Map:
    """Sizes of a map."""

    channels: int
    rows: int
    columns: int

    @property
    def places(self) -> int:
        """Rows x columns."""
        return self.rows * self.columns


def after(size: int, window: int, stride: int, padding: int = 0) -> int:
    """Places of a side after windows were taken."""
    return (size + 2 * padding - window) // stride + 1


def maps(steps: Sequence[p.Step]) -> dict[str, Map]:
    """Every tensor that is a map, by name. What a convolution reads, what it makes, and on until a product reads it."""
    found: dict[str, Map] = {}
    for step in steps:
        if isinstance(step, p.Convolve | p.Pool):
            _mark(step.inputs[0], Map(*step.shape), steps, found)
        if isinstance(step, p.Convolve):
            sides = (after(size, each, step.stride, step.padding) for size, each in zip(step.shape[1:], step.size))
            found[step.name] = Map(step.channels // _places(step), *sides)
        elif isinstance(step, p.Pool):
            sides = (after(size, step.size, step.stride) for size in step.shape[1:])
            found[step.name] = Map(step.shape[0], *sides)
        elif isinstance(step, p.Activate | p.Quantise) and step.inputs[0] in found:
            found[step.name] = found[step.inputs[0]]
    return found


def _places(step: p.Convolve) -> int:
    sides = [after(size, each, step.stride, step.padding) for size, each in zip(step.shape[1:], step.size)]
    return sides[0] * sides[1]


def _mark(name: str, shape: Map, steps: Sequence[p.Step], found: dict[str, Map]) -> None:
    """What a window is taken of is a map, and what that was made of, back to the input."""
    while name not in found:
        found[name] = shape
        made = next((step for step in steps if step.name == name), None)
        if made is None or not isinstance(made, p.Activate | p.Quantise):
            return
        name = made.inputs[0]


def of_map(shape: Map, columns: int) -> Places:
    """Channels of a map: `p.Convolve` counts them channel by channel, words hold them place by place."""
    one = padded(shape.channels, columns)
    places = np.arange(shape.places)[:, None]
    return np.asarray(np.where(one < 0, -1, one * shape.places + places).reshape(-1), np.int64)


def of_window(step: p.Convolve, columns: int) -> Places:
    """Inputs of a row of the array: word after word of the channels, of each its window, row by row."""
    one = padded(step.shape[0], columns).reshape(-1, 1, columns)
    window = np.arange(step.size[0] * step.size[1])[:, None]
    return np.asarray(np.where(one < 0, -1, one * len(window) + window).reshape(-1), np.int64)


def gathered(step: p.Convolve, shape: Map, result: Map, words: int) -> dict[str, int]:
    """Fields of the instruction that writes a convolution's operands; `words` of each place."""
    _check(step, max(shape.rows, shape.columns, result.rows, result.columns), words, max(step.size), step)
    return {
        "channel_words": words, "kernel_rows": step.size[0], "kernel_columns": step.size[1], "stride_": step.stride,
        "padding": step.padding, "rows": shape.rows, "columns": shape.columns, "out_rows": result.rows,
        "out_columns": result.columns, "row_words": shape.columns * words,
    }  # fmt: skip


def pooled(step: p.Pool, shape: Map, result: Map, words: int) -> dict[str, int]:
    """Fields of an instruction whose vector is pooled on the way; `words` of each place."""
    _check(step, max(shape.rows, shape.columns), words, step.size, step)
    fields = {
        "channel_words": words, "rows": result.rows, "columns": result.columns, "pool_size": step.size,
        "pool_stride": step.stride, "pool_row_words": shape.columns * words,
    }  # fmt: skip
    if step.kind == "mean":
        fields |= {"pool_mean": 1, "second": step.mantissa, "multiply_shift": step.shift}
    return fields


def _check(step: p.Step, side: int, words: int, window: int, windowed: p.Convolve | p.Pool) -> None:
    step_by = max(windowed.stride, windowed.padding if isinstance(windowed, p.Convolve) else 0)
    for (what, most), got in zip(MOST.items(), (side, words, window, step_by)):
        if got > most:
            raise DovetailError(f"{got} {what}", where=step.name, why=f"the overlay counts to {most}", hint="less")
