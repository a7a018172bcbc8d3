"""Whether a given contract and the code say the same: before anything runs, and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dovetail.core.errors import DovetailError
from dovetail.hls.check.shrink import Test
from dovetail.hls.check.stimulus import LEAF
from dovetail.hls.design import Contract, Design, Port
from dovetail.hls.harness import Outcome, Program, Shape

WHOLE = ("bool", "char", "short", "int", "long", "unsigned", "unsigned char", "int8_t", "int16_t", "int32_t")
REAL = {"f": "float", "d": "double", "h": "half"}


def agreed(design: Design, program: Program, shapes: Sequence[Shape]) -> Contract:
    """The given contract, with the leaves the compiler sees.

    Raises
    ------
    DovetailError
        Its ports are not the parameters: other names, a stream for an array, another type or another extent.
    """
    contract, parameters = design.contract, program.signature.parameters
    if [p.name for p in contract.ports] != [p.name for p in parameters]:
        ours, theirs = ", ".join(p.name for p in contract.ports), ", ".join(p.name for p in parameters)
        raise contradicts(design, f"its ports are {ours or 'none'}; {contract.top} takes {theirs or 'none'}")
    ports = []
    for port, shape in zip(contract.ports, shapes):
        if why := _against(port, shape):
            raise contradicts(design, f"'{port.name}' {why}")
        leaves = tuple(leaf for leaf in shape.leaves if LEAF.fullmatch(leaf)) or ("s32",)
        ports.append(replace(port, leaves=leaves))
    return replace(contract, ports=tuple(ports), returns=program.signature.returns or "void")


def _against(port: Port, shape: Shape) -> str:
    if (shape.kind == "S") != (port.kind == "stream"):
        return f"is {'a' if shape.kind == 'S' else 'no'} stream in the code"
    if shape.kind == "P" and port.kind == "array":
        return "is one value in the code, an array in the contract"
    if shape.kind == "A" and 0 < shape.elements < port.elements:
        return f"has {shape.elements:,} elements in the code, {port.elements:,} in the contract"
    real = len(shape.leaves) == 1 and shape.leaves[0] in REAL
    if (port.ctype in WHOLE and real) or (
        port.ctype in REAL.values() and LEAF.fullmatch("".join(shape.leaves)) and not real
    ):
        return f"is no {port.ctype} in the code"
    return ""


def written_inputs(contract: Contract, tests: Sequence[Test], outcomes: Sequence[Outcome]) -> list[str]:
    """Arrays that the contract says are only read, and that a call changed."""
    first = next((o for o in outcomes if o.end == "done" and len(o.outputs) == 1), None)
    if first is None:
        return []
    pairs = [(port.name, tests[first.index][0][port.name], first.outputs[0].get(place, ()))
             for place, port in enumerate(contract.ports) if port.kind == "array" and not port.written]  # fmt: skip
    return [name for name, before, after in pairs
            if len(before) == len(after) and any(_differ(str(a), b) for a, b in zip(before, after))]  # fmt: skip


def _differ(before: str, after: str) -> bool:
    try:
        return abs(float(before) - float(after)) > 1e-3 * abs(float(before)) + 1e-6
    except ValueError:
        return False


def contradicts(design: Design, why: str) -> DovetailError:
    """The error for a contract that is not the code's."""
    where = str(design.path or design.name or design.contract.top)
    return DovetailError("the contract contradicts the code", where=where, why=why,
                         hint=f"dovetail hls check {where} without a contract infers one")  # fmt: skip
