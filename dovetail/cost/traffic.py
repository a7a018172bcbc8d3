"""Bytes an operator moves and the arithmetic it does, on a given machine: the two sides of its roofline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.formats import DTYPE_BYTES, Format, Number, dtype_bytes
from dovetail.cost.packed import held_bytes, kernel_of, width_of
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Graph
from dovetail.model.host_transfer import HostTransfer
from dovetail.model.operators import Attention, Collective, Linear, Operator, Pointwise, Scan, Weight

_FLOATS = ("bf16", "fp16", "fp32")
_STAND_INS = {"bf16": ("fp16", "fp32"), "fp16": ("bf16", "fp32"), "fp8_block": ("fp8",)}


def compute_dtype(act: str, machine: Machine, otherwise: str = "") -> str:
    """The dtype in which `machine` computes on activations of dtype `act`.

    The same dtype where the chip has it, its 16-bit twin, or what the software stack converts to. Inputs that a
    checkpoint quantises have another dtype to fall back on, `otherwise`: weights are unpacked to it where the chip has
    no arithmetic for `act`, and always by a stack that unpacks at load.

    Raises
    ------
    DovetailError
        None of these has a peak on the machine.
    """
    if otherwise and (_unpacks(machine) or not any(dtype in machine.peak for dtype in (act, *_STAND_INS.get(act, ())))):
        act = otherwise
    if machine.stack.compute and act in _FLOATS:
        return machine.stack.compute
    found = next((dtype for dtype in (act, *_STAND_INS.get(act, ())) if dtype in machine.peak), act)
    machine.peak_of(found)
    return found


def operator_dtype(operator: Operator, machine: Machine) -> str:
    """The dtype in which `machine` executes `operator`. Raises as `compute_dtype` does."""
    return compute_dtype(getattr(operator, "act", "bf16"), machine, getattr(operator, "otherwise", ""))


def _unpacks(machine: Machine) -> bool:
    """Whether the stack turns narrow formats into floats when it loads them."""
    return machine.stack.unpacks and not machine.stack.packed_weights


def resident_bytes(weight: Weight, machine: Machine) -> Number:
    """Bytes one tensor (all its experts) takes in the machine's memory, and moves when it is read once.

    A stack that unpacks weights at load stores what the compute dtype takes, but for what kernels leave packed.
    """
    stack = machine.stack
    if machine.packed is not None and width_of(weight.format):
        return held_bytes(weight.format, weight.rows, weight.cols) * weight.experts
    if not _unpacks(machine) and not (stack.compute and not weight.format.packed):
        return weight.payload_bytes
    dtype = weight.format.scale if weight.format.packed else weight.format.dtype
    if dtype not in _FLOATS:  # scales of a narrower dtype do not say what the weights unpack to
        dtype = "bf16"
    return weight.elements * dtype_bytes(compute_dtype(dtype, machine))


def kv_element_bytes(format: str, machine: Machine) -> float:
    """Bytes of one cached element: plain floats as the machine computes on them, narrower formats as they are.

    A stack that unpacks weights has no kernels for narrow caches either.
    """
    if format not in _FLOATS and _unpacks(machine):
        format = "bf16"
    return dtype_bytes(compute_dtype(format, machine) if format in _FLOATS else format)


def attended_element_bytes(attention: Attention, machine: Machine) -> Number:
    """Bytes of one cached element that an attention reads, scales included: their mean where some are packed."""
    element = kv_element_bytes(attention.kv_format, machine)
    if attention.groups is None:
        return element
    span, values = attention.span, attention.values
    return attention.groups.bytes(span, attention.head_dim, values, element) / (span * attention.cached_channels)


@dataclass(frozen=True, slots=True)
class Traffic:
    """One operator, once: `flops` in `dtype`; bytes streamed, of activations, and of a collective's message."""

    dtype: str
    flops: Number
    streamed: Number
    activations: Number
    sent: Number = 0.0
    passes: Number = 1.0  # how often the streamed bytes move
    scores: Number = 0.0  # softmax elements
    unpacked: Number = 0.0  # weights unpacked by a fused kernel, in elements
    kernel: str = ""  # of `Machine.packed`, which leaves weights packed where the stack has none


def traffic(operator: Operator, machine: Machine) -> Traffic:
    """The work of one repetition of `operator` on `machine`, shapes as in the graph."""
    dtype = operator_dtype(operator, machine)
    size = DTYPE_BYTES[dtype]
    if isinstance(operator, Linear):
        share = np.minimum(operator.active, operator.experts) / operator.experts if operator.experts > 1 else 1.0
        streamed = sum(resident_bytes(w, machine) for w in operator.weights) * share
        made = DTYPE_BYTES[compute_dtype(operator.otherwise, machine)] if operator.otherwise else size
        moved = operator.m * (operator.k * size + operator.n * made)
        packed = sum(w.elements for w in operator.weights if _is_unpacked(w.format, operator, dtype, machine))
        if machine.packed is not None and (kernel := kernel_of(operator, machine)):
            times = -(-np.asarray(operator.m) // machine.packed.rows)
            read = sum(w.elements for w in operator.weights) * times
            return Traffic(dtype, operator.executed_flops, streamed, moved, unpacked=read, kernel=kernel)
        passes = machine.stack.weight_passes
        repacked: Number = 1.0 if np.all(np.asarray(passes) == 1) else np.where(np.asarray(operator.m) > 1, passes, 1.0)
        return Traffic(dtype, operator.executed_flops, streamed, moved, passes=repacked, unpacked=packed * share)
    if isinstance(operator, Attention):
        span = operator.span
        if operator.selected is not None:  # each query reads its own choice; together at most all
            span = np.minimum(span, operator.tokens * operator.selected)
        channels = operator.cached_channels * attended_element_bytes(operator, machine)
        streamed = operator.batch * span * (operator.kv_heads * channels)
        per_query = operator.heads * (operator.head_dim + operator.values) * size
        queries = operator.batch * operator.tokens * per_query
        scores = operator.batch * operator.heads * operator.tokens * operator.visible
        passes = machine.stack.kv_passes
        return Traffic(dtype, operator.executed_flops, streamed, queries, passes=passes, scores=scores)
    if isinstance(operator, Pointwise):
        moved = (operator.read + operator.written) * (size * machine.stack.pointwise_passes)
        return Traffic(dtype, operator.executed_flops, 0.0, moved)
    if isinstance(operator, Scan):
        # The state is read and written once a step, whatever the number of tokens (scans in chunks keep it on chip).
        state = operator.batch * operator.state * (2 * dtype_bytes(operator.format))
        return Traffic(dtype, operator.executed_flops, state, (operator.read + operator.written) * size)
    if isinstance(operator, Collective):
        return Traffic(dtype, operator.executed_flops, 0.0, 0.0, operator.elements * size)
    if isinstance(operator, HostTransfer):
        return Traffic(dtype, operator.executed_flops, 0.0, 0.0)
    raise DovetailError(f"no cost is known for operator '{operator.name}'", why=type(operator).__name__)


def _is_unpacked(form: Format, operator: Linear, dtype: str, machine: Machine) -> bool:
    """Whether a fused kernel unpacks a weight: packed, or of 8 bits in a product that fell back, and not in `dtype`."""
    narrow = form.packed or (dtype == operator.otherwise and form.dtype not in _FLOATS)
    return machine.stack.packed_weights and narrow and form.dtype != dtype


def streamed_bytes(graph: Graph, works: list[Traffic]) -> Number:
    """Bytes that stream through the caches in one step of `graph`: what must fit for weights and KV to stay there."""
    return sum(w.streamed * o.repeat for o, w in zip(graph.operators, works, strict=True))
