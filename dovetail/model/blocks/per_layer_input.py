"""Per-layer inputs (Gemma 3n, Gemma 4): each layer meets a narrow vector of its own for each token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.graph import Cache
from dovetail.model.operators import Operator
from dovetail.model.step import ACTIVATION_FLOPS, GELU_FLOPS, NORM_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class PerLayerTableSpec(ByContent):
    """Once a step: rows of a table that holds the vectors of all layers, plus a normalised projection of the embedding.

    Parameters
    ----------
    vocab, layers, width : Number
        Rows of the table; each row is `layers` vectors of `width`. Roles: ``per_layer_table, per_layer_project``, and
        ``per_layer_norm`` of `width`.
    """

    vocab: Number
    layers: int
    width: Number

    def operators(self, step: Step) -> Iterator[Operator]:
        """Gather, project, normalise, add."""
        across = self.layers * self.width
        elements = step.rows * across
        table = tuple(step.weights("per_layer_table", self.vocab, across, linear=False))
        yield step.pointwise("per_layer_embed", elements, elements, 1.0, table)
        yield step.linear("per_layer_project", {"per_layer_project": across}, step.arch.hidden)
        norm = tuple(step.vectors("per_layer_norm", self.width))
        yield step.pointwise("per_layer_norm", 2 * elements, elements, NORM_FLOPS["rms"] + 2.0, norm)

    def caches(self, step: Step) -> Iterator[Cache]:
        """Nothing is kept between steps."""
        return iter(())


@dataclass(frozen=True, slots=True, eq=False)
class PerLayerInputSpec(ByContent):
    """The end of a layer: the stream, projected to `width`, gates the layer's vector; that is added back to the stream.

    Roles: ``per_layer_gate, per_layer_out``, and the norm ``norm_per_layer``.
    """

    width: Number
    activation: str = "gelu_pytorch_tanh"

    def operators(self, step: Step) -> Iterator[Operator]:
        """Gate, product, projection, norm, residual."""
        inner = step.rows * self.width
        flops = ACTIVATION_FLOPS.get(self.activation, GELU_FLOPS) + 1.0
        yield step.linear("per_layer_gate", {"per_layer_gate": self.width}, step.arch.hidden)
        yield step.pointwise("per_layer_activation", 2 * inner, inner, flops, split=True)
        yield step.linear("per_layer_out", {"per_layer_out": step.arch.hidden}, self.width, split="in")
        yield from step.norm("norm_per_layer", "norm_per_layer")
        yield step.residual("residual_per_layer")

    def caches(self, step: Step) -> Iterator[Cache]:
        """Nothing is kept between steps."""
        return iter(())
