"""A module through `torch.export`, with batch and tokens as symbols; torch comes in here and not before."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.model.traced.size import BATCH, TOKENS, Size, size_of

if TYPE_CHECKING:
    import torch
    from torch.fx import Node

# Sizes of the example that is traced: export reads 0 and 1 as constants, and equal sizes as the same one.
SEQUENCES, LENGTH = 2, 11


@dataclass(frozen=True, slots=True)
class Exported:
    """The ATen graph of a module.

    Parameters
    ----------
    module : torch.nn.Module
        As it was given.
    program : torch.export.ExportedProgram
        Its graph, whose shapes are numbers and symbols.
    symbols : dict
        What each symbol stands for: batch or tokens.
    names : dict of str to str
        Name of the parameter behind each input of the graph, one for all that are tied.
    shortest, longest : int or None
        Fewest and most tokens for which the trace holds, where it says so (a kernel's width, a table of positions).
    """

    module: torch.nn.Module
    program: Any
    symbols: dict[Any, Size]
    names: dict[str, str]
    shortest: int | None
    longest: int | None

    @property
    def nodes(self) -> list[Node]:
        return list(self.program.graph.nodes)

    def shape(self, node: Node) -> tuple[Size, ...]:
        """Sizes of a tensor.

        Raises
        ------
        DovetailError
            One of them is no polynomial of batch and tokens (a stride that leaves a rest, a choice made by the data).
        """
        try:
            return tuple(size_of(extent, self.symbols) for extent in node.meta["val"].shape)
        except ValueError as error:
            raise refused(node, str(error)) from None


def export(module: torch.nn.Module, inputs: Any = None, keywords: Mapping[str, Any] | None = None) -> Exported:
    """Trace `module`, in evaluation mode, without running it.

    Parameters
    ----------
    module : torch.nn.Module
        On any device, the meta device included (then nothing of it is in memory).
    inputs : Tensor or sequence of Tensor, optional
        An example of its positional arguments, (batch, tokens, ...) with at least 2 of each; by default token ids.
    keywords : mapping, optional
        Other arguments of its ``forward``, which stay as they are.

    Raises
    ------
    DovetailError
        torch is not there, the module cannot be traced, or only for fixed sizes.
    """
    torch = require("torch", "torch", to="read a module")
    arguments = _example(torch, module, inputs)
    fixed = _keywords(module, keywords or {})
    dynamic = tuple(_dynamic(torch, a, arguments[0]) for a in arguments)
    training, log = module.training, logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    log.setLevel(logging.ERROR)  # it would print the whole graph beside the error
    try:
        with torch.no_grad():
            program = torch.export.export(
                module.eval(), arguments, fixed, dynamic_shapes=_shapes(module, dynamic, fixed), strict=False
            )
    except DovetailError:
        raise
    except Exception as error:  # torch raises of many types here, what the module's own code raises among them
        hint = "sizes may depend on batch and tokens alone: no loop or choice over the data, no fixed length"
        where = type(module).__name__
        raise DovetailError(
            "torch.export cannot trace this module", where=where, why=_reason(error), hint=hint
        ) from error
    finally:
        module.train(training)
        log.setLevel(level)
    symbols = _symbols(program, arguments)
    return Exported(module, program, symbols, _parameter_names(module, program), *_range(program, symbols))


def refused(node: Node, why: str, hint: str = "") -> DovetailError:
    """The error that names an operator of the trace and the module it was called in."""
    return DovetailError(
        f"cannot read '{node.target}'", where=module_path(node) or "the module itself", why=why, hint=hint
    )


def module_path(node: Node) -> str:
    """Path of the innermost module whose ``forward`` called it (``layers.3.mlp``); empty for the whole."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(list(stack.values())[-1][0]) if stack else ""
    return "" if path.startswith("_empty") else path.partition("@")[0]


def _example(torch: Any, module: Any, inputs: Any) -> tuple[Any, ...]:
    if inputs is None:
        device = next((p.device for p in module.parameters()), "cpu")
        inputs = torch.zeros(SEQUENCES, LENGTH, dtype=torch.long, device=device)
    found = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    good = found and all(isinstance(each, torch.Tensor) for each in found) and found[0].ndim >= 2
    if not good or min(found[0].shape[:2]) < 2 or found[0].shape[0] == found[0].shape[1]:
        why = "the first is (batch, tokens, ...), with two different numbers of at least 2"
        raise DovetailError("these inputs cannot be traced", where="inputs", why=why, hint="torch.zeros(2, 11, hidden)")
    return found


def _keywords(module: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, and no cache from a module that would make one: caches are derived, not traced."""
    known = inspect.signature(module.forward).parameters
    return {**({"use_cache": False} if "use_cache" in known else {}), **given}


def _dynamic(torch: Any, tensor: Any, first: Any) -> dict[int, Any]:
    """Dimensions that are batch or tokens: the first two of the first input, and those of these sizes in others."""
    if tensor is first:
        return {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    sizes = tuple(first.shape[:2])
    return {i: torch.export.Dim.DYNAMIC for i, extent in enumerate(tensor.shape[:2]) if extent in sizes}


def _shapes(module: Any, dynamic: tuple[dict[int, Any], ...], fixed: dict[str, Any]) -> Any:
    """What is dynamic of each argument, by name; as a list where ``forward`` collects its arguments."""
    known = inspect.signature(module.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in known.values()):
        return (dynamic,)
    return {**dict(zip(known, dynamic, strict=False)), **dict.fromkeys(fixed)}


def _reason(error: Exception) -> str:
    """The line of torch's message that says most: which size it fixed, or else the first."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    fixed = next((line for line in lines if "specialized" in line), "")
    return (fixed or (lines[0] if lines else type(error).__name__))[:300]


def _symbols(program: Any, arguments: tuple[Any, ...]) -> dict[Any, Size]:
    """What the symbols in the shapes of the inputs stand for, by the example's sizes."""
    batch = arguments[0].shape[0]
    found: dict[Any, Size] = {}
    inputs = set(program.graph_signature.user_inputs)
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in inputs]
    tensors = [n for n in placeholders if hasattr(n.meta["val"], "shape")]
    for node, example in zip(tensors, arguments, strict=False):
        for extent, size in zip(node.meta["val"].shape, example.shape, strict=True):
            if not isinstance(extent, int) and extent.node.expr.is_Symbol:
                found[extent.node.expr] = BATCH if size == batch else TOKENS
    if not {BATCH, TOKENS} <= set(found.values()):
        raise DovetailError("batch and tokens are not free in this module", why="torch.export made them constants")
    return found


def _parameter_names(module: Any, program: Any) -> dict[str, str]:
    first = {id(p): name for name, p in module.named_parameters()}
    every = {name: first[id(p)] for name, p in module.named_parameters(remove_duplicate=False)}
    return {given: every[name] for given, name in program.graph_signature.inputs_to_parameters.items()}


def _range(program: Any, symbols: dict[Any, Size]) -> tuple[int | None, int | None]:
    """Bounds on the tokens. Export takes every free size for 2 or more, so a bound of 2 says nothing.

    Raises
    ------
    DovetailError
        There are bounds on the batch.
    """
    bounds = [(symbols.get(s), _whole(r.lower), _whole(r.upper)) for s, r in program.range_constraints.items()]
    for of, low, high in bounds:
        if of == BATCH and (high is not None or (low or 0) > 2):
            raise DovetailError("this module is not the same for all batches", why=f"traced for {low} to {high}")
    found = [(low, high) for of, low, high in bounds if of == TOKENS]
    shortest = max((low for low, _ in found if low is not None and low > 2), default=None)
    return shortest, min((high for _, high in found if high is not None), default=None)


def _whole(bound: Any) -> int | None:
    """A bound that is a number, and no stand-in for infinity."""
    return int(bound) if getattr(bound, "is_Integer", False) and abs(int(bound)) < 2**31 else None
