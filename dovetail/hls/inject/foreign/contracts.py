"""A cautious contract for a design that nobody described: small extents, small values, short streams."""

from __future__ import annotations

import re

from dovetail.core.errors import DovetailError
from dovetail.hls.design import Contract, Port
from dovetail.hls.inject.syntax import read, value_of
from dovetail.hls.signature import Parameter, top_function

ELEMENTS, WAITING = 1024, 64
LOW, HIGH = 0.0, 7.0


def guessed_contract(source: str, top: str = "") -> Contract:
    """Extents as written where they are constants, `ELEMENTS` behind pointers, values from 0 to 7.

    Raises
    ------
    DovetailError
        No function, a template, or a parameter of a type that cannot be filled.
    """
    signature = top_function(source, top)
    if signature.template or not signature.parameters:
        raise DovetailError("cannot be called as it is", where=signature.name, why="a template, or no parameters")
    parsed = read(source)
    ports = tuple(_port(p, parsed.constants, parsed.types, source) for p in signature.parameters)
    returns = signature.returns if signature.returns != "void" else "void"
    return Contract(signature.name, ports, parsed.resolved(returns))


def _plain(ctype: str, constants: dict[str, int], types: dict[str, str]) -> str:
    """A type with the design's own names replaced, so that it means the same outside."""
    for _ in range(4):
        ctype = re.sub(r"[A-Za-z_]\w*", lambda m: types.get(m[0], str(constants.get(m[0], m[0]))), ctype)
    return ctype


def _port(parameter: Parameter, constants: dict[str, int], types: dict[str, str], source: str) -> Port:
    ctype = _plain(parameter.ctype.removeprefix("const ").strip(), constants, types)
    if ctype.replace(" ", "").startswith("hls::stream<"):
        inner = ctype[ctype.index("<") + 1 : ctype.rindex(">")].strip()
        fed = f"{parameter.name}.read" in source or f">> {parameter.name}" in source or f"{parameter.name} >>" in source
        if parameter.extents or parameter.pointers:
            raise DovetailError("an array of streams", where=parameter.name)
        return Port(parameter.name, inner, "stream", "in" if fed else "out", (WAITING if fed else 0,), LOW, HIGH)
    if parameter.extents:
        shape = tuple((value_of(extent, constants) or 0) if extent else ELEMENTS for extent in parameter.extents)
        if not all(0 < n <= 1 << 16 for n in shape):
            raise DovetailError("extents that are not constants", where=parameter.name)
        return Port(parameter.name, ctype, "array", "in" if parameter.const else "inout", shape, LOW, HIGH)
    if parameter.pointers:
        return Port(parameter.name, ctype, "array", "in" if parameter.const else "inout", (ELEMENTS,), LOW, HIGH)
    if parameter.reference and not parameter.const:
        return Port(parameter.name, ctype, "pointer", "inout", (), LOW, HIGH)
    return Port(parameter.name, ctype, "scalar", "in", (), LOW, HIGH)
