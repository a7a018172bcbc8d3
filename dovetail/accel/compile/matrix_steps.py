"""Steps of the matrix engine as instructions."""

from __future__ import annotations

from dovetail.accel.compile import image
from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.allocate import MATRIX
from dovetail.accel.compile.arrange import place
from dovetail.accel.compile.instruction import Instruction
from dovetail.accel.compile.planner import Planned, Planner
from dovetail.accel.compile.vector_steps import at_once, store
from dovetail.accel.golden import program as p

WIDTHS = {8: 0, 16: 1, 24: 2}
INPUTS = "inputs"  # the region of memory for what a model without tokens reads


def load(self: Planner) -> None:
    """The vector of numbers that a model without tokens reads: one for each pass, all in memory before the first."""
    source = self.model.source
    self.memory.add(INPUTS, self.shape.context * self.words(source))
    room = self.room(source, "stream")
    fields = {
        "mode": ins.BY_POSITION, "addr": self.memory.regions[INPUTS].address, "count": self.words(source),
        "to": room.begin,
    }  # fmt: skip
    self.planned.append(Planned(MATRIX, Instruction(ins.POSITIONS, fields, source), [], [room]))


def lookup(self: Planner, step: p.Lookup) -> None:
    address, block = self.matrix(step)
    room = self.room(step.name, "stream")
    fields = {
        "mode": ins.BY_TOKEN, "addr": address, "count": block, "to": room.begin,
        "steps": len(self.places[step.name]) // self.shape.lanes, "offset": -step.form.fraction,
    }  # fmt: skip
    self.planned.append(Planned(MATRIX, Instruction(ins.LOOKUP, fields, step.name), [], [room]))


def positions(self: Planner, step: p.AddPositions) -> None:
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


def product(self: Planner, step: p.Product) -> None:
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
        store(self, attend, step.name, ins.VALUES)


def convolve(self: Planner, step: p.Convolve) -> None:
    """A product whose rows are the places of its result."""
    address, block = self.matrix(step)
    source, result = step.inputs[0], self.maps[step.name]
    rows, columns = self.sides(step)
    words = len(rows) // self.shape.columns
    room = self.room(step.name, "halves")
    fields = {
        "addr": address, "count": block * words, "blocks": words, "steps": len(columns) // self.shape.lanes,
        "bias": int(step.bias is not None), "bits": WIDTHS[step.form.bits], "offset": step.offset,
        "operand": self.rooms[source].begin, "exponent": self.indices[source].begin, "to": room.begin, "stride": words,
        "dest": ins.TO_HALVES, "rows": result.places,
    }  # fmt: skip
    reads = [self.rooms[source], self.indices[source]]
    self.planned.append(Planned(MATRIX, Instruction(ins.PRODUCT, fields, step.name), reads, [room]))
    self.release(source)


def attend(self: Planner, step: p.Attend) -> None:
    query, key, value = step.inputs
    room = self.room(step.name, "halves")
    each = self.words(query) // step.heads
    words = self.shape.context // self.shape.columns * each * self.shape.spread
    fields = {
        "mode": ins.BY_HEAD, "addr": self.caches[key], "values": self.caches[value], "count": words,
        "channel_stride": self.shape.context // self.shape.lanes, "heads": step.kv_heads,
        "sharing": step.heads // step.kv_heads, "steps": each * self.shape.spread, "operand": self.rooms[query].begin,
        "exponent": self.indices[query].begin, "mantissa": step.mantissa, "shift": step.shift, "to": room.begin,
        "stride": self.words(step.name), "tokens_at_once": at_once(self, step),
    }  # fmt: skip
    reads = [self.rooms[query], self.indices[query]]
    self.planned.append(Planned(MATRIX, Instruction(ins.ATTEND, fields, step.name), reads, [room], [key, value]))
    for name in step.inputs:
        self.release(name)
