"""Cycles of matrix instructions: words of the stream against steps of the array, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.instruction import Instruction
from dovetail.accel.compile.shape import Shape
from dovetail.accel.cycles.ring import Ring

START = 2  # from an instruction at the front of the queue to the first word read
COPIED, LOOKED_UP, LEFT = (
    3,
    7,
    8,
)  # from the last word read to the next instruction; for LEFT beside the rows that leave
SOFTMAX_BEGIN = 3  # from scores that are complete to the first block that softmax reads
DIVIDE = 21  # from a row's last block to its reciprocal


@dataclass(frozen=True, slots=True)
class Token:
    """What runs: `tokens` from `position` on."""

    position: int
    tokens: int


def stream_cycles(made: Instruction, shape: Shape, at: Token, ring: Ring, pop: float, fetch: float) -> float:
    """COPY, LOOKUP, POSITIONS: the end of an instruction that begins at `pop` and is fetched from `fetch` on."""
    count = made.fields["count"]
    runs = 1 if made.fields.get("mode", ins.RUN) == ins.RUN else at.tokens
    now, words, last = pop + START, count * runs, COPIED if made.op == ins.COPY else LOOKED_UP
    if made.op != ins.LOOKUP:
        for taken in range(0, words, ring.depth // 4):  # more than the ring holds comes while it is read
            some = min(ring.depth // 4, words - taken)
            first, arrived = ring.fetch(some, fetch)
            now = max(max(now, first) + some, arrived + 1)
            ring.give(some, now)
        return now - 1 + last
    for token in range(runs):
        listed = token == 0 or (at.position + token) % shape.columns == 0
        ring.free = max(ring.free, fetch) + (3 + ring.port.latency if listed else 1)
        ring.words += listed
        first, arrived = ring.fetch(count, fetch)
        now = max(max(now, first) + count, arrived + 1)
        ring.give(count, now)
    return now - 1 + last


def product_cycles(made: Instruction, shape: Shape, at: Token, ring: Ring, pop: float, fetch: float) -> float:
    """PRODUCT: the end of an instruction that begins at `pop` and is fetched from `fetch` on."""
    get = made.fields.get
    blocks, steps, nibbles = made.fields["blocks"], made.fields["steps"], get("nibbles", 0)
    words = made.fields["count"] // blocks
    of_all = 1 if get("single") else get("rows", at.tokens)
    groups, rows = -(-of_all // shape.rows), min(shape.rows, of_all)
    last_rows = of_all - (groups - 1) * shape.rows
    heads = 1 + get("bias", 0)
    runs = -(-steps // (64 << get("group", 0))) if nibbles else 0
    group = max(steps + runs, rows + 1)
    now = pop + START
    for _ in range(blocks):
        first, arrived = ring.fetch(words, fetch)
        now = max(max(now, first) + heads + group, arrived + 1 + nibbles) + (groups - 1) * group
        ring.give(words, now)
    return now - 1 + LEFT + last_rows


def attend_cycles(made: Instruction, shape: Shape, at: Token, ring: Ring, pop: float, fetch: float) -> float:
    """ATTEND: scores one pass ahead of mix, softmax beside both."""
    get = made.fields.__getitem__
    at_once, sharing, head_words = get("tokens_at_once"), get("sharing"), get("steps") // shape.spread
    now, softmax = pop + 1.0, 0.0  # when the array and softmax are free
    weights: dict[int, float] = {}
    fetch += 1
    for kind, index, first in _order(at.tokens, at_once, get("heads")):
        count = min(at_once, at.tokens - first)
        rows, seen = count * sharing, at.position + first + count
        blocks, steps = (
            (-(-seen // shape.columns), get("steps")) if kind == "scores" else (head_words, -(-seen // shape.lanes))
        )
        if kind == "mix":
            now = max(now, weights[index])
        ring.free += 1
        begin, arrived = ring.fetch(blocks * steps, fetch)
        each = max(steps, rows + 1)
        now = max(max(now + 1, begin) + (blocks - 1) * each + steps, arrived + 1)
        ring.give(blocks * steps, now)
        now += LEFT - 1 + rows
        if kind == "scores":
            begin_softmax = max(now + SOFTMAX_BEGIN - 1, softmax + 1)
            softmax = begin_softmax + blocks - 1 + (rows - 1) * max(blocks, DIVIDE) + DIVIDE
            weights[index] = softmax
    return now + 1


def _order(tokens: int, at_once: int, heads: int) -> Iterator[tuple[str, int, int]]:
    """Kind, number and first token of each pass of the array."""
    firsts = [first for first in range(0, tokens, at_once) for _ in range(heads)]
    for index, first in enumerate(firsts):
        yield "scores", index, first
        if index:
            yield "mix", index - 1, firsts[index - 1]
    yield "mix", len(firsts) - 1, firsts[-1]
