"""The operators of one training step: the forward pass with logits for every token, and its backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import singledispatch

from dovetail.core.formats import Number
from dovetail.model.architecture import Architecture
from dovetail.model.build import decoder_graph
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Linear, Operator, Pointwise, Scan


def training_graph(arch: Architecture, batch: Number, tokens: Number) -> Graph:
    """Forward and backward over `batch` sequences of `tokens`; nothing is cached, every token gets logits.

    Each product ``y = x w^T`` has two of the same size behind it: ``dx = dy w`` and ``dw = dy^T x``. Attention's two
    products (scores, weighted sum) have four. Hence the backward pass executes twice the forward's FLOPs, without
    recomputation of what a checkpointing or fused kernel did not keep. The optimizer's step is not part of it.
    """
    forward = decoder_graph(arch, batch, tokens, 0, logit_tokens=tokens, absorb=False)
    back = tuple(o for operator in reversed(forward.operators) for o in backward(operator))
    return replace(forward, operators=forward.operators + back, caches=())


@singledispatch
def backward(operator: Operator) -> Iterator[Operator]:
    """The operators that turn gradients of an operator's output into those of its inputs and weights."""
    raise TypeError(f"no gradient is known for {type(operator).__name__}")  # a new kind of operator, not bad input


@backward.register
def _linear(operator: Linear) -> Iterator[Operator]:
    m, n, k = operator.m, operator.n, operator.k
    yield replace(operator, name=f"{operator.name}.grad_input", n=k, k=n)
    yield replace(
        operator, name=f"{operator.name}.grad_weight", weights=(), m=n, k=m, n=k, experts=1, active=1, top_k=1
    )


@backward.register
def _attention(operator: Attention) -> Iterator[Operator]:
    """Gradients dP = dO V^T, dQ = dS K; then dV = P^T dO, dK = dS^T Q: each pair is as large as the forward's."""
    for name in ("grad_query", "grad_key_value"):
        yield replace(operator, name=f"{operator.name}.{name}", weights=(), latents=None)  # no kernel of a forward pass


@backward.register
def _scan(operator: Scan) -> Iterator[Operator]:
    grown = {name: 2 * getattr(operator, name) for name in ("flops_per_token", "read", "written")}
    yield replace(operator, name=f"{operator.name}.backward", weights=(), **grown)


@backward.register
def _pointwise(operator: Pointwise) -> Iterator[Operator]:
    """Reads the inputs it kept and the gradient of the output, writes those of the inputs: twice the arithmetic."""
    read, written = operator.read + operator.written, operator.read
    flops = 2.0 * operator.flops_per_element * operator.written / (written + (written == 0))
    yield replace(
        operator, name=f"{operator.name}.backward", weights=(), read=read, written=written, flops_per_element=flops
    )
