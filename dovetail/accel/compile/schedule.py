"""An integer model as a program of the overlay: instructions, their operands' places, and the image of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dovetail.accel.compile import image, matrix_steps, vector_steps
from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.allocate import MATRIX
from dovetail.accel.compile.arrange import Places
from dovetail.accel.compile.instruction import Instruction
from dovetail.accel.compile.memory_map import MemoryMap
from dovetail.accel.compile.planner import Planned, Planner
from dovetail.accel.compile.shape import INSTRUCTION_BITS, Shape
from dovetail.accel.golden import program as p
from dovetail.accel.golden.model import IntegerModel
from dovetail.core.errors import DovetailError


@dataclass(frozen=True, slots=True)
class Program:
    """What the overlay runs.

    Parameters
    ----------
    shape : Shape
        With the depths that the program needs.
    instructions : tuple of Instruction
    memory : MemoryMap
    gate : str
        Whose table the vector unit needs.
    places : dict of str to Places
        Of each tensor's channels.
    """

    shape: Shape
    instructions: tuple[Instruction, ...]
    memory: MemoryMap
    gate: str
    places: dict[str, Places]


def schedule(model: IntegerModel, shape: Shape) -> Program:
    """Compile a model for an overlay.

    Parameters
    ----------
    model : IntegerModel
    shape : Shape
        Rows, columns, lanes, tile and ring as they should be; the other depths are found here. For a model without
        tokens `context` is how many inputs memory holds, and each pass takes one.

    Raises
    ------
    DovetailError
        A step that the overlay does not have, or an array whose rows do not hold the heads that share keys.
    """
    least = 2 * shape.columns
    if model.vocabulary:
        shape = replace(shape, context=max(least, 1 << (model.context - 1).bit_length()))
    else:
        mapped = any(isinstance(step, p.Convolve | p.Pool) for step in model.steps)
        shape = replace(shape, tile=1, context=max(least, shape.context), maps=mapped)
    first = _planned(model, shape, {})
    depths = {"halves": first.shape.halves, "operands": first.shape.operands}
    return _planned(model, shape, depths)


def eagerly(steps: tuple[p.Step, ...]) -> list[p.Step]:
    """Steps of the vector unit as soon as what they read is there: they run beside the products that follow."""
    left, found, known = list(steps), [], {steps[0].inputs[0]}
    while left:
        ready = [step for step in left if known.issuperset(step.inputs)]
        step = next((each for each in ready if not isinstance(each, p.Product | p.Attend | p.Convolve)), ready[0])
        left.remove(step)
        found.append(step)
        known.add(step.name)
    return found


def _planned(model: IntegerModel, shape: Shape, depths: dict[str, int]) -> Program:
    """Plan every step, then say what waits for what."""
    planner = Planner(model, shape, depths)
    count = 2 * len(model.steps) + 8
    planner.memory.add("program", count * shape.instruction_words)
    planner.memory.add("tokens", -(-(shape.context + 1) // shape.columns))
    _angles(planner)
    if not model.vocabulary:
        _check_result(model)
        matrix_steps.load(planner)
    for step in eagerly(model.steps):
        _plan(planner, step)
    instructions = planner.finish()
    words = b"".join(each.encode() for each in instructions)
    size = max(shape.word, INSTRUCTION_BITS // 8)
    padded = b"".join(words[at : at + 32].ljust(size, b"\0") for at in range(0, len(words), 32))
    planner.memory.contents["program"] = lambda: np.frombuffer(padded, np.uint8).reshape(-1, shape.word)
    return Program(planner.fitted(), instructions, planner.memory, planner.gate(), planner.places)


def _check_result(model: IntegerModel) -> None:
    if not isinstance(model.steps[-1], p.Product):
        why = "the overlay chooses the largest of a linear layer's results"
        raise DovetailError("the last step is not a linear layer", where=model.steps[-1].name, why=why,
                            hint="a classifier")  # fmt: skip


def _plan(planner: Planner, step: p.Step) -> None:
    """Steps of the vector unit are gathered into one instruction by the step that ends them."""
    made = _PLAN.get(type(step))
    if made is not None:
        made(planner, step)
    elif not isinstance(step, vector_steps.ORDER):
        raise DovetailError("the overlay does not have this step", where=step.name, why=f"{type(step).__name__}")


def _angles(planner: Planner) -> None:
    """The rotary angles of the pass's positions, before anything else."""
    turns = [step for step in planner.model.steps if isinstance(step, p.Rotate)]
    if not turns:
        return
    first, shape = turns[0], planner.shape
    if any(not (np.array_equal(first.cosine, each.cosine) and np.array_equal(first.sine, each.sine)) for each in turns):
        raise DovetailError("layers with different angles", where=turns[-1].name, hint="one rotary table")
    places = planner.places[first.name][: len(planner.places[first.name]) // first.heads]
    each = len(places) // shape.columns
    region = planner.memory.add(
        "rotary", len(first.cosine) * each, lambda: image.angle_words(first.cosine, first.sine, places, shape)
    )
    planner.angles = planner.allocator.take("constants", each * shape.tile)
    fields = {"mode": ins.BY_POSITION, "addr": region.address, "count": each, "to": planner.angles.begin}
    planner.planned.append(Planned(MATRIX, Instruction(ins.COPY, fields, "rotary"), [], [planner.angles]))


_PLAN: dict[type, Callable[[Planner, Any], None]] = {
    p.Lookup: matrix_steps.lookup, p.AddPositions: matrix_steps.positions, p.Product: matrix_steps.product,
    p.Convolve: matrix_steps.convolve, p.Attend: matrix_steps.attend, p.Quantise: vector_steps.quantise,
    p.Narrow: vector_steps.narrow,
}  # fmt: skip
