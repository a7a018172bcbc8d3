"""Cycles of a vector instruction: passes over a token's vector, each as long as its words and its pipeline."""

from __future__ import annotations

from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.instruction import Instruction
from dovetail.accel.compile.shape import Shape

BEGIN = 3  # an instruction taken, its constants read
MAIN, SQUARE, ROOT, SUM = 11, 5, 6, 12  # beyond the words of a pass: the depth of its pipeline
POOL = 2  # more of them where it pools
TO_ARRAY = 3  # beyond the words of the last pass
STORE, STORED = 3, 1  # between words on their way to the cache; after the last


def vector_cycles(instruction: Instruction, shape: Shape, tokens: int, interval: float) -> float:
    """Cycles from an instruction at the front of the queue to the next.

    Parameters
    ----------
    interval : float
        Cycles between words of the memory port.
    """
    return BEGIN + (1 if instruction.fields.get("single") else tokens) * _token(instruction, shape, interval)


def _token(instruction: Instruction, shape: Shape, interval: float) -> float:
    get = instruction.fields.get
    words, parts, sink = get("words", 0), get("parts", 0), get("sink", 0)
    window = get("pool_size", 0)
    part = 1 + words + MAIN if window == 0 else 1 + words * window**2 + MAIN + POOL
    if get("norm"):
        part += words + SQUARE + ROOT + (words + SUM if get("mean") else 0)
    if sink in (ins.KEYS, ins.VALUES):
        writes = shape.spread if sink == ins.KEYS else 1
        last = words * parts * max(STORE + writes, writes * interval) + STORED
    elif sink == ins.GATHERED:
        last = gathered_words(instruction) + TO_ARRAY
    else:
        last = words * parts + TO_ARRAY
    return parts * part + last + 1


def gathered_words(instruction: Instruction) -> int:
    """Words of operands of a convolution."""
    get = instruction.fields.__getitem__
    windows = get("out_rows") * get("out_columns") * get("kernel_rows") * get("kernel_columns")
    return windows * get("channel_words")


def written_words(instruction: Instruction, shape: Shape, tokens: int) -> int:
    """Words that an instruction writes to the cache."""
    get = instruction.fields.get
    each = {ins.KEYS: shape.spread, ins.VALUES: 1}.get(get("sink", 0), 0)
    return tokens * each * get("words", 0) * get("parts", 0)
