"""Many variants of one design in one program: each in its own namespace, the headers compiled once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dovetail.core.errors import DovetailError
from dovetail.hls.design import Contract, Design, Port
from dovetail.hls.inject.inputs import read_ports
from dovetail.hls.inject.instrument import instrumented
from dovetail.hls.signature import Parameter, top_function

HERE = Path(__file__).parent
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b.*$", re.MULTILINE)
_STATE = re.compile(r"^\s+static\s+(?!const\b|constexpr\b)", re.MULTILINE)


def program(design: Design, variants: Sequence[str], fills: Sequence[int], only: Sequence[int], tests: int) -> str:
    """The text of a witness program.

    Parameters
    ----------
    design : Design
        Its contract says how to call, its oracle (a C++ function of the same name) what is right; without one the
        first variant is.
    variants : sequence of str
        Sources; the first is the clean one.
    fills : sequence of int
        With how many different fillings of empty variables each variant runs.
    only : sequence of int
        The one test each variant runs on, -1 for all.
    tests : int
        How many tests come in on stdin.

    Raises
    ------
    DovetailError
        The oracle is not C++, or the top function is not in the source.
    """
    if design.oracle is not None and design.oracle.kind != "cpp":
        raise DovetailError(
            "a witness needs a C++ reference or none",
            where=design.name or design.contract.top,
            why=f"the oracle is {design.oracle.kind}",
        )
    sources = [*variants, *([design.oracle.source] if design.oracle else [])]
    includes = dict.fromkeys(line.strip() for text in sources for line in _INCLUDE.findall(text))
    parts = [*includes, '#include "witness.h"']
    for number, variant in enumerate(variants):
        parts.append(_namespace(f"m{number}", instrumented(variant)))
    if design.oracle:
        parts.append(_namespace("reference", design.oracle.source))
    return "\n".join([*parts, _driver(design, variants, fills, only, tests), '#include "witness_main.h"', ""])


def hoisted(source: str) -> tuple[list[str], str]:
    """The include lines of a source, and the source with empty lines in their place."""
    return list(dict.fromkeys(line.strip() for line in _INCLUDE.findall(source))), _INCLUDE.sub("", source)


def call_text(design: Design, extra: str = "") -> str:
    """`dt::Top` and `dt::call` for a design that stands in namespace m0; `extra` comes before each call."""
    contract = design.contract
    body = _one_call(contract, _parameters(design.source, contract.top), extra)
    return f"""namespace dt {{
typedef decltype(&m0::{contract.top}) Top;
inline void call(Top top, Inputs &in) {{
    for (int n = 0; n < {contract.calls}; n++) {{
{body}
    }}
}}
}}"""


def _namespace(name: str, source: str) -> str:
    return f'namespace {name} {{\n#line 1 "{name}"\n{_INCLUDE.sub("", source)}\n}}\n#line 1 "driver"'


def _driver(design: Design, variants: Sequence[str], fills: Sequence[int], only: Sequence[int], tests: int) -> str:
    contract = design.contract
    top = f"m0::{contract.top}"
    width = contract.calls * sum(port.elements for port in read_ports(contract))
    reference = f"reference::{design.oracle.function or contract.top}" if design.oracle else top
    tolerances = ", ".join(f"{{{port.atol!r}, {port.rtol!r}}}" for port in (*contract.ports, Port("return", "")))
    table = "".join(f'\n#line 1 "m{n}"\n&m{n}::{contract.top},' for n in range(len(variants)))
    apart = "true" if contract.calls > 1 or _STATE.search(variants[0]) else "false"
    return f"""{call_text(design.with_source(variants[0]))}
namespace dt {{
static const Top tops[] = {{{table}
#line 1 "driver"
}};
static const int fills[] = {{{", ".join(map(str, fills))}}};
static const int only[] = {{{", ".join(map(str, only))}}};
static const Tolerance tolerances[] = {{{tolerances}}};
static const Top REFERENCE = &{reference};
static const int TESTS = {tests}, WIDTH = {width};
static const bool CALLS_APART = {apart};
}}"""


def _parameters(source: str, top: str) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in top_function(source, top).parameters}


def _one_call(contract: Contract, parameters: dict[str, Parameter], extra: str = "") -> str:
    before, after = [], []
    for number, port in enumerate(contract.ports):
        before.append(_made(port))
        after += _shown(port, number)
    arguments = ", ".join(_argument(port, parameters.get(port.name)) for port in contract.ports)
    call = f"top({arguments});"
    if contract.returns != "void":
        call = f"auto returned = {call}"
        after.append(f"shared->port = {len(contract.ports)}; emit(number(returned));")
    after += [f"delete[] p_{port.name};" for port in contract.ports if port.kind in ("array", "pointer")]
    return "\n".join("        " + line for line in [*before, extra, call, *after] if line)


def _made(port: Port) -> str:
    name, ctype = f"p_{port.name}", port.ctype
    if port.kind == "stream":
        fill = f" for (int i = 0; i < {port.elements}; i++) {{ {ctype} x; assign(x, in.next()); {name}.write(x); }}"
        return f'hls::stream<{ctype} > {name}("{port.name}");{fill if port.read else ""}'
    if port.kind == "scalar":
        return f"{ctype} {name}; assign({name}, in.next());"
    maker = f"filled<{ctype} >(in, {port.elements})" if port.read else f"blank<{ctype} >({port.elements})"
    return f"{ctype} *{name} = {maker};"


def _shown(port: Port, number: int) -> list[str]:
    if port.kind == "stream":
        read = f"drain(p_{port.name});" if port.written else f"emit(static_cast<long double>(p_{port.name}.size()));"
        rest = f" while (!p_{port.name}.empty()) p_{port.name}.read();"
        return [f"shared->port = {number}; {read}{rest}"]
    if not port.written:
        return []
    return [f"shared->port = {number}; emit_all(p_{port.name}, {port.elements});"]


def _argument(port: Port, parameter: Parameter | None) -> str:
    name = f"p_{port.name}"
    if port.kind == "pointer" and parameter is not None and parameter.reference:
        return f"*{name}"
    if port.kind == "array" and parameter is not None and len(parameter.extents) > 1:
        inner = "".join(f"[{extent}]" for extent in port.shape[1:])
        return f"reinterpret_cast<{port.ctype} (*){inner}>({name})"
    return name
