"""What `compile` tells of any accelerator: its design, what it takes, its times, how its simulation compares."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError
from dovetail.core.quantity import exact
from dovetail.hardware.target import UNITS, Target
from dovetail.hardware.templates.overlay import Overlay

if TYPE_CHECKING:
    from dovetail.accel.choose.budget import Budget
    from dovetail.accel.choose.candidates import Candidate
    from dovetail.accel.choose.simulated import Simulated

Report = Callable[[str], None]


def limits(budget: Budget) -> dict[str, Any]:
    """A budget as answers tell it."""
    return {**budget.limits, "bandwidth": budget.bandwidth, "clock": budget.clock_hz}


def machine(chosen: Candidate, target: Target, budget: Budget) -> Overlay:
    """The design as a machine."""
    from dovetail.accel.resources.memories import bytes_on_chip

    shape = chosen.program.shape
    return Overlay(
        f"overlay-{target.name}", target.kind, shape.rows, shape.columns, shape.lanes, bytes_on_chip(shape),
        budget.clock_hz, budget.bandwidth, target.capacity, target.memory, target.tdp_w,
    )  # fmt: skip


def design(
    chosen: Candidate, target: Target, clock_hz: float, synthesis: bool, part: Path, report: Report
) -> dict[str, Any]:
    """The array, its memories, what they take."""
    from dovetail.accel.resources.memories import buffers

    shape, counted, why = chosen.program.shape, chosen.resources, ""
    if synthesis:
        counted, why = _synthesised(chosen, target, part, report)
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in part.glob("rtl/*.v"))
    return {
        "array": {name: getattr(shape, name) for name in ("rows", "columns", "lanes", "tile", "macs")},
        "clock": exact(clock_hz, "Hz", "modelled", target.sources["clock"].text).to_json(),
        "memory": {"latency": chosen.memory.latency, "bytes": chosen.memory.bytes, "cycles": chosen.memory.cycles,
                   "word": shape.word, "image": chosen.program.memory.end * shape.word},
        "resources": counted.to_json(), "resources_source": counted.source, "resources_why": why,
        "resources_modelled": chosen.resources.to_json(),
        "resources_units": UNITS[target.family], "limits": dict(target.resources), "verilog_lines": lines,
        "buffers": [_fields(each) for each in buffers(shape)],
    }  # fmt: skip


def _fields(row: Any) -> dict[str, Any]:
    """A small dataclass as JSON."""
    return {each.name: getattr(row, each.name) for each in fields(row)}


def _synthesised(chosen: Candidate, target: Target, part: Path, report: Report) -> tuple[Any, str]:
    """Counts by Yosys, or the model's and why."""
    from dovetail.accel.resources.yosys import SYNTHESIS, synthesise, yosys

    if target.family in SYNTHESIS and yosys() is not None:
        report("counting resources with Yosys (--no-synthesis leaves it out)")
    try:
        return synthesise(part, target.family), ""
    except DovetailError as error:
        return chosen.resources, str(error)


def times(chosen: Candidate, clock_hz: float, context: int) -> dict[str, Any]:
    """What the cycle model says of a token, of a prompt, of every instruction."""
    program, half = chosen.program, max(1, context // 2)
    source = f"cycle model, token {half} of {context}"
    decode, prefill = chosen.decode_cycles(half), chosen.prefill_cycles(half)
    return {
        "tokens_per_s": exact(clock_hz / decode, "tok/s", "modelled", source).to_json(),
        "tpot": exact(decode / clock_hz, "s", "modelled", source).to_json(),
        "ttft": exact(prefill / clock_hz, "s", "modelled", f"cycle model, {half} tokens").to_json(),
        **passes(chosen, {"decode": (half, 1), "prefill": (0, min(program.shape.tile, context))}),
    }  # fmt: skip


def passes(chosen: Candidate, wanted: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Passes by name, each of a position and its tokens, instruction by instruction; what the first waits for."""
    from dovetail.accel.choose.port import port_of
    from dovetail.accel.choose.work import works

    shape = chosen.program.shape
    port = port_of(chosen.memory, shape.word)
    found = {name: works(chosen.program, *each, port, chooses=True) for name, each in wanted.items()}
    return {
        "passes": {
            name: {"cycles": made.cycles, "words": made.words, "tokens": wanted[name][1],
                   "work": [_fields(work) for work in each]}
            for name, (made, each) in found.items()
        },
        "bottleneck": _bottleneck(next(iter(found.values())), shape.macs, port.interval,
                                  "token" if "decode" in wanted else "input"),
    }  # fmt: skip


def simulation(found: Simulated, prompt: int) -> dict[str, Any]:
    """A simulation as JSON."""
    predicted, cycles = found.cycles_per_token
    return {
        "cycles_per_token": {"predicted": predicted, "simulated": cycles},
        "bits_different": found.comparison.bits_different,
        "simulation": {
            "tokens": list(found.tokens), "prompt": prompt, "passes": found.passes, "bits": found.comparison.bits,
            "tensors": found.comparison.tensors, "first_difference": found.first_difference,
            "seconds": found.seconds, "build_seconds": found.build_seconds,
        },
    }  # fmt: skip


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """A result and its CPU seconds."""
    begin = time.process_time()
    return work(), time.process_time() - begin


def cpu_seconds(each: Mapping[str, float]) -> dict[str, Any]:
    """Of the stages of a run, as quantities."""
    return {name: exact(value, "s", "measured", "this run, CPU").to_json() for name, value in each.items()}


def _bottleneck(each: tuple[Any, list[Any]], macs: int, interval: float, of: str) -> str:
    """What a token (an input) waits for."""
    found, works = each
    moved = found.words * interval / found.cycles
    used = sum(work.products for work in works) / macs / found.cycles  # a token alone uses one row of the array
    slowest = max(works, key=lambda work: work.end - work.begin)
    share = (slowest.end - slowest.begin) / found.cycles
    whose = "a token's" if of == "token" else "an input's"
    what = f"{'memory' if moved > 0.5 else 'the engines'}: the port is busy {moved:.0%} of {whose} time"
    return f"{what}, {used:.0%} of the array's products are used; the longest step is {slowest.name}, {share:.0%}"
