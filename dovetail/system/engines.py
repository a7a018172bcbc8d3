"""How to serve a checkpoint: the command line of an engine, or why it cannot serve it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from dovetail.hardware.machine import Machine
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear

# Groups of packed weights that vLLM's compressed-tensors kernels read (WNA16: Marlin, Machete); bits are the stack's.
VLLM_GROUPS = (0, 32, 64, 128)
FP4 = ("mxfp4", "nvfp4")  # whose groups are their own


@dataclass(frozen=True, slots=True)
class Served:
    """A command that serves a checkpoint, or an empty one and the reason."""

    command: str
    why: str = ""


def vllm_serve(
    folder: str | Path, graph: Graph, machine: Machine, *, context: int, batch: int, ways: int, stages: int = 1
) -> Served:
    """The ``vllm serve`` command for a checkpoint folder.

    Parameters
    ----------
    graph : Graph
        The model after its recipe: its stored formats decide whether vLLM has kernels for them.
    context, batch, ways, stages : int
        Longest request in tokens, requests at once, chips that share a layer, stages of a pipeline.
    """
    if "vllm" not in machine.engines:
        return Served("", f"vLLM does not run on {machine.title}")
    bits = machine.stack.packed_bits
    for weight, _ in graph.weights():
        stored = weight.format
        if stored.packed and not machine.stack.packed_weights:
            return Served("", f"vLLM has no kernel for packed weights on {machine.name}")
        if stored.packed and stored.dtype not in FP4 and (stored.bits not in bits or stored.group not in VLLM_GROUPS):
            why = f"vLLM reads packed weights of {bits} bits in groups of {VLLM_GROUPS}, not {stored.name}"
            return Served("", why)
    products = (operator for operator in graph.operators if isinstance(operator, Linear))
    if any(p.act.startswith("int") and any(w.format.packed for w in p.weights) for p in products):
        return Served("", "vLLM has no kernel that multiplies packed integers with integer inputs; int8 x int8 has one")
    parts = [
        "vllm", "serve", str(folder), "--host", "127.0.0.1",
        "--max-model-len", str(context), "--max-num-seqs", str(batch),
        "--gpu-memory-utilization", f"{1 - machine.stack.reserve:g}",
    ]  # fmt: skip
    if ways > 1:
        parts += ["--tensor-parallel-size", str(ways)]
    if stages > 1:
        parts += ["--pipeline-parallel-size", str(stages)]
    return Served(shlex.join(parts))
