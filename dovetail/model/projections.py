"""What follows a tower's encoder besides two products with an activation: single products, merging convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.operators import Operator
from dovetail.model.step import GELU_FLOPS, Step


class Projection(Protocol):
    """One stage between the encoder and the language model."""

    def operators(self, step: Step) -> Iterator[Operator]:
        """What it executes for an image whose tokens of the language model are `step.rows`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Product(ByContent):
    """One matrix over the merged patches, and an activation where there is one.

    Parameters
    ----------
    role : str
        Role of its weight.
    inputs, outputs : Number
        Widths.
    """

    role: str
    inputs: Number
    outputs: Number
    bias: bool = False
    activated: bool = False

    def operators(self, step: Step) -> Iterator[Operator]:
        """The product, then GELU."""
        yield step.linear(self.role, {self.role: self.outputs}, self.inputs, bias=self.bias)
        if self.activated:
            elements = step.rows * self.outputs
            yield step.pointwise(f"{self.role}_activation", elements, elements, GELU_FLOPS)


@dataclass(frozen=True, slots=True, eq=False)
class Convolution(ByContent):
    """A convolution over the grid of patches, as the product of its unfolded windows; padding is multiplied too.

    Parameters
    ----------
    role : str
        Role of its weight and bias.
    inputs, outputs : Number
        Channels.
    side : int
        Positions along each side of the window.
    outputs_per_token : int
        Positions it writes for each token that the language model gets in the end.
    """

    role: str
    inputs: Number
    outputs: Number
    side: int
    outputs_per_token: int = 1

    def operators(self, step: Step) -> Iterator[Operator]:
        """``inputs x side x side`` to ``outputs`` at every position written."""
        rows, k = step.rows * self.outputs_per_token, self.inputs * self.side**2
        yield step.linear(self.role, {self.role: self.outputs}, k, m=rows, bias=True, quantisable=False)
