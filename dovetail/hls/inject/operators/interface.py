"""SMA, AMS, IDAP, RAMB: interface modes that do not suit the port or the way it is accessed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dovetail.hls.inject.mutant import Mutant, change, operator
from dovetail.hls.inject.syntax import Edit, Pragma, Source, text


def _interfaces(source: Source) -> Iterator[tuple[Pragma, str, str, str]]:
    """Interface pragmas of ports: the pragma, its port, its mode, and what the port is."""
    for pragma in source.pragmas:
        port = pragma.get("port")
        if pragma.directive == "interface" and port and port != "return":
            yield pragma, port, pragma.get("mode") or pragma.options[0][0], _kind(source, port, pragma.function)


def _kind(source: Source, port: str, function: str) -> str:
    for node in source.of("parameter_declaration"):
        declarator = node.child_by_field_name("declarator")
        if source.function_of(node) == function and re.search(rf"\b{re.escape(port)}\b", text(declarator)):
            if "stream" in text(node.child_by_field_name("type")):
                return "stream"
            if declarator.type in ("array_declarator", "pointer_declarator"):
                return "array"
            return "reference" if declarator.type == "reference_declarator" else "scalar"
    return ""


def _with(port: str, mode: str) -> str:
    bundle = " bundle=gmem9" if mode == "m_axi" else ""
    return f"#pragma HLS INTERFACE {mode} port={port}{bundle}\n"


@operator("interface-scalar-on-array")
def scalar_on_array(source: Source) -> Iterator[Mutant]:
    """``ap_none``, ``ap_vld``, ``ap_stable`` or ``ap_hs`` on an array."""
    for pragma, port, mode, kind in _interfaces(source):
        for new in ("ap_none", "ap_vld", "ap_stable", "ap_hs") if kind == "array" else ():
            yield change(
                "SMA",
                "interface-scalar-on-array",
                source,
                pragma.node,
                _with(port, new),
                f"{port}: {new} for {mode}",
                port,
            )


@operator("interface-array-on-scalar")
def array_on_scalar(source: Source) -> Iterator[Mutant]:
    """A memory or bus mode on a scalar that is passed by value, a memory mode on a reference."""
    for pragma, port, mode, kind in _interfaces(source):
        for new in {"scalar": ("ap_memory", "bram", "m_axi", "ap_fifo"), "reference": ("ap_memory", "bram")}.get(
            kind, ()
        ):
            yield change(
                "AMS",
                "interface-array-on-scalar",
                source,
                pragma.node,
                _with(port, new),
                f"{port}: {new} for {mode}",
                port,
            )


@operator("interface-sequential")
def sequential(source: Source) -> Iterator[Mutant]:
    """``ap_fifo`` or ``axis`` on an array that is not passed over once, in order."""
    for pragma, port, mode, kind in _interfaces(source):
        for new in ("ap_fifo", "axis") if kind == "array" and mode not in ("ap_fifo", "axis") else ():
            yield change(
                "IDAP", "interface-sequential", source, pragma.node, _with(port, new), f"{port}: {new} for {mode}", port
            )


@operator("interface-bus")
def bus(source: Source) -> Iterator[Mutant]:
    """``m_axi`` on an array that is accessed at random."""
    for pragma, port, mode, kind in _interfaces(source):
        if kind == "array" and mode in ("ap_memory", "bram"):
            yield change(
                "RAMB", "interface-bus", source, pragma.node, _with(port, "m_axi"), f"{port}: m_axi for {mode}", port
            )


@operator("loop-interchange")
def interchange(source: Source) -> Iterator[Mutant]:
    """Two perfectly nested loops around an access of an m_axi port change places: the burst becomes a stride."""
    ports = {port for _, port, mode, _ in _interfaces(source) if mode == "m_axi"}
    for outer in source.loops:
        inner = _only_loop(outer.body)
        match = next((loop for loop in source.loops if inner is not None and loop.node == inner), None)
        if match is None or match.trip in (None, 1) or outer.trip in (None, 1):
            continue
        used = {name for name in ports if re.search(rf"\b{re.escape(name)}\[", text(match.body))} or _reach(
            source, match, ports
        )
        for port in sorted(used):
            a, b = _header(outer.node), _header(match.node)
            edits = (Edit(*a, _cut(source, b)), Edit(*b, _cut(source, a)))
            yield Mutant("RAMB", "loop-interchange", edits, f"{port} is walked with a stride", source.line(a[0]), port)


def _reach(source: Source, loop: Any, ports: set[str]) -> set[str]:
    """Ports of the top function that a task's pointer parameter, accessed in this loop, stands for."""
    found = set()
    for call in source.of("call_expression"):
        if text(call.child_by_field_name("function")) != loop.function:
            continue
        arguments = [text(a) for a in call.child_by_field_name("arguments").named_children]
        parameters = [p for p in source.of("parameter_declaration") if source.function_of(p) == loop.function]
        for argument, parameter in zip(arguments, parameters):
            name = re.search(r"(\w+)(?:\[.*\])?$", text(parameter.child_by_field_name("declarator")))
            if argument in ports and name and re.search(rf"\b{name[1]}\[", text(loop.body)):
                found.add(argument)
    return found


def _only_loop(body: Any) -> Any:
    if body.type != "compound_statement":
        return None
    inside = [n for n in body.named_children if n.type not in ("preproc_call", "comment")]
    only = (
        inside[0].named_children[-1]
        if len(inside) == 1 and inside[0].type == "labeled_statement"
        else inside[0]
        if len(inside) == 1
        else None
    )
    return only if only is not None and only.type == "for_statement" else None


def _header(node: Any) -> tuple[int, int]:
    first, body = node.child_by_field_name("initializer"), node.child_by_field_name("body")
    return first.start_byte, max(
        c.start_byte for c in node.children if c.end_byte <= body.start_byte and text(c) == ")"
    )


def _cut(source: Source, span: tuple[int, int]) -> str:
    return source.source.encode()[span[0] : span[1]].decode()
