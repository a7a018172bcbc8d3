"""From patches to tokens of the language model by averaging (Gemma 3 and 4): pool, normalise, project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.operators import Operator
from dovetail.model.step import NORM_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class Pooler(ByContent):
    """The mean of a square of patches, an RMS norm, and one product.

    Roles: ``projector``, and ``projector_norm`` where the norm has a weight.

    Parameters
    ----------
    patches : Number
        Patches that one token is the mean of.
    inputs, outputs : Number
        Widths of the encoder and of the language model.
    factor : float
        FLOPs of what scales or shifts each pooled element besides.
    """

    patches: Number
    inputs: Number
    outputs: Number
    factor: float = 0.0

    def operators(self, step: Step) -> Iterator[Operator]:
        """Mean, norm, product over `step.rows` tokens."""
        pooled = step.rows * self.inputs
        weight = tuple(step.vectors("projector_norm", self.inputs))
        yield step.pointwise("pool", pooled * self.patches, pooled, self.patches + self.factor)
        yield step.pointwise("projector_norm", pooled, pooled, NORM_FLOPS["rms"] - (not weight), weight)
        yield step.linear("projector", {"projector": self.outputs}, self.inputs)
