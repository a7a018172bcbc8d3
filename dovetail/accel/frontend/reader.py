"""Matches the ATen graph from its result backwards: each operator asks for the tensors that it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dovetail.accel.frontend.trace import Trace, kind, place
from dovetail.accel.graph import Node, Reals
from dovetail.core.errors import DovetailError, did_you_mean

Matcher = Callable[["Reader", Any], str | None]
MATCHERS: dict[str, list[Matcher]] = {}

# Where the nearest supported operator has another name altogether
_NEAREST = {
    "hardswish": "silu", "mish": "silu", "sigmoid": "silu", "softplus": "relu", "elu": "relu", "leaky_relu": "relu",
    "hardtanh": "relu", "relu6": "relu", "tanh": "gelu", "erf": "gelu", "group_norm": "layer_norm", "div": "mul",
    "instance_norm": "layer_norm", "conv1d": "conv2d", "conv3d": "conv2d", "bmm": "linear", "einsum": "linear",
    "softmax": "scaled_dot_product_attention", "sub": "add", "log_softmax": "linear", "topk": "linear",
}  # fmt: skip


def matches(*operators: str) -> Callable[[Matcher], Matcher]:
    """Register a matcher for ATen operators. It returns the tensor's name, or None where it does not apply."""

    def register(matcher: Matcher) -> Matcher:
        for operator in operators:
            MATCHERS.setdefault(operator, []).append(matcher)
        return matcher

    return register


class Reader:
    """The walk over one trace.

    Parameters
    ----------
    trace : Trace
    source : str
        Name of the tensor that the user gives.
    """

    def __init__(self, trace: Trace, source: str) -> None:
        self.trace, self.source = trace, source
        self.nodes: list[Node] = []
        self._names: dict[Any, str] = {}

    def tensor(self, node: Any) -> str:
        """Name of the tensor that an ATen node is, read on first use.

        Raises
        ------
        DovetailError
            An operator outside the set: its name, the module it is in, the nearest that is in the set.
        """
        node = self.trace.bare(node)
        if node not in self._names:
            self._names[node] = self._read(node)
        return self._names[node]

    def _read(self, node: Any) -> str:
        if node.name in self.trace.program.graph_signature.user_inputs:
            return self.source
        for matcher in MATCHERS.get(kind(node), []):
            found = matcher(self, node)
            if found is not None:
                return found
        raise self.refused(node)

    def refused(self, node: Any, why: str = "") -> DovetailError:
        """The error that names an operator, where it is, and the nearest supported one."""
        operator = kind(node)
        known = sorted({_short(name) for name in MATCHERS})
        nearest = _NEAREST.get(_short(operator), "")
        in_set = _short(operator) in known
        why = why or ("its operands are of no known pattern" if in_set else "no unit of the accelerator computes it")
        hint = f"the nearest supported operator is '{nearest}'" if nearest else did_you_mean(_short(operator), known)
        hint = "a model of the Llama, Qwen or GPT-2 type, an MLP or a small CNN" if in_set and not nearest else hint
        return DovetailError(f"operator '{operator or node}' cannot be lowered", where=place(node), why=why, hint=hint)

    def add(self, made: Node) -> str:
        """Append a node, under its name or the first free one after it."""
        taken = {node.name for node in self.nodes}
        if made.name in taken:
            raise DovetailError(f"two tensors are called '{made.name}'", where="the graph")
        self.nodes.append(made)
        return made.name

    def name(self, node: Any, suffix: str = "") -> str:
        """A free name for what a node computes, from the path of its module."""
        taken = {each.name for each in self.nodes}
        path = place(node)
        stem = ("" if path == "the module itself" else path) + suffix
        stem = stem.strip(".") or _short(kind(node))
        tries = (stem if i == 0 else f"{stem}.{i}" for i in range(len(taken) + 1))
        return next(name for name in tries if name not in taken)

    def array(self, node: Any) -> Reals:
        """A constant of the trace as float32."""
        found: Reals = np.asarray(self.trace.value(node).detach().float().cpu().numpy())
        return found

    def channels(self, name: str) -> int:
        """Channels of a tensor that was read."""
        return next(node.channels for node in self.nodes if node.name == name)

    def constant(self, node: Any) -> bool:
        """Whether an operand is a number or a tensor that no input reaches."""
        return not self.trace.moves(node)


def shape(node: Any) -> tuple[int, ...]:
    """Sizes of a node's tensor; 0 for one that the program leaves open (its batch)."""
    return tuple(extent if isinstance(extent, int) else 0 for extent in node.meta["val"].shape)


def _short(operator: str) -> str:
    return operator.removeprefix("aten.").partition(".")[0]
