"""What each step computes, in integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dovetail.accel import floating
from dovetail.accel.arithmetic import block, gate, product, softmax
from dovetail.accel.arithmetic.norm import normalise
from dovetail.accel.arithmetic.rotary import rotate
from dovetail.accel.arithmetic.rounding import WORD, Ints, round_shift, saturate
from dovetail.accel.golden import program as p


@dataclass(slots=True, eq=False)
class Values:
    """Tensors of the tokens at hand, and what earlier tokens left.

    Parameters
    ----------
    tensors : dict of str to (..., tokens, channels)
    exponents : dict of str to (..., tokens, heads)
        Of operands.
    cached : dict of str to (..., tokens so far, channels)
        Keys and values, by the tensor's name.
    position : int
        Tokens that were there before.
    """

    tensors: dict[str, Ints] = field(default_factory=dict)
    exponents: dict[str, Ints] = field(default_factory=dict)
    cached: dict[str, Ints] = field(default_factory=dict)
    position: int = 0


def execute(step: p.Step, values: Values) -> None:
    """Compute a step's tensor from those in `values`."""
    values.tensors[step.name] = _EXECUTE[type(step)](step, values)


def _lookup(step: p.Lookup, values: Values) -> Ints:
    ids = values.tensors[step.inputs[0]]
    rows = step.matrix.values[ids].astype(np.int64) * step.matrix.mantissa[ids][..., None]
    return saturate(round_shift(rows, step.matrix.shift[ids][..., None] - step.form.fraction), WORD)


def _positions(step: p.AddPositions, values: Values) -> Ints:
    x = values.tensors[step.inputs[0]]
    return saturate(x + _rows(step.table, x, values), WORD)


def _rows(table: Ints, x: Ints, values: Values) -> Ints:
    return table[values.position : values.position + x.shape[-2]]


def _norm(step: p.Normalise, values: Values) -> Ints:
    x = values.tensors[step.inputs[0]]
    return normalise(x.reshape(*x.shape[:-1], step.heads, -1), step.norm).reshape(x.shape)


def _quantise(step: p.Quantise, values: Values) -> Ints:
    x = values.tensors[step.inputs[0]]
    found, values.exponents[step.name] = block.quantise(x.reshape(*x.shape[:-1], step.heads, -1))
    return found.reshape(x.shape)


def _product(step: p.Product, values: Values) -> Ints:
    x, exponent = values.tensors[step.inputs[0]], values.exponents[step.inputs[0]]
    sums = product.accumulate(x, step.matrix.values)
    add = values.tensors[step.inputs[1]] if len(step.inputs) > 1 else None
    shift = step.matrix.shift + step.offset - exponent
    return product.requantise(sums, step.matrix.mantissa, shift, step.form.bits, step.bias, add)


def _rotate(step: p.Rotate, values: Values) -> Ints:
    x = values.tensors[step.inputs[0]]
    cosine, sine = (_rows(table, x, values)[:, None] for table in (step.cosine, step.sine))
    return rotate(x.reshape(*x.shape[:-1], step.heads, -1), cosine, sine).reshape(x.shape)


def _narrow(step: p.Narrow, values: Values) -> Ints:
    return block.narrow(values.tensors[step.inputs[0]], softmax.OUTPUT_BITS)


def _attend(step: p.Attend, values: Values) -> Ints:
    """All tokens at hand over all tokens so far. Names of the scores and weights are the step's, with an ending."""
    query, key, value = step.inputs
    q, exponent = values.tensors[query], values.exponents[query]
    keys, contents = (_extended(name, values) for name in (key, value))
    group = step.heads // step.kv_heads
    k, v = (np.repeat(floating.by_head(x, step.kv_heads), group, axis=-3) for x in (keys, contents))
    shift = step.shift - np.swapaxes(exponent, -1, -2)[..., None]
    sums = product.accumulate(floating.by_head(q, step.heads), k)
    logs = softmax.scores(sums, step.mantissa, shift)
    positions = values.position + np.arange(q.shape[-2])
    weights = softmax.weights(logs, np.arange(keys.shape[-2]) <= positions[:, None])
    found = softmax.divide(product.accumulate(weights, np.swapaxes(v, -1, -2)), weights.sum(axis=-1))
    values.tensors[f"{step.name}.scores"], values.tensors[f"{step.name}.weights"] = logs, weights
    return np.swapaxes(found, -2, -3).reshape(q.shape)


def _extended(name: str, values: Values) -> Ints:
    """The cache of a tensor with the tokens at hand appended."""
    new, old = values.tensors[name], values.cached.get(name)
    values.cached[name] = new if old is None else np.concatenate([old, new], axis=-2)
    return values.cached[name]


def _activate(step: p.Activate, values: Values) -> Ints:
    x = values.tensors[step.inputs[0]]
    return np.asarray(np.maximum(x, 0)) if step.kind == "relu" else gate.activate(x, step.form.fraction, step.kind)


def _multiply(step: p.Multiply, values: Values) -> Ints:
    first, second = (values.tensors[name] for name in step.inputs)
    return gate.multiply(first, second, step.shift)


def _convolve(step: p.Convolve, values: Values) -> Ints:
    x, exponent = values.tensors[step.inputs[0]], values.exponents[step.inputs[0]]
    found = floating.patches(x, step.shape, step.size, step.stride, step.padding)
    sums = product.accumulate(found.reshape(*found.shape[:-3], -1), step.matrix.values)
    shift = step.matrix.shift + step.offset - exponent[..., None, None]
    made = product.requantise(sums, step.matrix.mantissa, shift[..., None, :] if shift.ndim < sums.ndim else shift,
                              step.form.bits, step.bias)  # fmt: skip
    return np.moveaxis(made, -1, -3).reshape(*x.shape[:-1], -1)


def _pool(step: p.Pool, values: Values) -> Ints:
    x = values.tensors[step.inputs[0]]
    squares = floating.patches(x, step.shape, (step.size, step.size), step.stride, 0)
    if step.kind == "max":
        found = squares.max(axis=(-2, -1))
    else:
        found = round_shift(squares.sum(axis=(-2, -1)) * step.mantissa, step.shift)
    return np.asarray(np.moveaxis(found, -1, -3).reshape(*x.shape[:-1], -1), np.int64)


_EXECUTE: dict[type, Callable[[Any, Values], Ints]] = {
    p.Lookup: _lookup, p.AddPositions: _positions, p.Normalise: _norm, p.Quantise: _quantise, p.Product: _product,
    p.Rotate: _rotate, p.Narrow: _narrow, p.Attend: _attend, p.Activate: _activate, p.Multiply: _multiply,
    p.Convolve: _convolve, p.Pool: _pool,
}  # fmt: skip
