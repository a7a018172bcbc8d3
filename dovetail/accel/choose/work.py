"""What each instruction of a pass does and when: products, bytes, its begin and end. For timelines and rooflines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.instruction import Instruction
from dovetail.accel.compile.schedule import Program
from dovetail.accel.compile.shape import Shape
from dovetail.accel.cycles.predict import Prediction, predict
from dovetail.accel.cycles.ring import Port
from dovetail.accel.cycles.vector import written_words
from dovetail.accel.deliver.listing import kind_of


@dataclass(frozen=True, slots=True)
class Work:
    """An instruction of a pass.

    Parameters
    ----------
    name, kind, engine : str
        What it makes; which instruction it is; ``matrix`` or ``vector``.
    begin, end : float
        Cycles of the pass between which its engine is at it.
    products : int
        Of operands and weights, padding included.
    bytes : int
        That it moves through the port.
    """

    name: str
    kind: str
    engine: str
    begin: float
    end: float
    products: int
    bytes: int


def works(program: Program, position: int, tokens: int, port: Port, *, chooses: bool) -> tuple[Prediction, list[Work]]:
    """A pass as the cycle model has it, instruction by instruction."""
    found = predict(program, position, tokens, port, chooses=chooses)
    return found, list(_works(program, found, position, tokens))


def _works(program: Program, found: Prediction, position: int, tokens: int) -> Iterator[Work]:
    ends = {"matrix": found.matrix, "vector": found.vector}
    done = {"matrix": 0, "vector": 0}
    for made in program.instructions:
        engine = "vector" if made.vector else "matrix"
        other = "matrix" if engine == "vector" else "vector"
        at, wait = done[engine], made.fields.get(f"wait_{other}", 0)
        if made.op == ins.END or at >= len(ends[engine]):
            continue
        begin = max(ends[engine][at - 1] if at else 0.0, ends[other][wait - 1] if wait else 0.0)
        products, words = _amount(made, program.shape, position, tokens)
        done[engine] += 1
        yield Work(made.makes, kind_of(made), engine, begin, ends[engine][at], products, words * program.shape.word)


def _amount(made: Instruction, shape: Shape, position: int, tokens: int) -> tuple[int, int]:
    """Products and words of an instruction."""
    get = made.fields.get
    if made.op == ins.PRODUCT:
        rows = 1 if get("single") else get("rows", tokens)
        return rows * made.fields["blocks"] * made.fields["steps"] * shape.word, made.fields["count"]
    if made.op == ins.ATTEND:
        return _attended(made, shape, position, tokens)
    if made.vector:
        return 0, written_words(made, shape, tokens)
    return 0, get("count", 0) * (tokens if get("mode", ins.RUN) else 1)


def _attended(made: Instruction, shape: Shape, position: int, tokens: int) -> tuple[int, int]:
    get = made.fields.__getitem__
    products = words = 0
    for first in range(0, tokens, get("tokens_at_once")):
        count = min(get("tokens_at_once"), tokens - first)
        seen = position + first + count
        scores = -(-seen // shape.columns) * get("steps")
        mix = get("steps") // shape.spread * -(-seen // shape.lanes)
        words += (scores + mix) * get("heads")
        products += (scores + mix) * shape.word * count * get("sharing") * get("heads")
    return products, words
