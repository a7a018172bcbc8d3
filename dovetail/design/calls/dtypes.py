"""What a table calls a dtype, and what its kernels multiply, read and write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dovetail.core.errors import INFEASIBLE, DovetailError, did_you_mean
from dovetail.cost.gemm import Widths
from dovetail.hardware.kernels.known import STAND_INS
from dovetail.hardware.machine import Machine


@dataclass(frozen=True, slots=True)
class Dtype:
    """The entry of a chip's kernel constants, the peak it uses, and bytes of elements with their scales."""

    entry: str
    peak: str
    widths: Widths


PRODUCTS: Mapping[str, Dtype] = {
    "bf16": Dtype("bf16", "bf16", Widths()),
    "fp16": Dtype("fp16", "fp16", Widths()),
    "tf32": Dtype("tf32", "tf32", Widths(4.0, 4.0, 4.0)),
    "fp32": Dtype("fp32", "fp32", Widths(4.0, 4.0, 4.0)),
    "fp8": Dtype("fp8", "fp8", Widths(1.0, 1.0, 2.0)),
    "fp8_block": Dtype("fp8_block", "fp8", Widths(1.0 + 4 / 128, 1.0, 2.0)),  # 128 activations share 4 bytes of scale
    "int8": Dtype("int8", "int8", Widths(1.0, 1.0, 2.0)),
    "w8a16": Dtype("w8a16", "bf16", Widths(2.0, 1.0, 2.0)),
    "w4a16": Dtype("w4a16", "bf16", Widths(2.0, 0.5, 2.0)),
    "nvfp4": Dtype("nvfp4", "nvfp4", Widths(0.5 + 1 / 16, 0.5 + 1 / 16, 2.0)),  # 16 elements share a byte
    "mxfp4": Dtype("mxfp4", "mxfp4", Widths(0.5 + 1 / 32, 0.5 + 1 / 32, 2.0)),
}
# Other names; those of aiconfigurator are among them.
NAMES: Mapping[str, str] = {
    "bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "fp8_e4m3": "fp8", "float8": "fp8",
    "float8_e4m3fn": "fp8", "e4m3": "fp8", "int8_wo": "w8a16", "int4_wo": "w4a16", "sq": "int8", "w8a8": "int8",
}  # fmt: skip
_WEIGHTS = {("int8", "bf16"): "w8a16", ("int8", "fp16"): "w8a16", ("int4", "bf16"): "w4a16",
            ("int4", "fp16"): "w4a16", ("fp8_block", "fp8"): "fp8_block"}  # fmt: skip


def product(name: str, machine: Machine, where: str) -> Dtype:
    """The dtype of a product by its name in a table. Raises `DovetailError` where it or its arithmetic is unknown."""
    key = NAMES.get(name.lower(), name.lower())
    if key not in PRODUCTS:
        raise DovetailError(f"unknown dtype '{name}'", where=where, hint=did_you_mean(name, [*PRODUCTS, *NAMES]))
    found = PRODUCTS[key]
    if key in ("w8a16", "w4a16") and "bf16" not in machine.peak and "fp16" in machine.peak:
        found = replace(found, peak="fp16")
    check_arithmetic(found.peak, machine, where)
    return found


def of_operands(weight: str, act: str, where: str) -> str:
    """One name for the dtypes of weights and activations. Raises `DovetailError` for a pair that is not known."""
    pair = NAMES.get(weight.lower(), weight.lower()), NAMES.get(act.lower(), act.lower())
    if pair[0] == pair[1]:
        return pair[0]
    if pair not in _WEIGHTS:
        hint = ", ".join(f"{w} with {a}" for w, a in _WEIGHTS)
        raise DovetailError(f"weights in {weight} with activations in {act} are not known", where=where, hint=hint)
    return _WEIGHTS[pair]


def cache(name: str, machine: Machine, where: str) -> Dtype:
    """The dtype of attention's cache by its name in a table. Raises as `product`."""
    key = NAMES.get(name.lower(), name.lower())
    if key not in ("bf16", "fp16", "fp8"):
        raise DovetailError(f"attention in '{name}' is not known", where=where, hint="bf16, fp16 or fp8")
    check_arithmetic(key, machine, where)
    return PRODUCTS[key]


def check_arithmetic(dtype: str, machine: Machine, where: str) -> None:
    """Refuse a dtype that the machine lacks, naming the nearest that it has. Raises `DovetailError`."""
    if dtype in machine.peak:
        return
    nearest = (*STAND_INS.get(dtype, ()), "bf16", "fp16", *machine.peak)
    near = next(other for other in nearest if other in machine.peak)
    has, hint = ", ".join(machine.peak), f"calls in {near}, or another --machine"
    raise DovetailError(
        f"{machine.name} has no {dtype} arithmetic", where=where, why=f"it has {has}", hint=hint, exit_code=INFEASIBLE
    )
