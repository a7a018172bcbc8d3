"""An integer model as a program of the overlay: instructions, their operands' places, and the image of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dovetail.accel.arithmetic.gate import RANGE_BITS
from dovetail.accel.compile import image
from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.allocate import MATRIX, VECTOR, Allocator, Hazards, Room
from dovetail.accel.compile.arrange import Places, arrange, place
from dovetail.accel.compile.instruction import Instruction
from dovetail.accel.compile.memory_map import MemoryMap
from dovetail.accel.compile.shape import Shape
from dovetail.accel.golden import program as p
from dovetail.accel.golden.model import IntegerModel
from dovetail.core.errors import INFEASIBLE, DovetailError

WIDTHS = {8: 0, 16: 1, 24: 2}


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
    """Compile a language model for an overlay.

    Parameters
    ----------
    model : IntegerModel
    shape : Shape
        Rows, columns, lanes, tile and ring as they should be; the other depths are found here.

    Raises
    ------
    DovetailError
        A step that the overlay does not have, or an array whose rows do not hold the heads that share keys.
    """
    shape = replace(shape, context=max(2 * shape.columns, 1 << (model.context - 1).bit_length()))
    first = _Scheduler(model, shape, {}).run()
    depths = {"halves": first.shape.halves, "operands": first.shape.operands}
    return _Scheduler(model, shape, depths).run()


def eagerly(steps: tuple[p.Step, ...]) -> list[p.Step]:
    """Steps of the vector unit as soon as what they read is there: they run beside the products that follow."""
    left, found, known = list(steps), [], {steps[0].inputs[0]}
    while left:
        ready = [step for step in left if known.issuperset(step.inputs)]
        step = next((each for each in ready if not isinstance(each, p.Product | p.Attend)), ready[0])
        left.remove(step)
        found.append(step)
        known.add(step.name)
    return found


class _Scheduler:
    def __init__(self, model: IntegerModel, shape: Shape, depths: dict[str, int]) -> None:
        self.model, self.shape = model, shape
        self.steps = {step.name: step for step in model.steps}
        self.places = arrange(model.steps, shape.columns)
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

    def run(self) -> Program:
        """Plan every step, then say what waits for what."""
        count = 2 * len(self.model.steps) + 8
        self.memory.add("program", count * self.shape.instruction_words)
        self.memory.add("tokens", -(-(self.shape.context + 1) // self.shape.columns))
        self.plan_angles()
        for step in eagerly(self.model.steps):
            self.plan(step)
        instructions = self.finish()
        words = b"".join(each.encode() for each in instructions)
        size = max(self.shape.word, 32)
        padded = b"".join(words[at : at + 32].ljust(size, b"\0") for at in range(0, len(words), 32))
        self.memory.contents["program"] = lambda: np.frombuffer(padded, np.uint8).reshape(-1, self.shape.word)
        return Program(self.fitted(), instructions, self.memory, self.gate(), self.places)

    def fitted(self) -> Shape:
        """The shape with depths that hold what was allocated."""
        peak = self.allocator.peak
        block = max(words for _, words in self.blocks.values())
        line = max(len(self.places[step.name]) // self.shape.columns for step in self.model.steps[:-1])
        if 2 * block > self.shape.ring:
            self.shape = replace(self.shape, ring=1 << (2 * block - 1).bit_length())
        least = {name: getattr(self.shape, name) for name in ("operands", "stream", "halves", "constants")}
        return replace(
            self.shape, line=max(line, self.shape.line), **{name: max(peak[name], size) for name, size in least.items()}
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

    # -- steps

    def plan(self, step: p.Step) -> None:
        """Steps of the vector unit are gathered into one instruction by the step that ends them."""
        made = _PLAN.get(type(step))
        if made is not None:
            made(self, step)
        elif not isinstance(step, p.Normalise | p.Rotate | p.Activate | p.Multiply):
            why = f"{type(step).__name__} has no unit"
            raise DovetailError(
                "the overlay does not have this step", where=step.name, why=why, hint="a language model"
            )

    def plan_angles(self) -> None:
        turns = [step for step in self.model.steps if isinstance(step, p.Rotate)]
        if not turns:
            return
        first = turns[0]
        if any(
            not (np.array_equal(first.cosine, each.cosine) and np.array_equal(first.sine, each.sine)) for each in turns
        ):
            raise DovetailError("layers with different angles", where=turns[-1].name, hint="one rotary table")
        size = len(self.places[first.name]) // first.heads
        each = size // self.shape.columns
        region = self.memory.add(
            "rotary", len(first.cosine) * each,
            lambda: image.angle_words(first.cosine, first.sine, self.places[first.name][:size], self.shape),
        )  # fmt: skip
        self.angles = self.allocator.take("constants", each * self.shape.tile)
        self.planned.append(Planned(
            MATRIX, Instruction(ins.COPY, {
                "mode": ins.BY_POSITION, "addr": region.address, "count": each, "to": self.angles.begin,
            }, "rotary"), [], [self.angles],
        ))  # fmt: skip

    def matrix(self, step: p.Lookup | p.Product) -> tuple[int, int]:
        """Address of a step's matrix and words of its blocks."""
        outputs, inputs = (
            (self.vocabulary(step), self.places[step.name]) if isinstance(step, p.Lookup)
            else (self.places[step.name], self.places[step.inputs[0]])
        )  # fmt: skip
        bias = step.bias if isinstance(step, p.Product) else None
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

    def vocabulary(self, step: p.Lookup) -> Places:
        """Rows of the embedding in whole words."""
        count = len(step.matrix.values)
        return np.concatenate([np.arange(count), np.full(-count % self.shape.columns, -1)])

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


def _lookup(self: _Scheduler, step: p.Lookup) -> None:
    address, block = self.matrix(step)
    room = self.room(step.name, "stream")
    fields = {
        "mode": ins.BY_TOKEN, "addr": address, "count": block, "to": room.begin,
        "steps": len(self.places[step.name]) // self.shape.lanes, "offset": -step.form.fraction,
    }  # fmt: skip
    self.planned.append(Planned(MATRIX, Instruction(ins.LOOKUP, fields, step.name), [], [room]))


def _positions(self: _Scheduler, step: p.AddPositions) -> None:
    region = self.memory.add(
        f"{step.name}.table", len(step.table) * self.words(step.name),
        lambda: image.slices(place(step.table, self.places[step.name]), self.shape),
    )  # fmt: skip
    room = self.rooms[step.name] = self.rooms[step.inputs[0]]
    fields = {
        "mode": ins.BY_POSITION, "addr": region.address, "count": self.words(step.name), "to": room.begin,
        "add": 1,
    }  # fmt: skip
    self.planned.append(Planned(MATRIX, Instruction(ins.POSITIONS, fields, step.name), [room], [room]))


def _product(self: _Scheduler, step: p.Product) -> None:
    address, block = self.matrix(step)
    source, logits = step.inputs[0], step is self.model.steps[-1]
    reads, writes = [self.rooms[source], self.indices[source]], []
    fields = {
        "addr": address, "count": block * self.words(step.name), "blocks": self.words(step.name),
        "steps": len(self.places[source]) // self.shape.lanes, "nibbles": int(step.matrix.codes is not None),
        "group": {0: 0, 32: 0, 64: 1, 128: 2}[step.matrix.group], "bias": int(step.bias is not None),
        "bits": WIDTHS[step.form.bits], "offset": step.offset, "operand": self.rooms[source].begin,
        "exponent": self.indices[source].begin, "stride": self.words(step.name),
    }  # fmt: skip
    if logits:
        fields |= {"dest": ins.TO_LOGITS, "single": 1, "head": 1, "limit": step.channels}
    elif step.form.bits == 24:
        if len(step.inputs) > 1:
            room = self.rooms[step.name] = self.rooms[step.inputs[1]]
            fields |= {"add": 1}
            reads.append(room)
        else:
            room = self.room(step.name, "stream")
        writes.append(room)
        fields |= {"dest": ins.TO_STREAM, "to": room.begin}
    else:
        writes.append(self.room(step.name, "halves"))
        fields |= {"dest": ins.TO_HALVES, "to": writes[-1].begin}
    self.planned.append(Planned(MATRIX, Instruction(ins.PRODUCT, fields, step.name), reads, writes))
    self.release(source)
    for attend in (each for each in self.model.steps if isinstance(each, p.Attend) and each.inputs[2] == step.name):
        _store(self, attend, step.name, ins.VALUES)


def _quantise(self: _Scheduler, step: p.Quantise) -> None:
    user = next(each for each in self.model.steps if step.name in each.inputs)
    operands = self.words(step.name)
    if isinstance(user, p.Attend):
        at_once = _at_once(self, user)
        groups = -(-self.shape.tile // at_once)
        size, indices = groups * user.kv_heads * (operands // user.heads), groups * user.kv_heads
        fields = {
            "sink": ins.HEAD_ROWS, "sharing": user.heads // user.kv_heads, "tokens_at_once": at_once,
            "head_words": operands // user.heads,
        }  # fmt: skip
    else:
        groups = -(-self.shape.tile // self.shape.rows)
        size, indices = groups * operands, groups
        fields = {"sink": ins.TOKEN_ROWS, "head_words": operands // step.heads}
        if user is self.model.steps[-1]:
            fields |= {"single": 1, "head": 1}
    self.rooms[step.name] = self.allocator.take("operands", size)
    self.indices[step.name] = self.allocator.take("exponents", indices)
    fields |= {"operand": self.rooms[step.name].begin, "exponent": self.indices[step.name].begin}
    _vector(self, step, step.inputs[0], fields, [self.rooms[step.name], self.indices[step.name]])


def _narrow(self: _Scheduler, step: p.Narrow) -> None:
    attend = next(each for each in self.model.steps if isinstance(each, p.Attend) and each.inputs[1] == step.name)
    _store(self, attend, step.inputs[0], ins.KEYS, step.name)


def _store(self: _Scheduler, attend: p.Attend, source: str, sink: int, name: str = "") -> None:
    """A vector to the cache."""
    name = name or source
    words = self.words(source) // attend.kv_heads
    each = self.shape.context // self.shape.columns * words * self.shape.spread
    region = self.memory.add(f"{attend.name}.{'keys' if sink == ins.KEYS else 'values'}", each * attend.kv_heads)
    self.caches[name] = region.address
    fields = {
        "sink": sink, "head_words": words, "cache": region.address, "cache_stride": each,
        "channel_stride": self.shape.context // self.shape.lanes,
    }  # fmt: skip
    _vector(self, self.steps[name], source, fields, [])
    if sink == ins.VALUES:
        self.planned[-1].instruction = replace(self.planned[-1].instruction, makes=name)


def _vector(self: _Scheduler, step: p.Step, name: str, fields: dict[str, int], writes: list[Room]) -> None:
    """The steps before a tensor is quantised, back to where it stands in a memory, as one instruction."""
    reads: list[Room] = []
    used = [name]
    fields = {"parts": 1, "words": self.words(name), **fields}
    while name not in self.rooms:
        made = self.steps[name]
        if isinstance(made, p.Rotate):
            if self.angles is None:
                raise DovetailError(
                    "a rotation without angles", where=made.name, why="the program has no table of them"
                )
            fields |= {"rotate": 1, "angles": self.angles.begin}
            reads.append(self.angles)
        elif isinstance(made, p.Activate):
            fields |= {"gate": 2} if made.kind == "relu" else {
                "gate": 1, "gate_shift": made.form.fraction + RANGE_BITS[made.kind],
            }  # fmt: skip
        elif isinstance(made, p.Multiply):
            first, second = made.inputs if made.inputs[1] in self.rooms else made.inputs[::-1]
            fields |= {"multiply": 1, "multiply_shift": made.shift, "second": self.rooms[second].begin}
            reads.append(self.rooms[second])
            used.append(second)
            name = first
            used.append(name)
            continue
        elif isinstance(made, p.Normalise):
            room = _constants(self, made)
            reads.append(room)
            fields |= {
                "norm": 1, "mean": int(made.norm.mean is not None), "bias": int(made.norm.bias is not None),
                "constants": room.begin, "parts": made.heads, "words": self.words(made.name) // made.heads,
            }  # fmt: skip
        name = made.inputs[0]
        used.append(name)
    fields |= {
        "source": self.rooms[name].begin, "stride": self.words(name),
        "from_stream": int(self.rooms[name].memory == "stream"),
    }  # fmt: skip
    reads.append(self.rooms[name])
    self.planned.append(Planned(VECTOR, Instruction(ins.VECTOR, fields, step.name), reads, writes))
    for each in used:
        self.release(each)


def _constants(self: _Scheduler, step: p.Normalise) -> Room:
    """Bring a norm's constants, beside the last product before it, to one of two places."""
    places = self.places[step.name][: len(self.places[step.name]) // step.heads]
    count = 1 + (1 + (step.norm.bias is not None)) * len(places) // self.shape.columns
    region = self.memory.add(f"{step.name}.constants", count, lambda: image.norm_words(step, places, self.shape))
    most = 1 + 2 * max(self.words(each.name) for each in self.model.steps if isinstance(each, p.Normalise))
    if not self.norm_rooms:
        self.norm_rooms += [self.allocator.take("constants", most) for _ in range(4)]
    room = self.norm_rooms[self.constants % 4]
    self.constants += 1
    fields = {"addr": region.address, "count": count, "to": room.begin}
    last = [at for at, each in enumerate(self.planned) if each.instruction.op == ins.PRODUCT]
    self.planned.insert(
        last[-1] if last else 0, Planned(MATRIX, Instruction(ins.COPY, fields, f"{step.name}.constants"), [], [room])
    )
    return room


def _attend(self: _Scheduler, step: p.Attend) -> None:
    query, key, value = step.inputs
    room = self.room(step.name, "halves")
    each = self.words(query) // step.heads
    words = self.shape.context // self.shape.columns * each * self.shape.spread
    fields = {
        "mode": ins.BY_HEAD, "addr": self.caches[key], "values": self.caches[value], "count": words,
        "channel_stride": self.shape.context // self.shape.lanes, "heads": step.kv_heads,
        "sharing": step.heads // step.kv_heads, "steps": each * self.shape.spread, "operand": self.rooms[query].begin,
        "exponent": self.indices[query].begin, "mantissa": step.mantissa, "shift": step.shift, "to": room.begin,
        "stride": self.words(step.name), "tokens_at_once": _at_once(self, step),
    }  # fmt: skip
    reads = [self.rooms[query], self.indices[query]]
    self.planned.append(Planned(MATRIX, Instruction(ins.ATTEND, fields, step.name), reads, [room], [key, value]))
    for name in step.inputs:
        self.release(name)


def _at_once(self: _Scheduler, step: p.Attend) -> int:
    sharing = step.heads // step.kv_heads
    if sharing > self.shape.rows:
        why = f"{sharing} heads share keys, the array has {self.shape.rows} rows"
        raise DovetailError("attention does not fit", where=step.name, why=why, hint="more rows", exit_code=INFEASIBLE)
    return self.shape.rows // sharing


_PLAN: dict[type, Callable[[_Scheduler, Any], None]] = {
    p.Lookup: _lookup, p.AddPositions: _positions, p.Product: _product, p.Quantise: _quantise, p.Narrow: _narrow,
    p.Attend: _attend,
}  # fmt: skip
