"""What an encoder's rows pass through before the vocabulary (BERT): a dense layer, its activation, a norm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.model.graph import Cache
from dovetail.model.operators import Operator
from dovetail.model.step import ACTIVATION_FLOPS, GELU_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class HeadTransformSpec(ByContent):
    """A square projection with a bias, `activation`, and a norm; roles ``transform`` and ``norm_transform``."""

    activation: str = "gelu"

    def operators(self, step: Step) -> Iterator[Operator]:
        """Projection, activation, norm of the rows that get logits; every chip needs them whole."""
        hidden = step.arch.hidden
        yield step.linear("transform", {"transform": hidden}, hidden, bias=True, split="whole")
        flops = ACTIVATION_FLOPS.get(self.activation, GELU_FLOPS)
        yield step.pointwise("transform_activation", step.flow, step.flow, flops)
        yield from step.norm("norm_transform", "norm_transform")

    def caches(self, step: Step) -> Iterator[Cache]:
        """Nothing is kept between steps."""
        return iter(())
