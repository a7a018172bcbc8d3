"""How many cycles a pass takes, from the program and the memory: each engine in order, block by block.

The constants are the depths of the pipelines in `dovetail.accel.rtl`; nothing is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.instruction import Instruction
from dovetail.accel.compile.schedule import Program
from dovetail.accel.cycles.matrix import Token, attend_cycles, product_cycles, stream_cycles
from dovetail.accel.cycles.ring import Port, Ring
from dovetail.accel.cycles.vector import vector_cycles, written_words

QUEUE = 8  # instructions that wait for an engine, and that are fetched ahead
BEGIN, FINISH = 2, 3  # before a pass's first request; after its last instruction


@dataclass(frozen=True, slots=True)
class Prediction:
    """A pass.

    Parameters
    ----------
    cycles : float
    words : int
        That the port moved.
    matrix, vector : tuple of float
        When each engine's instructions were done.
    """

    cycles: float
    words: int
    matrix: tuple[float, ...]
    vector: tuple[float, ...]


@dataclass(slots=True)
class _State:
    dispatched: list[float] = field(default_factory=list)
    requested: float = BEGIN
    popped: dict[str, list[float]] = field(default_factory=lambda: {"matrix": [], "vector": [], "stream": []})
    matrix: list[float] = field(default_factory=list)
    vector: list[float] = field(default_factory=list)


def predict(program: Program, position: int, tokens: int, port: Port, *, chooses: bool) -> Prediction:
    """Cycles of a pass.

    Parameters
    ----------
    position, tokens : int
        What the pass begins at and how many it takes.
    chooses : bool
        Whether it ends with the next token: the head runs.
    """
    shape, state = program.shape, _State()
    ring, at = Ring(port, shape.ring), Token(position, tokens)
    words = 0
    ring.free = BEGIN + _first_words(program, port) * port.interval
    for made in program.instructions:
        ready = _dispatch(state, ring, shape.instruction_words, made)
        if made.op == ins.END or (made.fields.get("head") and not chooses):
            break
        if made.vector:
            pop = max(ready, _last(state.vector), _nth(state.matrix, made.fields.get("wait_matrix", 0)))
            state.popped["vector"].append(pop)
            state.vector.append(pop + vector_cycles(made, shape, tokens, port.interval))
            stored = written_words(made, shape, tokens)
            ring.steal(stored)
            words += stored
        else:
            _matrix(state, made, program, at, ring, ready)
    drained = _ahead(state, port, shape.instruction_words)
    end = max(ready, drained, _last(state.matrix), _last(state.vector)) + FINISH + (port.interval if chooses else 0)
    instructions = (len(state.dispatched) + QUEUE) * shape.instruction_words
    return Prediction(end, words + ring.asked + ring.words + instructions, tuple(state.matrix), tuple(state.vector))


def _dispatch(state: _State, ring: Ring, words: int, made: Instruction) -> float:
    """When an instruction reaches its queue."""
    number, done = len(state.dispatched), state.dispatched
    state.requested = max(state.requested, done[number - QUEUE] + 1 if number >= QUEUE else 0.0)
    arrives = state.requested + ring.port.latency + 1 + (words - 1) * ring.port.interval
    state.requested += words * ring.port.interval
    if number >= 2 * QUEUE:
        ring.steal(words)
    queues = ("vector",) if made.vector else ("matrix", "stream")
    room = max((state.popped[name][-QUEUE] if len(state.popped[name]) >= QUEUE else 0.0) for name in queues)
    done.append(max(arrives, _last(done) + 1, room))
    return done[-1] + 1


def _first_words(program: Program, port: Port) -> float:
    """Words of instructions that come before any weights: until both queues are full, or the end of a short program."""
    size, count = program.shape.instruction_words, len(program.instructions)
    return min(2 * QUEUE * size, count * size + port.latency / port.interval, (count + QUEUE - 1) * size)


def _ahead(state: _State, port: Port, words: int) -> float:
    """When the last of the instructions is here that were asked for beyond the end."""
    done = state.dispatched
    for popped in done[-QUEUE:-1]:
        begin = max(state.requested, popped + 1)
        if begin >= done[-1]:
            break
        state.requested = begin + words * port.interval
    return state.requested + port.latency


def _matrix(state: _State, made: Instruction, program: Program, at: Token, ring: Ring, ready: float) -> None:
    waits = made.fields.get
    pop = max(ready, _last(state.matrix), _nth(state.vector, waits("wait_vector", 0)))
    fetch = max(ready, ring.free, _nth(state.vector, waits("fetch_wait", 0)))
    state.popped["matrix"].append(pop)
    state.popped["stream"].append(fetch)
    cycles = {ins.PRODUCT: product_cycles, ins.ATTEND: attend_cycles}.get(made.op, stream_cycles)
    state.matrix.append(cycles(made, program.shape, at, ring, pop, fetch + 2))


def _last(times: list[float]) -> float:
    return times[-1] if times else 0.0


def _nth(times: list[float], count: int) -> float:
    """When so many were done."""
    return times[count - 1] if count else 0.0
