"""The memory map and the program as text."""

from __future__ import annotations

from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.schedule import Program

_NAMES = {
    ins.END: "end", ins.COPY: "copy", ins.LOOKUP: "lookup", ins.POSITIONS: "positions", ins.PRODUCT: "product",
    ins.ATTEND: "attend", ins.VECTOR: "vector", ins.MAP: "map",
}  # fmt: skip


def kind_of(made: ins.Instruction) -> str:
    """What an instruction is called."""
    return _NAMES[made.op]


def memory_map(program: Program) -> str:
    """Regions of memory, in words of the port."""
    word = program.shape.word
    lines = [f"# image: {program.memory.end} words of {word} bytes; first word, words, bytes, region"]
    lines += [f"{each.address:10d} {each.words:10d} {each.words * word:12d}  {each.name}"
              for each in program.memory.regions.values()]  # fmt: skip
    return "\n".join(lines) + "\n"


def listing(program: Program) -> str:
    """Instructions in their order: engine, what they make, their fields."""
    lines = []
    for number, made in enumerate(program.instructions):
        fields = " ".join(f"{name}={value}" for name, value in made.fields.items() if value)
        lines.append(f"{number:4d} {kind_of(made):9s} {made.makes}  {fields}".rstrip())
    return "\n".join(lines) + "\n"
