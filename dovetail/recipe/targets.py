"""Which tensors a weight method may change: the matrices of linear layers, the output head excepted.

Both faces of a method ask here, so that the graph and the checkpoint cannot disagree about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear, Operator, Weight
from dovetail.runtime.tensorfile import TensorInfo

HEAD = "lm_head"  # the operator; its matrix decides the logits, and is the embedding where the two are tied


def is_target(operator: Operator, weight: Weight) -> bool:
    """Whether recipes change this matrix."""
    return isinstance(operator, Linear) and weight.linear and not operator.name.startswith(HEAD)


def map_targets(graph: Graph, change: Callable[[Weight], Weight]) -> Graph:
    """The graph with `change` applied to every target."""

    def changed(operator: Operator) -> Operator:
        if not any(is_target(operator, w) for w in operator.weights):
            return operator
        weights = tuple(change(w) if is_target(operator, w) else w for w in operator.weights)
        return replace(operator, weights=weights)

    return graph.map_operators(changed)


def check_dense(graph: Graph) -> None:
    """Refuse a graph whose targets are quantised already, by its checkpoint or by a method before.

    Raises
    ------
    DovetailError
        Names the first such matrix and its format.
    """
    targets = ((w, o.layers) for o in graph.operators for w in o.weights if is_target(o, w))
    if done := next(((w, layers) for w, layers in targets if w.format.quantised), None):
        what = f"weights are quantised already, as {done[0].format.name}"
        hint = "the 16-bit checkpoint of this model, or recipe none"
        raise DovetailError(what, where=next(done[0].tensors(done[1])), hint=hint, exit_code=INFEASIBLE)


def columns(graph: Graph) -> dict[str, Any]:
    """Inputs of each kind of target, by name (numbers or arrays)."""
    return {w.name: w.cols for o in graph.operators for w in o.weights if is_target(o, w)}


def graph_of(config: Mapping[str, Any]) -> tuple[Graph, bool]:
    """The graph of a ``config.json`` and whether its linear weights are stored (inputs, outputs)."""
    model = Model.load(dict(config))
    return model.graph(batch=1, tokens=1, context=0), model.architecture.inputs_first


def tensor_names(graph: Graph, *, target: bool = True) -> Iterator[str]:
    """Names in the checkpoint of all targets, or of the matrices of linear layers that are none."""
    for operator in graph.operators:
        for weight in operator.weights:
            if isinstance(operator, Linear) and is_target(operator, weight) == target:
                for layer in operator.layers or (0,):
                    for expert in range(weight.experts):
                        yield weight.name.format(layer=layer, expert=expert)


def targets_in(stored: Mapping[str, TensorInfo], graph: Graph, where: str) -> frozenset[str]:
    """The names of the targets, all of which must be among the checkpoint's tensors, in the shape of the architecture.

    Raises
    ------
    DovetailError
        A matrix the architecture asks for is not in the checkpoint or of another shape, or one tensor holds those of
        all experts.
    """
    targets = (w for o in graph.operators for w in o.weights if is_target(o, w))
    if fused := next((w.name for w in targets if w.experts > 1 and "{expert}" not in w.name), None):
        why = "one tensor holds the matrices of all experts, and weight methods work on single matrices"
        hint = "a checkpoint with a tensor for each expert, as those of Mixtral, Qwen3 and DeepSeek"
        raise DovetailError(f"cannot change '{fused}'", where=where, why=why, hint=hint, exit_code=INFEASIBLE)
    wanted = frozenset(tensor_names(graph))
    if lost := sorted(wanted - stored.keys()):
        why = f"{len(lost)} of {len(wanted)} matrices are not there"
        raise DovetailError(f"no tensor '{lost[0]}'", where=where, why=why, hint="a complete checkpoint of this model")
    _check_shapes(stored, graph, where)
    return wanted


def _check_shapes(stored: Mapping[str, TensorInfo], graph: Graph, where: str) -> None:
    """Every target has the outputs and inputs that the config says, in one order or the other."""
    for operator in graph.operators:
        for weight in (w for w in operator.weights if is_target(operator, w)):
            shape = int(weight.rows), int(weight.cols)
            for name in weight.tensors(operator.layers):
                if stored[name].shape not in (shape, shape[::-1]):
                    why = f"it is {_by(stored[name].shape)}, config.json says {_by(shape)}"
                    hint = "the config.json that belongs to these weights"
                    raise DovetailError(f"'{name}' has another shape", where=where, why=why, hint=hint)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{size:,}" for size in shape)
