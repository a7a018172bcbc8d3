"""What the planning of every step needs: rooms, matrices in memory, instructions so far and what they wait for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dovetail.accel.compile import image
from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.allocate import MATRIX, VECTOR, Allocator, Hazards, Room
from dovetail.accel.compile.arrange import Places, arrange, padded
from dovetail.accel.compile.instruction import Instruction
from dovetail.accel.compile.maps import maps, of_map, of_window
from dovetail.accel.compile.memory_map import MemoryMap
from dovetail.accel.compile.shape import Shape
from dovetail.accel.golden import program as p
from dovetail.accel.golden.model import IntegerModel
from dovetail.core.errors import DovetailError


@dataclass(slots=True)
class Planned:
    """An instruction before its waits are known.

    Parameters
    ----------
    engine : str
    instruction : Instruction
    reads, writes : list of Room
    caches : list of str
        Steps whose keys and values must be in memory first.
    frees : list of Room
        What nothing reads after it.
    """

    engine: str
    instruction: Instruction
    reads: list[Room] = field(default_factory=list)
    writes: list[Room] = field(default_factory=list)
    caches: list[str] = field(default_factory=list)


class Planner:
    """A program while it is made: rooms of tensors in memories, matrices in the image, instructions so far."""

    def __init__(self, model: IntegerModel, shape: Shape, depths: dict[str, int]) -> None:
        self.model, self.shape = model, shape
        self.steps = {step.name: step for step in model.steps}
        self.maps = maps(model.steps)
        self.places = arrange(model.steps, shape.columns)
        self.places |= {name: of_map(each, shape.columns) for name, each in self.maps.items()}
        self.memory = MemoryMap(shape.word)
        self.rooms: dict[str, Room] = {}  # of tensors in the stream, in halves, of operands
        self.indices: dict[str, Room] = {}  # of exponents
        self.allocator = Allocator(depths)
        self.planned: list[Planned] = []
        self.uses = {step.name: 0 for step in model.steps}
        for step in model.steps:
            for name in step.inputs:
                self.uses[name] = self.uses.get(name, 0) + 1
        self.caches: dict[str, int] = {}
        self.angles: Room | None = None
        self.blocks: dict[str, tuple[int, int]] = {}  # by matrix its address and the words of a block
        self.norm_rooms: list[Room] = []
        self.constants = 0

    def fitted(self) -> Shape:
        """The shape with depths that hold what was allocated."""
        peak = self.allocator.peak
        block = max(words for _, words in self.blocks.values())
        line = max(len(self.places[step.name]) // self.shape.columns for step in self.model.steps[:-1])
        if 2 * block > self.shape.ring:
            self.shape = replace(self.shape, ring=1 << (2 * block - 1).bit_length())
        least = {name: getattr(self.shape, name) for name in ("operands", "stream", "halves", "constants")}
        return replace(
            self.shape,
            line=max(line, self.shape.line),
            **{name: max(peak.get(name, 1), size) for name, size in least.items()},
        )

    def gate(self) -> str:
        """The one gate with a table."""
        kinds = {step.kind for step in self.model.steps if isinstance(step, p.Activate)} - {"relu"}
        if len(kinds) > 1:
            raise DovetailError("two kinds of gates", where=self.model.name, why=", ".join(sorted(kinds)), hint="one")
        return next(iter(kinds), "silu")

    # -- places

    def words(self, name: str) -> int:
        """Words of a tensor of one token."""
        return len(self.places[name]) // self.shape.columns

    def room(self, name: str, memory: str) -> Room:
        """New room for a tile of a tensor."""
        self.rooms[name] = self.allocator.take(memory, self.shape.tile * self.words(name))
        return self.rooms[name]

    def release(self, name: str) -> None:
        """One reader fewer; the room is free after the last."""
        self.uses[name] -= 1
        if self.uses[name] == 0 and name in self.rooms and self.rooms[name].memory != "stream":
            self.allocator.give(self.rooms[name])
            if name in self.indices:
                self.allocator.give(self.indices[name])

    def sides(self, step: p.Lookup | p.Product | p.Convolve) -> tuple[Places, Places]:
        """Where the rows and the columns of a step's matrix stand."""
        if isinstance(step, p.Lookup):
            count = len(step.matrix.values)
            return padded(count, self.shape.columns), self.places[step.name]
        if isinstance(step, p.Convolve):
            return padded(self.maps[step.name].channels, self.shape.columns), of_window(step, self.shape.columns)
        return self.places[step.name], self.places[step.inputs[0]]

    def matrix(self, step: p.Lookup | p.Product | p.Convolve) -> tuple[int, int]:
        """Address of a step's matrix and words of its blocks."""
        outputs, inputs = self.sides(step)
        bias = None if isinstance(step, p.Lookup) else step.bias
        name = step.matrix.name if bias is None else f"{step.name} of {step.matrix.name}"
        if name not in self.blocks:
            if step.matrix.codes is not None:
                image.lane_groups(step.matrix, inputs)
            block = image.block_words(step.matrix, bias is not None, len(inputs), self.shape)
            region = self.memory.add(
                name, block * (len(outputs) // self.shape.columns),
                lambda: image.matrix_words(step.matrix, bias, outputs, inputs, self.shape),
            )  # fmt: skip
            self.blocks[name] = region.address, block
        return self.blocks[name]

    def finish(self) -> tuple[Instruction, ...]:
        """Waits, and the end."""
        hazards, numbers = Hazards(), {MATRIX: 0, VECTOR: 0}
        found = []
        stored: dict[str, int] = {}
        for each in self.planned:
            wait = hazards.wait(each.engine, each.reads, each.writes)
            number = numbers[each.engine]
            hazards.note(each.engine, number, each.reads, each.writes)
            numbers[each.engine] += 1
            fields = dict(each.instruction.fields)
            fields["wait_vector" if each.engine == MATRIX else "wait_matrix"] = wait
            if each.caches:
                fields["fetch_wait"] = max(stored[name] for name in each.caches)
            if each.engine == VECTOR:
                stored[each.instruction.makes] = numbers[VECTOR]
            found.append(replace(each.instruction, fields=fields))
        return (*found, Instruction(ins.END))
