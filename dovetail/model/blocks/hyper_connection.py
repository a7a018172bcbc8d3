"""Manifold-constrained hyper-connections (arXiv 2512.24880): several residual streams, mixed anew at every block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dovetail.core.content import ByContent
from dovetail.core.formats import Number, plain
from dovetail.model.operators import Linear, Operator, Pointwise
from dovetail.model.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class HyperConnectionSpec(ByContent):
    """How a block reads and writes `count` streams of hidden channels in place of one.

    Before a block, one product over all streams of a token, normalised together, yields ``(2 + count) count`` numbers:
    weights that collapse the streams into the block's input, weights that spread its output over them, and a matrix
    that mixes them, made doubly stochastic by `iterations` of Sinkhorn and Knopp. After the last layer a product
    yields the weights that collapse the streams for good. Its tensors are fp32, and tensor parallelism copies all.

    Work is grouped as fused kernels do it: the norm of the streams is one factor a token, applied to the product's
    few results. Roles: ``streams_mixer, streams_ffn, streams_out``, each with names of matrix, base and scale.
    """

    count: int
    iterations: int

    def opened(self, step: Step) -> Pointwise:
        """Every stream starts as the embedding."""
        return step.pointwise("streams_in", step.flow, self.count * step.flow, 0.0)

    def read(self, step: Step, site: str) -> Iterator[Operator]:
        """The product, then weights, Sinkhorn iterations and the block's input."""
        n, hidden = self.count, step.arch.hidden
        made = (2 + n) * n
        yield self._product(step, site, made, 3)
        # a token: sigmoids and softmax of the numbers, then sums and quotients along rows and along columns
        weights_flops = 5.0 * made + 4.0 * n * n * self.iterations
        yield self._collapse(step, f"streams_read_{site}", made, weights_flops / hidden)

    def written(self, step: Step, site: str) -> Pointwise:
        """Each new stream is a sum of all streams and the block's output: ``count + 1`` products, `count` sums."""
        n, flow = self.count, step.flow
        read = (n + 1) * flow + step.rows * (n + 1) * n
        wrote = step.pointwise(f"streams_write_{site}", read, n * flow, 2.0 * n + 1.0)
        return replace(wrote, held=(n + 1) * flow)

    def closed(self, step: Step) -> Iterator[Operator]:
        """The product and the sum that leave one stream."""
        yield self._product(step, "out", self.count, 1)
        yield self._collapse(step, "streams_read_out", self.count, 5.0 * self.count / step.arch.hidden)

    def _product(self, step: Step, site: str, made: int, scales: int) -> Linear:
        matrix, base, scale = step.arch.names[f"streams_{site}"]
        wide = self.count * step.arch.hidden
        (stored,) = step.weights(f"streams_{site}", made, wide, linear=False)
        vectors = (replace(stored, name=name, rows=1, cols=cols) for name, cols in ((base, made), (scale, scales)))
        found = step.linear(f"streams_{site}", {}, wide, split="whole")
        weights = tuple(replace(w, format=plain("fp32")) for w in (replace(stored, name=matrix), *vectors))
        return replace(found, weights=weights, n=made)

    def _collapse(self, step: Step, name: str, made: int, flops: Number) -> Pointwise:
        """The weighted sum of the streams, and the sum of squares that their norm takes."""
        read = self.count * step.flow + step.rows * made
        return step.pointwise(name, read, step.flow, 4.0 * self.count + flops)
