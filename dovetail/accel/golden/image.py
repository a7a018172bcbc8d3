"""Every constant of an integer model by name, as the hardware's memory holds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dovetail.accel.arithmetic import gate, rsqrt, softmax
from dovetail.accel.golden import program as p
from dovetail.accel.golden.model import IntegerModel


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """An array of the weights image.

    Parameters
    ----------
    values : array
        Of the least NumPy type that holds `bits`.
    bits : int
        Of each value.
    signed : bool
    """

    values: npt.NDArray[Any]
    bits: int
    signed: bool


def constants(model: IntegerModel) -> dict[str, Constant]:
    """Matrices, multipliers, biases, norms, tables of positions, angles and functions.

    Matrices that several steps share appear once, under their own name. ``NAME.values`` is there for 8 bits,
    ``NAME.codes`` and ``NAME.steps`` (step - 1) for 4.
    """
    found: dict[str, Constant] = {}
    for step in model.steps:
        for name, constant in _of(step):
            found.setdefault(name, constant)
    return found


def _of(step: p.Step) -> Iterator[tuple[str, Constant]]:
    if isinstance(step, p.Lookup | p.Product | p.Convolve):
        matrix = step.matrix
        if matrix.codes is None or matrix.steps is None:
            yield f"{matrix.name}.values", Constant(matrix.values, 8, True)
        else:
            yield f"{matrix.name}.codes", Constant(matrix.codes, 4, True)
            yield f"{matrix.name}.steps", Constant((matrix.steps - 1).astype(np.uint8), 4, False)
        yield f"{matrix.name}.mantissa", _constant(matrix.mantissa, 15, False)
        yield f"{matrix.name}.shift", _constant(matrix.shift, 6, False)
    if isinstance(step, p.Product | p.Convolve) and step.bias is not None:
        yield f"{step.name}.bias", _constant(step.bias, 24, True)
    if isinstance(step, p.Normalise):
        yield f"{step.name}.weight", _constant(step.norm.weight, 16, True)
        yield "rsqrt.table", _constant(rsqrt.table(), 16, False)
        if step.norm.bias is not None:
            yield f"{step.name}.bias", _constant(step.norm.bias, 24, True)
    if isinstance(step, p.AddPositions):
        yield f"{step.name}.table", _constant(step.table, 24, True)
    if isinstance(step, p.Rotate):
        yield "rotary.cosine", _constant(step.cosine, 16, True)
        yield "rotary.sine", _constant(step.sine, 16, True)
    if isinstance(step, p.Attend):
        yield "softmax.table", _constant(softmax.table(), 15, False)
    if isinstance(step, p.Activate) and step.kind != "relu":
        yield f"{step.kind}.table", _constant(gate.table(step.kind), 16, False)


def _constant(values: npt.NDArray[np.int64], bits: int, signed: bool) -> Constant:
    width = next(w for w in (8, 16, 32) if w >= bits)
    return Constant(values.astype(np.dtype(f"{'int' if signed else 'uint'}{width}")), bits, signed)
