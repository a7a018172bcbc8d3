"""Products with packed integer weights on a CPU that has kernels for them: which run, what they read and compute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dovetail.core.formats import Format, Number
from dovetail.hardware.machine import Machine
from dovetail.hardware.packed import PackedProduct
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear

_SCALE_BYTES = 4  # in memory, scales and zero points are fp32


def executed(graph: Graph, machine: Machine) -> Machine:
    """The machine as `graph` meets it: with its kernels for packed weights and their launches, or without them.

    A model runs on them where all its quantised matrices are integers with a linear layer each; fused experts are not.
    """
    if machine.packed is None:
        return machine
    matrices = [weight for weight, _ in graph.weights() if weight.format.quantised]
    if not matrices or not all(width_of(w.format) and w.experts == 1 for w in matrices):
        return replace(machine, packed=None)
    sources = {**machine.sources, "stack.launch": machine.source("packed.launch")}
    return replace(machine, stack=replace(machine.stack, launch_s=machine.packed.launch_s), sources=sources)


def width_of(form: Format) -> int:
    """Bits that the kernels keep an element of this format in, 4 or 8; 0 where they do not take it."""
    rows_alone = form.block is not None and form.block[0] == 1
    taken = form.dtype.startswith("int") and not form.order and not form.extra and (form.packed or rows_alone)
    return 0 if not taken else 4 if form.bits <= 4 else 8


def held_bytes(form: Format, rows: Number, cols: Number) -> Number:
    """Bytes of a (rows, cols) matrix in memory, and of one pass over it."""
    group = form.group if form.packed else form.block[1] if form.block else 0
    scales = rows * (-(-np.asarray(cols) // group) if group else 1) * _SCALE_BYTES
    return rows * cols * (width_of(form) / 8) + scales * (1 + form.zeros)


def kernel_of(operator: Linear, machine: Machine) -> str:
    """The kernel that multiplies with the weights of `operator`; "" where torch does."""
    widths = {width_of(w.format) for w in operator.weights if w.linear}
    if machine.packed is None or not widths - {0}:
        return ""
    rounded = operator.act == "int8" or (machine.packed.rounds and operator.act != "int4")
    return f"int{max(widths)}" + ("-int8" if rounded else "")


def product_of(kernel: str, machine: Machine) -> PackedProduct | None:
    """The constants of a kernel; None for torch's."""
    return machine.packed.products[kernel] if machine.packed is not None and kernel else None
