"""A test bench in plain C++ for a design: inputs written out, the reference beside it, PASS or FAIL on stdout."""

from __future__ import annotations

from collections.abc import Sequence

from dovetail.hls.design import Design, Port
from dovetail.hls.inject.batch import hoisted
from dovetail.hls.inject.inputs import Test, drawn_for, read_ports


def bench_of(design: Design, inputs: Sequence[Test] | None = None) -> str:
    """The text of a program that calls the design and its reference on the same inputs.

    It declares the design's top function by including nothing of it: compile both files together, with
    ``-DDESIGN='"file.cpp"'`` naming the source. Exit status 0 and ``PASS`` when all outputs agree, 1 and ``FAIL``.
    """
    contract = design.contract
    used = list(inputs if inputs is not None else drawn_for(contract, f"bench/{design.name}", 2)[-3:])
    reference = design.oracle.source if design.oracle else ""
    includes, body = hoisted(reference)
    ports = read_ports(contract)
    steps = []
    for test in used:
        for call in range(contract.calls):
            values = dict(zip([p.name for p in ports], test[call * len(ports) : (call + 1) * len(ports)]))
            steps.append(_step(design, values))
    return "\n".join(
        [
            *includes,
            "#include <cmath>",
            "#include <cstdio>",
            "#include DESIGN",
            "",
            f"namespace reference {{\n{body.strip()}\n}}",
            "",
            _HELPERS,
            "int main() {",
            "    int wrong = 0;",
            *steps,
            '    printf(wrong ? "FAIL: %d values differ\\n" : "PASS\\n", wrong);',
            "    return wrong != 0;",
            "}",
            "",
        ]
    )


_HELPERS = """template <typename T> double number(const T &x) { return static_cast<double>(x); }
static int differs(double got, double want, double atol, double rtol) {
    return !(got == want || std::fabs(got - want) <= atol + rtol * std::fabs(want));
}"""


def _step(design: Design, values: dict[str, tuple[float, ...]]) -> str:
    lines = ["    {"]
    for port in design.contract.ports:
        for side in ("d", "r"):
            lines.append("        " + _declared(port, side, values.get(port.name, ())))
    for side, name in (("d", f"::{design.contract.top}"), ("r", f"reference::{design.contract.top}")):
        arguments = ", ".join(f"{side}_{p.name}" for p in design.contract.ports)
        lines.append(f"        {name}({arguments});")
    lines += ["        " + _compared(port) for port in design.contract.ports if port.written]
    return "\n".join([*lines, "    }"])


def _declared(port: Port, side: str, values: Sequence[float]) -> str:
    name, ctype = f"{side}_{port.name}", port.ctype
    written = ", ".join(_literal(v) for v in values)
    if port.kind == "stream":
        fill = f" for (double x : {{{written}}}) {name}.write({ctype}(x));" if values else ""
        return f"hls::stream<{ctype} > {name};{fill}"
    if port.kind == "array":
        extents = "".join(f"[{n}]" for n in port.shape)
        first = f"(&{name}{'[0]' * len(port.shape)})"
        step = f"for (int i = 0; i < {port.elements}; i++) {first}[i] = {ctype}(all[i]);"
        fill = f" {{ double all[] = {{{written}}}; {step} }}"
        return f"static {ctype} {name}{extents};{fill if values else ''}"
    return f"{ctype} {name} = {ctype}({written or '0'});"


def _literal(value: float) -> str:
    whole = float(value).is_integer() and abs(value) < 1e15
    return f"{int(value)}." if whole else repr(float(value))


def _compared(port: Port) -> str:
    d, r, bound = f"d_{port.name}", f"r_{port.name}", f"{port.atol!r}, {port.rtol!r}"
    if port.kind == "stream":
        return (
            f"wrong += {d}.size() != {r}.size(); while (!{d}.empty() && !{r}.empty()) "
            f"wrong += differs(number({d}.read()), number({r}.read()), {bound}); "
            f"while (!{d}.empty()) {d}.read(); while (!{r}.empty()) {r}.read();"
        )
    if port.kind == "array":
        first = "[0]" * len(port.shape)
        pair = f"number((&{d}{first})[i]), number((&{r}{first})[i])"
        return f"for (int i = 0; i < {port.elements}; i++) wrong += differs({pair}, {bound});"
    return f"wrong += differs(number({d}), number({r}), {bound});"
