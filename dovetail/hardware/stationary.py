"""Weights that are multiplied where they are stored: crossbars of memory cells."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True, eq=False)
class Stationary(ByContent):
    """Arrays that hold the matrices of linear layers and multiply vectors with all of them at once.

    They hold integers of their own width, and their drivers take inputs of theirs: weights are rounded when they are
    written, whatever a checkpoint stores, and activations when they come. What that does to quality, a simulation says.

    Parameters
    ----------
    weights : Number
        That they hold.
    pass_s : Number
        Between two vectors through one matrix.
    latency_s : Number
        Of one vector through one matrix.
    j_per_weight : Number
        Of one weight for one vector.
    """

    weights: Number
    pass_s: Number
    latency_s: Number
    j_per_weight: Number
