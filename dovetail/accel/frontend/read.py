"""A torch module as a typed graph, checked against the module."""

from __future__ import annotations

from typing import Any

import numpy as np

from dovetail.accel.frontend import attention, linear, pointwise  # registers the patterns
from dovetail.accel.frontend.reader import Reader
from dovetail.accel.frontend.trace import Trace, exported
from dovetail.accel.graph import Embedding, Graph
from dovetail.core.errors import CHECK_FAILED, DovetailError
from dovetail.core.lazy import require

__all__ = ["attention", "linear", "pointwise", "read_features", "read_language_model", "read_program"]

SOURCE = "tokens"
TOLERANCE = 1e-4  # of the largest result: float32 in torch against float64 here


def read_language_model(module: Any, context: int, name: str = "") -> Graph:
    """The graph of a causal language model for sequences of up to `context` tokens.

    Parameters
    ----------
    module : torch.nn.Module
        A `transformers` causal language model of the Llama, Qwen or GPT-2 type.
    context : int
        How far the tables of positions reach; at least 2.

    Raises
    ------
    DovetailError
        An operator outside the set; a module that cannot be traced; a context that it does not hold.
    """
    torch = require("torch", "torch", to="read a module")
    _check_context(module, context)
    config = getattr(module, "config", None)
    if config is not None:
        config._attn_implementation = "sdpa"  # fused, so that attention is one operator
    keywords = {"use_cache": False} if config is not None else {}
    trace = Trace(exported(module, torch.zeros(1, context, dtype=torch.long), keywords))
    reader = Reader(trace, SOURCE)
    reader.tensor(trace.result)
    found = Graph(name or type(module).__name__, tuple(reader.nodes), context, SOURCE, 0)
    _check_tokens(found, module, torch, context, keywords)
    return found


def read_features(module: Any, example: Any, name: str = "") -> Graph:
    """The graph of an MLP or a small CNN; `example` is one input (1, features) or (1, channels, height, width)."""
    require("torch", "torch", to="read a module")
    return read_program(exported(module, example, {}), example, name or type(module).__name__)


def read_program(program: Any, example: Any, name: str) -> Graph:
    """The graph of an exported MLP or small CNN.

    Parameters
    ----------
    program : torch.export.ExportedProgram
    example : Tensor
        As many inputs as the program takes: (inputs, features) or (inputs, channels, height, width).

    Raises
    ------
    DovetailError
        An operator outside the set, or a graph that does not compute what the program does.
    """
    torch, trace = require("torch", "torch", to="read a module"), Trace(program)
    reader = Reader(trace, "input")
    reader.tensor(trace.result)
    found = Graph(name, tuple(reader.nodes), 1, "input", int(np.prod(example.shape[1:])))
    with torch.no_grad():
        wanted = program.module()(example)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    _check_close(found, *(each.double().numpy().reshape(len(example), -1) for each in (wanted, example)))
    return found


def _check_context(module: Any, context: int) -> None:
    config = getattr(module, "config", None)
    longest = int(getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0) or 2**31)
    if not 2 <= context <= longest:
        raise DovetailError(
            f"a context of {context} tokens", where="context", why=f"the model holds {longest}", hint="2 up to that"
        )


def _check_tokens(graph: Graph, module: Any, torch: Any, context: int, keywords: dict[str, Any]) -> None:
    vocabulary = next(graph.of(Embedding)).table.shape[0]
    ids = np.random.default_rng(0).integers(0, vocabulary, (1, min(context, 24)))
    with torch.no_grad():
        made = module(torch.from_numpy(ids), **keywords)
    logits = made.logits if hasattr(made, "logits") else made[0] if isinstance(made, tuple) else made
    _check_close(graph, logits.double().numpy(), ids)


def _check_close(graph: Graph, wanted: Any, given: Any) -> None:
    """Raise `DovetailError` where the graph does not compute what the module does: it was misread."""
    from dovetail.accel.floating import evaluate

    found = evaluate(graph, given)[graph.nodes[-1].name]
    error = float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))
    if not error <= TOLERANCE:
        why = f"results differ by {error:.2g} of the largest"
        hint = "a module whose views only part channels into heads"
        raise DovetailError(
            "the module was not understood", where=graph.name, why=why, hint=hint, exit_code=CHECK_FAILED
        )
