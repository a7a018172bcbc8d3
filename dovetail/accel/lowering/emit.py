"""One step for each node of the graph (and one to quantise what the array reads)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dovetail.accel import graph as g
from dovetail.accel.arithmetic.gate import RANGE_BITS
from dovetail.accel.arithmetic.multiplier import multiplier
from dovetail.accel.arithmetic.norm import LEAST_EPSILON, UNIT_BITS, Norm
from dovetail.accel.arithmetic.rotary import ANGLE_BITS
from dovetail.accel.arithmetic.rounding import BYTE, WORD, Ints
from dovetail.accel.arithmetic.softmax import OUTPUT_BITS, SCORE_BITS
from dovetail.accel.golden import program as p
from dovetail.accel.lowering.weights import Matrix
from dovetail.core.errors import CHECK_FAILED, DovetailError

MOST_SHIFT = 62


@dataclass(slots=True, eq=False)
class Emitter:
    """Steps of a graph whose formats and matrices are chosen.

    Parameters
    ----------
    graph : Graph
    formats : dict of str to Format
    matrices : dict of str to Matrix
        By node: embeddings, linear layers, convolutions.
    """

    graph: g.Graph
    formats: Mapping[str, p.Format]
    matrices: Mapping[str, Matrix]
    steps: list[p.Step] = field(default_factory=list)

    def emit(self) -> tuple[p.Step, ...]:
        """All steps. Raises `DovetailError` for what no format or unit can hold."""
        for node in self.graph.nodes:
            _EMIT[type(node)](self, node)
        return tuple(self.steps)

    def operands(self, name: str, heads: int = 1) -> str:
        """The tensor as operands of the array, quantised where it is not yet."""
        found = f"{name}{p.OPERANDS}"
        if not any(step.name == found for step in self.steps):
            form, channels = self.formats[name], self.channels(name)
            self.steps.append(p.Quantise(found, (name,), channels, p.Format(BYTE, form.fraction, block=True), heads))
        return found

    def channels(self, name: str) -> int:
        """Channels of a tensor of the graph."""
        return self.graph.source_channels if name == self.graph.source else self.graph.node(name).channels

    def fused(self, node: g.Linear) -> g.Add | None:
        """The addition to the residual stream that a layer's result goes to, and nothing else."""
        users = self.graph.users(node.name)
        sole = users[0] if len(users) == 1 and isinstance(users[0], g.Add) else None
        return sole if sole is not None and sole.inputs[1] == node.name else None


def _lookup(self: Emitter, node: g.Embedding) -> None:
    matrix, form = self.matrices[node.name], self.formats[node.name]
    _check_shift(node.name, matrix.shift - form.fraction)
    self.steps.append(p.Lookup(node.name, node.inputs, node.channels, form, matrix))


def _positions(self: Emitter, node: g.Positions) -> None:
    form = self.formats[node.name]
    self.steps.append(p.AddPositions(node.name, node.inputs, node.channels, form, _words(node.table, form)))


def _linear(self: Emitter, node: g.Linear) -> None:
    if self.fused(node) is None:
        self.steps.append(_product(self, node, node.name, ()))


def _add(self: Emitter, node: g.Add) -> None:
    layer = self.graph.node(node.inputs[1])
    if not isinstance(layer, g.Linear) or self.fused(layer) is not node:
        why = f"'{node.inputs[1]}' is not a linear layer that only this sum reads"
        hint = "a model whose residual stream takes the results of linear layers, one after the other"
        raise DovetailError("this sum cannot be lowered", where=node.name, why=why, hint=hint)
    if self.formats[node.inputs[0]].fraction != self.formats[node.name].fraction:
        why = f"'{node.inputs[0]}' is what the model reads, in another format than the sum"
        raise DovetailError("this sum cannot be lowered", where=node.name, why=why, hint="a layer before the first sum")
    self.steps.append(_product(self, layer, node.name, (node.inputs[0],)))


def _product(self: Emitter, node: g.Linear, name: str, add: tuple[str, ...]) -> p.Product:
    source, form, matrix = self.formats[node.inputs[0]], self.formats[name], self.matrices[node.name]
    operands, offset = self.operands(node.inputs[0]), source.fraction - form.fraction
    _check_shift(name, matrix.shift + offset, source.bits - BYTE + 1)
    bias = None if node.bias is None else _words(node.bias, form)
    return p.Product(name, (operands, *add), node.channels, form, matrix, offset, bias)


def _norm(self: Emitter, node: g.Norm) -> None:
    source, form = self.formats[node.inputs[0]], self.formats[node.name]
    size = node.channels // node.heads
    weight = node.weight.astype(np.float64) * math.sqrt(size)
    shift = UNIT_BITS - form.fraction + math.floor(math.log2(32767 / max(float(np.abs(weight).max()), 1e-9)))
    _check_shift(node.name, np.array([shift]))
    scaled = np.rint(weight * 2.0 ** (shift - UNIT_BITS + form.fraction)).astype(np.int64)
    epsilon = max(LEAST_EPSILON, round(size * node.epsilon * 4.0**source.fraction))
    one = multiplier(1 / size)
    norm = Norm(
        scaled, shift, epsilon, None if node.bias is None else _words(node.bias, form),
        (int(one.mantissa), int(one.shift)) if node.mean else None,
    )  # fmt: skip
    self.steps.append(p.Normalise(node.name, node.inputs, node.channels, form, norm, node.heads))


def _rotary(self: Emitter, node: g.Rotary) -> None:
    cosine, sine = (np.rint(table * 2.0**ANGLE_BITS).astype(np.int64) for table in (node.cosine, node.sine))
    if max(np.abs(cosine).max(), np.abs(sine).max()) > 32767:
        why = "angles are scaled by 2 or more"
        raise DovetailError("the rotary table does not fit 16 bits", where=node.name, why=why)
    self.steps.append(
        p.Rotate(node.name, node.inputs, node.channels, self.formats[node.name], node.heads, cosine, sine)
    )


def _attention(self: Emitter, node: g.Attention) -> None:
    query, key, value = node.inputs
    if not isinstance(self.graph.node(value), g.Linear):
        raise DovetailError("values do not come from a linear layer", where=node.name, hint="attention as in Llama")
    cached = f"{key}{p.OPERANDS}"
    fraction = self.formats[key].fraction - OUTPUT_BITS
    self.steps.append(p.Narrow(cached, (key,), self.channels(key), p.Format(BYTE, fraction)))
    operands = self.operands(query, node.heads)
    exponent = SCORE_BITS - self.formats[query].fraction - fraction
    score = multiplier(node.scale * math.log2(math.e) * 2.0**exponent)
    _check_shift(node.name, np.array([score.shift]), self.formats[query].bits - BYTE + 1)
    self.steps.append(
        p.Attend(
            node.name, (operands, cached, value), node.channels, self.formats[node.name], node.heads, node.kv_heads,
            int(score.mantissa), int(score.shift),
        )
    )  # fmt: skip


def _activation(self: Emitter, node: g.Activation) -> None:
    form = self.formats[node.name]
    if node.kind != "relu" and not 0 <= form.fraction + RANGE_BITS[node.kind] <= 31:
        why = f"its input has {form.fraction} fraction bits"
        raise DovetailError("the table cannot be read", where=node.name, why=why, hint="other text for calibration")
    self.steps.append(p.Activate(node.name, node.inputs, node.channels, form, node.kind))


def _multiply(self: Emitter, node: g.Multiply) -> None:
    form = self.formats[node.name]
    shift = sum(self.formats[name].fraction for name in node.inputs) - form.fraction
    self.steps.append(p.Multiply(node.name, node.inputs, node.channels, form, shift))


def _convolution(self: Emitter, node: g.Convolution) -> None:
    source, form, matrix = self.formats[node.inputs[0]], self.formats[node.name], self.matrices[node.name]
    operands, offset = self.operands(node.inputs[0]), source.fraction - form.fraction
    _check_shift(node.name, matrix.shift + offset, source.bits - BYTE + 1)
    bias = None if node.bias is None else _words(node.bias, form)
    rows, columns = node.weight.shape[2:]
    self.steps.append(
        p.Convolve(
            node.name, (operands,), node.channels, form, matrix, offset, bias, node.shape, (rows, columns),
            node.stride, node.padding,
        )
    )  # fmt: skip


def _pool(self: Emitter, node: g.Pool) -> None:
    one = multiplier(1 / node.size**2)
    self.steps.append(
        p.Pool(
            node.name, node.inputs, node.channels, self.formats[node.name], node.kind, node.shape, node.size,
            node.stride, int(one.mantissa), int(one.shift),
        )
    )  # fmt: skip


def _words(values: g.Reals, form: p.Format) -> Ints:
    """Reals in a tensor's format; 24 bits."""
    found = np.rint(values.astype(np.float64) * 2.0**form.fraction)
    top = 2 ** (WORD - 1) - 1
    return np.clip(found, -top, top).astype(np.int64)


def _check_shift(name: str, shifts: Ints, exponent: int = 0) -> None:
    """Shifts stay 0 to 62, whatever exponent of 0 to `exponent` is taken off."""
    if int(shifts.min()) - exponent < 0 or int(shifts.max()) > MOST_SHIFT:
        why = f"shifts of {int(shifts.min()) - exponent} to {int(shifts.max())}, the shifter has 0 to {MOST_SHIFT}"
        hint = "text for calibration that is like what the model will read"
        raise DovetailError("no format fits this tensor", where=name, why=why, hint=hint, exit_code=CHECK_FAILED)


_EMIT: dict[type, Callable[[Emitter, Any], None]] = {
    g.Embedding: _lookup, g.Positions: _positions, g.Linear: _linear, g.Norm: _norm, g.Rotary: _rotary,
    g.Attention: _attention, g.Activation: _activation, g.Multiply: _multiply, g.Add: _add,
    g.Convolution: _convolution, g.Pool: _pool,
}  # fmt: skip
