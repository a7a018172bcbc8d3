"""A graph of reals as an integer model, its formats chosen from samples and its sums proved to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dovetail.accel import graph as g
from dovetail.accel.arithmetic.product import ACCUMULATOR_BITS
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.golden.ranges import check, ranges
from dovetail.accel.lowering.calibrate import observe
from dovetail.accel.lowering.compensate import matrices
from dovetail.accel.lowering.emit import Emitter
from dovetail.accel.lowering.equalise import equalise
from dovetail.accel.lowering.formats import formats
from dovetail.core.errors import DovetailError, did_you_mean

WEIGHTS = ("w8a8", "w4a8")
GROUPS = (32, 64, 128)


@dataclass(frozen=True, slots=True)
class Scheme:
    """How weights are stored.

    Parameters
    ----------
    weights : str
        ``w8a8``, or ``w4a8``: linear layers in 4 bits; embeddings, heads and convolutions stay in 8.
    group : int
        Inputs to a step of ``w4a8``: 32, 64 or 128.
    accumulator_bits : int
        Of the array's sums.
    """

    weights: str = "w8a8"
    group: int = 32
    accumulator_bits: int = ACCUMULATOR_BITS

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            hint = did_you_mean(self.weights, list(WEIGHTS))
            raise DovetailError(f"no integers '{self.weights}'", where="weights", hint=hint)
        if self.group not in GROUPS:
            raise DovetailError(f"groups of {self.group} inputs", where="group", hint="32, 64 or 128")
        if not 16 <= self.accumulator_bits <= ACCUMULATOR_BITS:
            why = f"{self.accumulator_bits} bits"
            raise DovetailError("no such accumulator", where="accumulator_bits", why=why, hint="16 to 32 bits")


def lower_graph(graph: g.Graph, samples: Sequence[npt.NDArray[np.generic]], scheme: Scheme) -> IntegerModel:
    """The integer model of a graph.

    Parameters
    ----------
    graph : Graph
    samples : sequence of arrays
        What calibration runs: token ids (batch, tokens) of at most the context, or features (batch, channels).

    Raises
    ------
    DovetailError
        A tensor that no format holds, or a sum that may overflow.
    """
    graph = equalise(graph, observe(graph, samples))
    forms = formats(graph, observe(graph, samples))
    made = matrices(graph, samples, scheme.group if scheme.weights == "w4a8" else 0)
    steps = Emitter(graph, forms, made).emit()
    check(ranges(steps, graph.context, scheme.accumulator_bits))
    fraction = forms[graph.source].fraction if graph.source in forms else 0
    return IntegerModel(graph.name, steps, graph.source, graph.context, scheme.weights, fraction)
