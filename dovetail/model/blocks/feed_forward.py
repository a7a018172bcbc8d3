"""Feed-forward blocks: dense, or a mixture of experts of which a router picks a few for each token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.graph import Cache
from dovetail.model.operators import Operator, Pointwise
from dovetail.model.step import ACTIVATION_FLOPS, GELU_FLOPS, SOFTMAX_FLOPS, Step

# Tensors of the inner width alive at once: input and output, and for a formula written out in Python its terms, as in
# 0.5 x (1 + tanh(c (x + 0.044715 x³))): x, 0.5 x, the term and its next value. A gate adds the other projection.
EAGER_TENSORS = {"gelu_new": 4}


@dataclass(frozen=True, slots=True, eq=False)
class FeedForwardSpec(ByContent):
    """One layer's feed-forward block; ``experts > 1`` makes it a mixture with `top_k` experts a token.

    Parameters
    ----------
    intermediate : Number
        Channels inside (of one expert).
    gated : bool
        Two input projections, one of which gates the other.
    bias : bool
        Of the projections, experts' included.
    shared : Number
        Channels of the experts that every token meets besides those routed; 0 for none. `shared_gate`: a sigmoid of
        the token scales their sum.
    router_bias : bool
        The router has a bias (gpt-oss). A bias that only corrects the choice (DeepSeek-V3) is the role
        ``router_correction``, a factor for each expert ``router_scale``, counted where the architecture names them; so
        are norms ``norm_router, norm_experts, norm_experts_out, norm_shared_out``.
    width : Number or None
        Channels the routed experts read and write where that is not the hidden size (latent experts), between the
        projections ``latent_down`` and ``latent_up``.
    """

    intermediate: Number
    gated: bool = True
    bias: bool = False
    activation: str = "silu"
    experts: int = 1
    top_k: int = 1
    shared: Number = 0
    shared_gate: bool = False
    router_bias: bool = False
    width: Number | None = None

    def operators(self, step: Step) -> Iterator[Operator]:
        """The dense block; or router, grouped products over the experts reached, shared experts, weighted sum."""
        return self._mixture(step) if self.experts > 1 else self._dense(step, "", self.intermediate)

    def caches(self, step: Step) -> Iterator[Cache]:
        """Nothing is kept between steps."""
        return iter(())

    def _parts(self, step: Step, prefix: str, inner: Number) -> dict[str, Number]:
        """Input projections by role: one fused tensor where the architecture names one."""
        if not self.gated:
            return {f"{prefix}up": inner}
        if f"{prefix}gate_up" in step.arch.names:
            return {f"{prefix}gate_up": 2 * inner}
        return {f"{prefix}gate": inner, f"{prefix}up": inner}

    def _activation(self, step: Step, name: str, elements: Number) -> Pointwise:
        flops = ACTIVATION_FLOPS.get(self.activation, GELU_FLOPS)
        read = 2 * elements if self.gated else elements
        held = elements * (3 if self.gated else EAGER_TENSORS.get(self.activation, 2))
        return replace(step.pointwise(name, read, elements, flops + self.gated, split=True), held=held)

    def _dense(self, step: Step, prefix: str, inner: Number) -> Iterator[Operator]:
        hidden = step.arch.hidden
        first = f"{prefix}gate_up" if self.gated else f"{prefix}up"
        yield step.linear(first, self._parts(step, prefix, inner), hidden, bias=self.bias)
        yield self._activation(step, f"{prefix}activation", step.rows * inner)
        yield step.linear(f"{prefix}down", {f"{prefix}down": hidden}, inner, bias=self.bias, split="in")

    def _mixture(self, step: Step) -> Iterator[Operator]:
        hidden, inner, rows = step.arch.hidden, self.intermediate, step.rows
        width = hidden if self.width is None else self.width
        m, scores = rows * self.top_k, rows * self.experts
        reached = expected_experts(self.experts, self.top_k, rows)
        routed: Mapping[str, Any] = {"experts": self.experts, "active": reached, "top_k": self.top_k, "m": m}
        yield from step.norm("norm_router", "norm_router")
        yield step.linear(
            "router", {"router": self.experts}, hidden, bias=self.router_bias, quantisable=False, split="whole"
        )
        vectors = tuple(v for role in ("router_correction", "router_scale") for v in step.vectors(role, self.experts))
        yield step.pointwise("route", scores, scores, SOFTMAX_FLOPS, vectors)
        yield from step.norm("norm_experts", "norm_experts")
        if self.width is not None:
            yield step.linear("latent_down", {"latent_down": width}, hidden, split="whole")
        yield step.linear("experts_gate_up", self._parts(step, "expert_", inner), width, bias=self.bias, **routed)
        yield self._activation(step, "activation", m * inner)
        yield step.linear("experts_down", {"expert_down": width}, inner, bias=self.bias, split="in", **routed)
        yield step.pointwise("combine", rows * width * self.top_k, rows * width, 2.0 * self.top_k)
        if self.width is not None:
            yield step.linear("latent_up", {"latent_up": hidden}, width, split="whole")
        yield from step.norm("norm_experts_out", "norm_experts_out")
        if self.shared:
            yield from self._shared(step)

    def _shared(self, step: Step) -> Iterator[Operator]:
        yield from self._dense(step, "shared_", self.shared)
        yield from step.norm("norm_shared_out", "norm_shared_out")
        if self.shared_gate:
            gate = {"shared_expert_gate": 1}
            yield step.linear("shared_gate", gate, step.arch.hidden, quantisable=False, split="whole")
        yield step.pointwise("combine_shared", 2 * step.flow, step.flow, 1.0 + 5.0 * self.shared_gate)


def expected_experts(experts: Number, top_k: Number, rows: Number) -> Number:
    """Expected number of distinct experts that `rows` tokens reach, each choosing `top_k` uniformly at random.

    ``E (1 - (1 - k / E)^rows)``: an expert is missed by one token with probability ``1 - k / E``. Trained routers are a
    little less even, hence reach fewer.
    """
    return experts * (1.0 - (1.0 - top_k / experts) ** rows)
