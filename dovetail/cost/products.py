"""One matrix product on one machine: the public `cost.matmul`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.formats import MXFP4, NVFP4, Format, Number, packed_int, plain
from dovetail.cost.evaluate import operator_cost
from dovetail.cost.operators import spread_of
from dovetail.cost.residual import learned
from dovetail.cost.traffic import traffic
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Linear, Weight

_FORMATS: dict[str, Format] = {
    **{d: plain(d) for d in ("fp32", "bf16", "fp16", "fp8", "fp8_block", "int8")},
    "int4": packed_int(4, 128),
    "nvfp4": NVFP4,
    "mxfp4": MXFP4,
}


@dataclass(frozen=True, slots=True)
class ProductCost:
    """Arrays of the broadcast shape of m, n and k; `low` and `high` bound `time_s`."""

    time_s: Number
    energy_j: Number
    low: Number
    high: Number
    bound: np.ndarray


def matmul(
    m: Number,
    n: Number,
    k: Number,
    *,
    machine: Machine,
    weight: str = "bf16",
    act: str = "bf16",
    corrected: bool = False,
) -> ProductCost:
    """``x[m, k] w[n, k]^T`` alone on `machine`, called again and again as benchmarks do.

    Where the chip's kernels are known, operands that fit stay in its cache from one call to the next, and the host's
    time to issue a call counts; a graph of many operators (`evaluate`) has neither. Elsewhere weights come from main
    memory.

    Parameters
    ----------
    m, n, k : Number
        Rows of activations, outputs, inputs; arrays broadcast.
    weight, act : str
        ``fp32, bf16, fp16, fp8, fp8_block, int8, int4, nvfp4, mxfp4``.
    corrected : bool
        With what was learned of this chip's library on top (`dovetail.cost.residual`), where anything was: nearer to
        measured times, but more work may then be a little faster.

    Raises
    ------
    DovetailError
        An unknown dtype, a size below 1 or not finite, or arithmetic that the machine lacks.
    """
    if weight not in _FORMATS:
        raise DovetailError(f"unknown weight dtype '{weight}'", hint=did_you_mean(weight, list(_FORMATS)))
    m, n, k = (_size(name, value) for name, value in (("m", m), ("n", n), ("k", k)))
    stored = Weight("w", n, k, _FORMATS[weight])
    product = Linear(name="matmul", weights=(stored,), m=m, k=k, n=n, act=act)
    cost = operator_cost(product, traffic(product, machine), 0.0, machine, alone=True)
    spread = 1.0 + spread_of(cost.model, machine)
    time, energy = cost.time_s, cost.energy_j
    if corrected and (known := learned(machine.name, cost.model)) is not None:
        factor = np.exp(known.correction(m, n, k, machine.cores))
        time, energy = time * factor, energy * factor
    bound = np.where(np.asarray(cost.compute_s) >= cost.memory_s, "compute", "memory")
    return ProductCost(time, energy, time / spread, time * spread, bound)


def _size(name: str, value: Number) -> np.ndarray:
    array = np.asarray(value)
    array = array.astype(float) if array.dtype.kind in "iuf" else np.full(1, np.nan)
    if array.size == 0 or not np.all(np.isfinite(array)) or array.min() < 1:
        raise DovetailError(f"{name} must be at least 1 and finite", where=name, why=f"got {value!r}"[:80])
    return array
