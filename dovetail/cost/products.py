"""One matrix product on one machine: the public `cost.matmul`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.formats import MXFP4, NVFP4, Format, Number, packed_int, plain
from dovetail.cost.evaluate import operator_cost
from dovetail.cost.gpu import lent
from dovetail.cost.operators import spread_of
from dovetail.cost.packed import executed, kernel_of
from dovetail.cost.residual import learned
from dovetail.cost.traffic import traffic
from dovetail.hardware import Machine, load_machine
from dovetail.hardware.relatives import TRANSFER
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear, Weight

_MOST = 1e12  # a size beyond is a mistake, and no product of three sizes overflows
_FORMATS: dict[str, Format] = {
    **{d: plain(d) for d in ("fp32", "bf16", "fp16", "fp8", "fp8_block", "int8")},
    "int4": packed_int(4, 128),
    "nvfp4": NVFP4,
    "mxfp4": MXFP4,
}


@dataclass(frozen=True, slots=True)
class ProductCost:
    """Arrays of the broadcast shape of m, n and k; `low` and `high` bound `time_s`.

    `bound` is what takes most of the time: ``compute``, ``memory`` or ``launch``.
    """

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
    machine: Machine | str,
    weight: str = "bf16",
    act: str = "bf16",
    corrected: bool = False,
) -> ProductCost:
    """``x[m, k] w[n, k]^T`` alone on `machine`, called again and again as benchmarks do.

    Where the chip's kernels are known, operands that fit stay in its cache from one call to the next, and the host's
    time to issue a call counts; a graph of many operators (`evaluate`) has neither. Elsewhere weights come from main
    memory. A CPU with kernels for packed weights multiplies with them where they take the operands.

    Parameters
    ----------
    m, n, k : Number
        Rows of activations, outputs, inputs; arrays broadcast.
    machine : Machine or str
        A machine, or what names one (`dovetail.hardware.load_machine`).
    weight, act : str
        ``fp32, bf16, fp16, fp8, fp8_block, int8, int4, nvfp4, mxfp4``.
    corrected : bool
        With what was learned of this chip's library on top (`dovetail.cost.residual`), where anything was: nearer to
        measured times, but more work may then be a little faster.

    Raises
    ------
    DovetailError
        An unknown name, a size that is no number from 1 to 10^12, or sizes that do not broadcast; with exit code 3,
        arithmetic that the machine lacks, and the nearest that it has.
    """
    machine = load_machine(machine)
    for what, dtype in (("weight", weight), ("act", act)):
        if dtype not in _FORMATS:
            hint = did_you_mean(str(dtype), list(_FORMATS))
            raise DovetailError(f"unknown {what} dtype '{dtype}'", where=what, hint=hint)
    m, n, k = (_size(name, value) for name, value in (("m", m), ("n", n), ("k", k)))
    _check_shapes(m, n, k)
    product, machine = _product(m, n, k, weight, act, machine)
    cost = operator_cost(product, traffic(product, machine), 0.0, machine, alone=True)
    spread = 1.0 + max(spread_of(cost.model, machine), TRANSFER.get(lent(product, machine), 0.0))
    time, energy = cost.time_s, cost.energy_j
    if corrected and (known := learned(machine.name, cost.model)) is not None:
        factor = np.exp(known.correction(m, n, k, machine.cores))
        time, energy = time * factor, energy * factor
    bound = np.where(np.asarray(cost.compute_s) >= cost.memory_s, "compute", "memory")
    bound = np.where(cost.launch_s > np.maximum(cost.compute_s, cost.memory_s), "launch", bound)
    return ProductCost(time, energy, time / spread, time * spread, bound)


def _product(
    m: np.ndarray, n: np.ndarray, k: np.ndarray, weight: str, act: str, machine: Machine
) -> tuple[Linear, Machine]:
    """The operator, and the machine as it meets it: kernels for packed weights take activations that they round."""
    form = _FORMATS[weight]
    if machine.packed is not None and weight == "int8":
        form = replace(form, block=(1, 0))  # a scale for each row, as they read it
    product = Linear(name="matmul", weights=(Weight("w", n, k, form),), m=m, k=k, n=n, act=act)
    machine = executed(Graph((product,), (), 1, 1, 0, 1), machine)
    return (replace(product, otherwise="fp32") if kernel_of(product, machine) else product), machine


def _size(name: str, value: Number) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal lengths
        array = np.asarray(None)
    array = array.astype(float) if array.dtype.kind in "iuf" else np.full(1, np.nan)
    if array.size == 0 or not np.all((array >= 1) & (array <= _MOST)):
        raise DovetailError(f"{name} must be at least 1 and at most 10^12", where=name, why=f"got {value!r}"[:80])
    return array


def _check_shapes(m: np.ndarray, n: np.ndarray, k: np.ndarray) -> None:
    try:
        np.broadcast_shapes(m.shape, n.shape, k.shape)
    except ValueError:
        why = f"shapes {m.shape}, {n.shape} and {k.shape}"
        raise DovetailError("m, n and k do not broadcast", why=why, hint="arrays of one shape, or scalars") from None
