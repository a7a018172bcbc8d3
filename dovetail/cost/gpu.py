"""Products, mixtures and attention on a chip whose kernels are known: which kernel runs, and what it costs there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dovetail.core.formats import DTYPE_BYTES, FLOATS, Number
from dovetail.cost.attention import attention_cost
from dovetail.cost.gemm import GemmCost, Widths, gemm_cost
from dovetail.cost.kernel import KernelTime
from dovetail.cost.latent import latent_time
from dovetail.cost.mixture import Experts, product_time
from dovetail.cost.operators import OperatorCost, energy_j
from dovetail.cost.traffic import Traffic, attended_element_bytes, operator_dtype, resident_bytes
from dovetail.hardware.chip_facts import chip_facts
from dovetail.hardware.energy import ATTENTION_SHARE
from dovetail.hardware.kernels import LatentConstants
from dovetail.hardware.kernels.known import known_for
from dovetail.hardware.machine import Machine
from dovetail.model.operators import Attention, Linear, Operator

_MANY = 512  # points from which it is worth looking for repeated ones
_PRODUCTS_OF_MIXTURE = 2  # share the launch of the fused call


def kernel_cost(operator: Operator, work: Traffic, machine: Machine, *, alone: bool = False) -> OperatorCost | None:
    """Cost of all repetitions of a product or an attention; None for what no kernel constants are for.

    Parameters
    ----------
    work : Traffic
        Of one repetition: the dtype, and the FLOPs that energy is counted on.
    alone : bool
        One call is repeated by itself, as benchmarks do: operands that fit stay in the cache, and a host that issues
        kernels one by one may be slower than they are. In a step of a graph neither holds.

    Raises
    ------
    DovetailError
        The machine has no arithmetic of the dtype.
    """
    found = _known(operator, machine)
    if found is None:
        return None
    if isinstance(operator, Attention) and found.family == "latent":
        return _latent(operator, work, machine, found)
    if isinstance(operator, Attention):
        return _attention(operator, work, machine, found, alone)
    if isinstance(operator, Linear) and found.family == "gemm":
        return _product(operator, work, machine, found, alone)
    return _grouped(operator, work, machine, found) if isinstance(operator, Linear) else None


def model_of(operator: Operator, machine: Machine) -> str:
    """What prices an operator on a machine: family and entry of its kernel constants, or ``roofline``."""
    found = _known(operator, machine)
    return "roofline" if found is None else found.model


def lent(operator: Operator, machine: Machine) -> str:
    """The family of an operator's kernel where constants of another dtype stand in; else "".

    Kernels in bf16 and in fp16 are the same.
    """
    found = _known(operator, machine)
    same = found is None or found.entry == found.asked or {found.entry, found.asked} == {"bf16", "fp16"}
    return "" if found is None or same else found.family


@dataclass(frozen=True, slots=True)
class _Known:
    """The entry of a machine's kernel constants that prices an operator; `asked` is the one that it would have."""

    family: str
    asked: str
    entry: str
    constants: Any

    @property
    def model(self) -> str:
        return f"{self.family}.{self.entry}"


def _known(operator: Operator, machine: Machine) -> _Known | None:
    kernels = machine.kernels
    if kernels is None:
        return None
    if isinstance(operator, Attention):
        family = "latent" if operator.latents is not None and kernels.latent else "attention"
        asked = attention_dtype(operator, machine)
    elif isinstance(operator, Linear):
        family = "gemm" if operator.experts == 1 else "mixture"
        asked = product_entry(operator, operator_dtype(operator, machine), machine)
    else:
        return None
    found = known_for(getattr(kernels, family), asked)
    return None if found is None else _Known(family, asked, *found)


def product_entry(operator: Linear, dtype: str, machine: Machine) -> str:
    """The entry of kernel constants that a product is looked up by: its dtype, or how its weights are unpacked."""
    forms = {weight.format for weight in operator.weights if weight.linear}
    if dtype in FLOATS and dtype != "fp32" and machine.stack.packed_weights and any(form.quantised for form in forms):
        return "w4a16" if all(form.bits <= 4 for form in forms) else "w8a16"
    if dtype == "fp8" and any(form.block is not None and min(form.block) > 1 for form in forms):
        return "fp8_block"
    return dtype


def _product(operator: Linear, work: Traffic, machine: Machine, known: _Known, alone: bool) -> OperatorCost:
    widths = Widths(DTYPE_BYTES[work.dtype], _weight_bytes(operator, machine), _result_bytes(operator, work.dtype))
    single = np.ndim(operator.n) == np.ndim(operator.k) == 0 and not _of_many(machine)
    rows, back = _distinct(operator.m) if single else (operator.m, None)
    found = gemm_cost(
        rows, operator.n, operator.k, chip_facts(machine, work.dtype), known.constants, widths, alone=alone
    )
    if back is not None:
        columns = (np.broadcast_to(getattr(found, name), rows.shape) for name in GemmCost.__slots__)
        found = GemmCost(*(column[back] for column in columns))
    return _cost(operator, work, machine, known.model, found, found.bytes)


def _of_many(machine: Machine) -> bool:
    """Whether the numbers of the machine are columns of design points."""
    memory = machine.memory
    return any(np.ndim(n) for n in (machine.cores, machine.clock_hz, memory.bandwidth, *machine.peak.values())) or any(
        np.ndim(n) for cache in machine.caches for n in (cache.capacity, cache.bandwidth)
    )


def _distinct(rows: Number) -> tuple[Number, np.ndarray | None]:
    """Few whole numbers that many points share, such as the batches of a grid, and where each point finds its own."""
    array = np.asarray(rows)
    if array.size < _MANY:
        return rows, None
    low, high = array.min(), array.max()
    if not high - low < array.size / 4:
        return rows, None
    place = (array - low).astype(np.intp)
    return (np.arange(low, high + 1), place) if np.array_equal(place + low, array) else (rows, None)


def _grouped(operator: Linear, work: Traffic, machine: Machine, known: _Known) -> OperatorCost:
    """One of the two grouped products of a mixture, with half the launch of the fused call."""
    of = Experts(
        operator.experts, operator.top_k,
        weight_bytes=_weight_bytes(operator, machine), act_bytes=DTYPE_BYTES[work.dtype],
    )  # fmt: skip
    tokens, gathers = operator.m / operator.top_k, operator.split == "out"
    found = product_time(
        tokens, operator.n, operator.k, of, chip_facts(machine, work.dtype), known.constants, gathers=gathers
    )
    launch_s = known.constants.launch_s / _PRODUCTS_OF_MIXTURE
    return _cost(operator, work, machine, known.model, found, found.bytes, launch_s)


def _attention(operator: Attention, work: Traffic, machine: Machine, known: _Known, alone: bool) -> OperatorCost:
    dtype, cut = attention_dtype(operator, machine), known.constants
    found = attention_cost(
        operator, chip_facts(machine, dtype), cut.kernel, cut.constants, q_bytes=DTYPE_BYTES[dtype],
        kv_bytes=attended_element_bytes(operator, machine), appends=True, stays=alone,
    )  # fmt: skip
    return _cost(operator, work, machine, known.model, found, found.bytes, share=ATTENTION_SHARE)


def _latent(operator: Attention, work: Traffic, machine: Machine, known: _Known) -> OperatorCost:
    """Attention alone: what expands latents or absorbs queries is a product of the graph."""
    found = latent_cost(operator, machine, known.constants)
    return _cost(operator, work, machine, known.model, found, found.bytes, share=ATTENTION_SHARE)


def latent_cost(operator: Attention, machine: Machine, constants: LatentConstants) -> KernelTime:
    """One call of latent attention; scores are multiplied in the activations' dtype, whatever the cache's."""
    chip = chip_facts(machine, operator_dtype(operator, machine))
    return latent_time(operator, chip, constants, attended_element_bytes(operator, machine))


def attention_dtype(operator: Attention, machine: Machine) -> str:
    """Scores are multiplied in the dtype of the cache where the chip has it."""
    narrow = operator.kv_format not in FLOATS and operator.kv_format in machine.peak
    return operator.kv_format if narrow else operator_dtype(operator, machine)


def _weight_bytes(operator: Linear, machine: Machine) -> Number:
    """Bytes of one weight of a product, scales in proportion."""
    total = sum(resident_bytes(weight, machine) for weight in operator.weights)
    return total / (operator.n * operator.k * operator.experts)


def _result_bytes(operator: Linear, dtype: str) -> float:
    """Sums leave as floats, whatever is multiplied."""
    return DTYPE_BYTES[dtype] if dtype in FLOATS else DTYPE_BYTES.get(operator.otherwise, 2.0)


def _cost(
    operator: Operator, work: Traffic, machine: Machine, model: str, found: Any, moved: Number, more_s: Number = 0.0,
    share: float = 0.0,
) -> OperatorCost:  # fmt: skip
    repeat = operator.repeat
    time_s, launch_s = (found.time_s + more_s) * repeat, (found.launch_s + more_s) * repeat
    flops, bytes_ = work.flops * repeat, moved * repeat
    cached = np.maximum(work.streamed + work.activations - moved, 0.0) * repeat
    return OperatorCost(
        operator.name, repeat, work.dtype, flops, bytes_, cached, found.compute_s * repeat, found.memory_s * repeat,
        0.0, 0.0, launch_s, time_s, energy_j(time_s, flops, bytes_, work.dtype, machine, share), model,
    )  # fmt: skip
