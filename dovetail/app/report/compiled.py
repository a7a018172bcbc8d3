"""The figures of an accelerator: what it is made of, what it is at when, its roof, and predicted beside simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dovetail.app.report.data import (
    Bar,
    Block,
    Blocks,
    Measured,
    MeasuredRow,
    Roof,
    Roofline,
    RooflinePoint,
    Section,
    Table,
    Timeline,
)
from dovetail.app.report.scales import say
from dovetail.core.units import show

Found = Mapping[str, Any]
MOST_PASSES = 40


def sections(found: Found) -> Iterator[Section]:
    """In the order of the report."""
    yield blocks(found)
    for name in found["passes"]:
        yield timeline(found, name)
        yield roofline(found, name)
    if found["simulation"]:
        yield passes(found)
    yield _resources(found)
    yield _buffers(found)


def summary(found: Found) -> str:
    """The answer in a sentence."""
    bits = found["bits_different"]
    speed = (
        show(found["tokens_per_s"]["value"], "tok/s")
        if "tokens_per_s" in found
        else (f"{found['inputs_per_s']['value']:,.0f} inputs/s")
    )
    right = "not simulated" if bits is None else f"{bits:,} bits differ from the integer model in simulation"
    return f"{found['model']} in {found['recipe']} on {found['target']}: {speed} predicted; {right}."


def blocks(found: Found) -> Blocks:
    """The overlay."""
    array, memory, buffers = found["array"], found["memory"], {each["name"]: each for each in found["buffers"]}

    def room(name: str) -> str:
        each = buffers[name]
        return f"{each['count']} x {each['words']} words of {each['bits']} bits"

    def size_of(name: str) -> str:
        each = buffers[name]
        return show(each["count"] * each["words"] * each["bits"] / 8, "byte")

    size = f"{array['rows']} x {array['columns']} x {array['lanes']}"
    rate = show(memory["bytes"] / memory["cycles"] * found["clock"]["value"], "byte/s")
    parts = (
        ("main memory", f"{show(memory['image'], 'byte')}, {rate}", 0, 1), ("dispatch", "instructions in order", 1, 0),
        ("weight stream", room("weight ring"), 1, 1), ("array", f"{size} int8 products", 2, 1),
        ("softmax", room("scores"), 3, 0), ("requantise", f"{array['columns']} lanes", 3, 1),
        ("argmax", f"{array['columns']} logits a cycle", 3, 2), ("operands", room("operands"), 2, 2),
        ("vector unit", f"{array['columns']} lanes: norm, rotary, gate", 1, 2), ("constants", room("constants"), 0, 3),
        ("vectors", f"residual stream {size_of('residual stream')}, halves {size_of('halves')}", 2, 3),
    )  # fmt: skip
    flows = (
        ("main memory", "dispatch"), ("main memory", "weight stream"), ("weight stream", "array"),
        ("operands", "array"), ("array", "requantise"), ("requantise", "softmax"), ("softmax", "array"),
        ("requantise", "argmax"), ("requantise", "vectors"), ("vectors", "vector unit"), ("constants", "vector unit"),
        ("vector unit", "operands"), ("vector unit", "main memory"), ("main memory", "constants"),
    )  # fmt: skip
    says = f"{size} products a cycle behind one port of {memory['word']} bytes; keys and values go back to memory."
    return Blocks("The overlay", [Block(*part) for part in parts], flows, says)


def timeline(found: Found, name: str) -> Timeline:
    """A pass, engine by engine."""
    each = found["passes"][name]
    bars = [
        Bar(label(w["name"], True) or w["kind"], w["engine"], w["kind"], w["begin"], w["end"]) for w in each["work"]
    ]
    tokens = ": one token" if each["tokens"] == 1 else f": {each['tokens']} tokens of a prompt"
    note = "By the cycle model. A bar begins when what it waits for is done and its engine is free."
    return Timeline(f"Timeline, {name}{'' if name == 'input' else tokens}", "cycles", bars, note)


def roofline(found: Found, name: str) -> Roofline:
    """The instructions that multiply, by the tensors' kind."""
    each, clock, memory = found["passes"][name], found["clock"]["value"], found["memory"]
    peak = 2 * found["array"]["macs"] * clock
    band = min(memory["bytes"] / memory["cycles"], memory["word"]) * clock
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for work in each["work"]:
        if work["products"] and work["bytes"]:
            groups.setdefault(label(work["name"], False) or work["kind"], []).append(work)
    points = [_point(each_name, works, peak, band, clock, each["cycles"]) for each_name, works in groups.items()]
    note = "Products count with their padding; a decode pass fills one of the array's rows, which is its lower roof."
    return Roofline(f"Roofline, {name}", Roof(found["target"], {"int8": peak}, {"memory": band}), points, note)


def label(name: str, layer: bool) -> str:
    """A tensor's name without the modules around it, after its layer's number where asked: ``3 q_proj``."""
    parts = name.split(".")
    at = next((index for index, part in enumerate(parts) if part.isdigit()), -1)
    rest = parts[at + 1 :]
    rest = rest[1:] if len(rest) > 1 and not rest[1].isdigit() else rest
    return f"{parts[at]} {'.'.join(rest)}" if layer and at >= 0 else ".".join(rest)


def _point(
    name: str, works: list[Mapping[str, Any]], peak: float, band: float, clock: float, cycles: float
) -> RooflinePoint:
    products, size = sum(w["products"] for w in works), sum(w["bytes"] for w in works)
    took = sum(w["end"] - w["begin"] for w in works)
    bound = "memory" if size / band > 2 * products / peak else "compute"
    return RooflinePoint(name, 2 * products / size, 2 * products / took * clock, bound, min(1.0, took / cycles))


def passes(found: Found) -> Measured:
    """Cycles of each simulated pass, predicted beside simulated."""
    of = "tokens" if "tokens_per_s" in found else "input"
    rows = [
        MeasuredRow(f"{each['tokens']} {of} at {each['position']}", "cycles", each["predicted"], each["predicted"],
                    each["predicted"], each["simulated"], "")
        for each in found["simulation"]["passes"][:MOST_PASSES]
    ]  # fmt: skip
    return Measured("Cycles predicted beside simulated", rows, goal=0.02)


def _resources(found: Found) -> Table:
    rows = [
        (kind, found["resources_units"][kind], f"{count:,}", f"{found['limits'][kind]:,}",
         say(count / found["limits"][kind], "%"), f"{found['resources_modelled'][kind]:,}")
        for kind, count in found["resources"].items()
    ]  # fmt: skip
    note = f"{found['resources_source']}. {found['resources_why']}".strip()
    return Table("Resources", ("", "unit", "taken", "there are", "share", "modelled"), rows, (2, 3, 4, 5), note)


def _buffers(found: Found) -> Table:
    rows = [
        (each["name"], f"{each['count']}", f"{each['words']:,}", f"{each['bits']:,}",
         show(each["count"] * each["words"] * each["bits"] / 8, "byte"))
        for each in found["buffers"]
    ]  # fmt: skip
    return Table("Memories on the chip", ("memory", "count", "words", "bits", "in all"), rows, (1, 2, 3, 4))
