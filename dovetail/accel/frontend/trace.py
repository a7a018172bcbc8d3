"""The ATen graph of a module for one sequence, and what of it does not depend on the data."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.model.traced.export import module_path

if TYPE_CHECKING:
    from torch.fx import Node

# Operators that hand on their first argument: casts, copies, checks, and dropout, which is off
SAME = {
    "aten.to.dtype", "aten.to.dtype_layout", "aten.to.device", "aten.contiguous.default", "aten.clone.default",
    "aten.alias.default", "aten.detach.default", "aten.dropout.default", "aten.detach_.default", "aten.type_as.default",
    "aten.feature_dropout.default", "aten._to_copy.default",
}  # fmt: skip


class Trace:
    """An exported module.

    Parameters
    ----------
    program : torch.export.ExportedProgram
        Before any decomposition.
    """

    def __init__(self, program: Any) -> None:
        self.torch = require("torch", "torch", to="read a module")
        self.program, self.graph = program, program.graph
        self._values: dict[Any, Any] = {}
        self._moving = self._reached()

    @property
    def result(self) -> Node:
        """The tensor that the module returns first."""
        output = next(node for node in self.graph.nodes if node.op == "output")
        found: Node = output.args[0][0]
        return found

    def moves(self, node: Any) -> bool:
        """Whether a value depends on what the user gives."""
        return node in self._moving

    def _reached(self) -> set[Any]:
        given = set(self.program.graph_signature.user_inputs)
        found: set[Any] = set()
        for node in self.graph.nodes:
            if node.name in given or any(each in found for each in node.all_input_nodes):
                found.add(node)
        return found

    def value(self, node: Any) -> Any:
        """The value of a node that does not move (or of a plain number), computed by torch."""
        torch = self.torch
        if not isinstance(node, torch.fx.Node):
            return node
        if node not in self._values:
            with torch.no_grad():
                self._values[node] = self._computed(node)
        return self._values[node]

    def _computed(self, node: Any) -> Any:
        if node.op == "get_attr":
            return getattr(self.program.graph_module, node.target)
        if node.op == "placeholder":
            return self._given(node.name)
        arguments = self.torch.fx.node.map_arg(node.args, self.value)
        keywords = self.torch.fx.node.map_arg(node.kwargs, self.value)
        if "wrap_with_set_grad_enabled" in str(node.target):
            return arguments[1](*arguments[2:])
        return node.target(*arguments, **keywords)

    def _given(self, name: str) -> Any:
        signature, program = self.program.graph_signature, self.program
        known = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        if name in known:
            return (
                program.state_dict[known[name]] if known[name] in program.state_dict else program.constants[known[name]]
            )
        return program.constants[signature.inputs_to_lifted_tensor_constants[name]]

    def parameter(self, node: Any) -> str:
        """Name of the parameter that a placeholder is; empty for other nodes."""
        return str(self.program.graph_signature.inputs_to_parameters.get(getattr(node, "name", ""), ""))

    def bare(self, node: Any) -> Any:
        """The node behind casts, copies and dropout."""
        while kind(node) in SAME:
            node = node.args[0]
        return node


def kind(node: Any) -> str:
    """Name of the operator of a node, such as ``aten.linear.default``; empty for what is none."""
    return str(node.target) if getattr(node, "op", "") == "call_function" else ""


def place(node: Any) -> str:
    """Path of the module that computes a node."""
    return module_path(node) or "the module itself"


def exported(module: Any, example: Any, keywords: dict[str, Any]) -> Any:
    """The program of a module.

    Parameters
    ----------
    module : torch.nn.Module
    example : Tensor
        What is traced: token ids (1, context), or features.
    keywords : dict
        For ``forward``.

    Raises
    ------
    DovetailError
        torch cannot export the module.
    """
    torch = require("torch", "torch", to="read a module")
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level, training = log.level, module.training
    log.setLevel(logging.ERROR)
    try:
        with torch.no_grad():
            return torch.export.export(module.eval(), (example,), keywords, strict=False)
    except Exception as error:  # torch raises of many types here, what the module's own code raises among them
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
        hint = "no loop or choice over the data"
        raise DovetailError(
            "torch.export cannot trace this module", where=type(module).__name__, why=why, hint=hint
        ) from error
    finally:
        log.setLevel(level)
        module.train(training)
