"""Steps of the vector unit as instructions: those between a memory and the quantisation after them are one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from dovetail.accel.arithmetic.gate import RANGE_BITS
from dovetail.accel.compile import image
from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.allocate import MATRIX, VECTOR, Room
from dovetail.accel.compile.instruction import Instruction
from dovetail.accel.compile.maps import gathered, of_window, pooled
from dovetail.accel.compile.planner import Planned, Planner
from dovetail.accel.golden import program as p
from dovetail.core.errors import INFEASIBLE, DovetailError

ORDER = (p.Normalise, p.Rotate, p.Activate, p.Multiply, p.Pool)  # of the units on the way of a vector


def quantise(self: Planner, step: p.Quantise) -> None:
    user, *others = [each for each in self.model.steps if step.name in each.inputs]
    if others and isinstance(user, p.Convolve):
        raise DovetailError(
            "a map that several steps read", where=user.name, why=others[0].name, hint="one after the other"
        )
    operands = self.words(step.name)
    if isinstance(user, p.Attend):
        together = at_once(self, user)
        groups = -(-self.shape.tile // together)
        size, indices = groups * user.kv_heads * (operands // user.heads), groups * user.kv_heads
        fields = {
            "sink": ins.HEAD_ROWS, "sharing": user.heads // user.kv_heads, "tokens_at_once": together,
            "head_words": operands // user.heads,
        }  # fmt: skip
    elif isinstance(user, p.Convolve):
        size, indices, fields = _window(self, step, user)
    else:
        groups = -(-self.shape.tile // self.shape.rows)
        size, indices = groups * operands, groups
        fields = {"sink": ins.TOKEN_ROWS, "head_words": operands // step.heads}
        if user is self.model.steps[-1] and self.model.vocabulary:
            fields |= {"single": 1, "head": 1}
    self.rooms[step.name] = self.allocator.take("operands", size)
    self.indices[step.name] = self.allocator.take("exponents", indices)
    fields |= {"operand": self.rooms[step.name].begin, "exponent": self.indices[step.name].begin}
    _vector(self, step, step.inputs[0], fields, [self.rooms[step.name], self.indices[step.name]])


def at_once(self: Planner, step: p.Attend) -> int:
    sharing = step.heads // step.kv_heads
    if sharing > self.shape.rows:
        why = f"{sharing} heads share keys, the array has {self.shape.rows} rows"
        raise DovetailError("attention does not fit", where=step.name, why=why, hint="more rows", exit_code=INFEASIBLE)
    return self.shape.rows // sharing


def _window(self: Planner, step: p.Quantise, user: p.Convolve) -> tuple[int, int, dict[str, int]]:
    """Words of operands, of exponents, and fields of an instruction that gathers windows."""
    source, result = self.maps[step.name], self.maps[user.name]
    groups = -(-result.places // self.shape.rows)
    each = len(of_window(user, self.shape.columns)) // self.shape.columns
    words = self.words(step.name) // source.places
    fields = {"sink": ins.GATHERED, "head_words": self.words(step.name), **gathered(user, source, result, words)}
    return groups * each, 1, fields


def narrow(self: Planner, step: p.Narrow) -> None:
    attend = next(each for each in self.model.steps if isinstance(each, p.Attend) and each.inputs[1] == step.name)
    store(self, attend, step.inputs[0], ins.KEYS, step.name)


def store(self: Planner, attend: p.Attend, source: str, sink: int, name: str = "") -> None:
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


def _vector(self: Planner, step: p.Step, name: str, fields: dict[str, int], writes: list[Room]) -> None:
    """The steps before a tensor is quantised, back to where it stands in a memory, as one instruction."""
    reads: list[Room] = []
    used = [name]
    fields = {"parts": 1, "words": self.words(name), **fields}
    units: list[p.Step] = []
    while name not in self.rooms:
        made = self.steps[name]
        units.insert(0, made)
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
        elif isinstance(made, p.Pool):
            words = self.words(made.name) // self.maps[made.name].places
            fields |= pooled(made, self.maps[made.inputs[0]], self.maps[made.name], words)
        elif isinstance(made, p.Normalise):
            room = _constants(self, made)
            reads.append(room)
            fields |= {
                "norm": 1, "mean": int(made.norm.mean is not None), "bias": int(made.norm.bias is not None),
                "constants": room.begin, "parts": made.heads, "words": self.words(made.name) // made.heads,
            }  # fmt: skip
        name = made.inputs[0]
        used.append(name)
    _check_order(units)
    fields |= {
        "source": self.rooms[name].begin, "stride": self.words(name),
        "from_stream": int(self.rooms[name].memory == "stream"),
    }  # fmt: skip
    reads.append(self.rooms[name])
    op = ins.MAP if "channel_words" in fields else ins.VECTOR
    self.planned.append(Planned(VECTOR, Instruction(op, fields, step.name), reads, writes))
    for each in used:
        self.release(each)


def _check_order(units: list[p.Step]) -> None:
    """Each unit once, in the order in which a vector passes them; the largest may as well be found before a ReLU."""
    before = -1
    for first, second in pairwise(units):
        at, then = (ORDER.index(type(each)) if type(each) in ORDER else before for each in (first, second))
        swapped = isinstance(first, p.Pool) and first.kind == "max" and isinstance(second, p.Activate)
        if at >= then and not (swapped and second.kind == "relu" and len(units) == 2):  # type: ignore[attr-defined]
            why = f"it follows '{first.name}' without a product between, and the unit works in the other order"
            hint = "norm, rotary, gate, product, pool, each at most once"
            what = "the vector unit cannot do this"
            raise DovetailError(what, where=second.name, why=why, hint=hint, exit_code=INFEASIBLE)


def _constants(self: Planner, step: p.Normalise) -> Room:
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
