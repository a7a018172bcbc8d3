"""What the engines wrote in a simulation, beside the golden model: every tensor of every pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dovetail.accel.arithmetic.rounding import HALF, Ints
from dovetail.accel.compile import instruction as ins
from dovetail.accel.compile.instruction import Instruction
from dovetail.accel.compile.schedule import Program
from dovetail.accel.golden import program as p
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.golden.steps import Values
from dovetail.core.errors import CHECK_FAILED, DovetailError

STREAM, HALVES, LOGITS, SCORES, SEEN, OPERANDS = 1, 2, 4, 8, 16, 32


@dataclass(frozen=True, slots=True)
class Difference:
    """A tensor that is not the golden model's.

    Parameters
    ----------
    position : int
        Of the pass's first token.
    tensor : str
    bits : int
        That differ.
    first : str
        Where the first differing value is, what it is and what it should be.
    """

    position: int
    tensor: str
    bits: int
    first: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a simulation compares.

    Parameters
    ----------
    values, bits : int
        Compared.
    tensors : int
        Compared, counted once in each pass.
    differences : tuple of Difference
        In the order of the program.
    """

    values: int
    bits: int
    tensors: int
    differences: tuple[Difference, ...]

    @property
    def bits_different(self) -> int:
        """Over all tensors."""
        return sum(each.bits for each in self.differences)


@dataclass(slots=True)
class _Made:
    """A tensor as it was written: (tokens, channels), and which values were."""

    values: Ints
    written: np.ndarray


def compare(
    model: IntegerModel, program: Program, tokens: tuple[int, ...], trace: Path, inputs: Ints | None = None
) -> Comparison:
    """Compare a trace with the golden model run over the same tokens (or inputs, one a pass), pass by pass.

    Raises
    ------
    DovetailError
        Something was written that belongs to no token of the pass.
    """
    before: Values | None = None
    values = bits = tensors = 0
    found: list[Difference] = []
    for position, count, records in _passes(trace):
        if inputs is None:
            golden = before = model.pass_over(tokens[position : position + count], before)
        else:
            golden = model.pass_over_features(inputs[position : position + count])
        for name, made in _tensors(program, model, records, count).items():
            wanted = golden.tensors[name].reshape(count, -1)
            width = _width(model, name)
            wrong = np.where(made.written, made.values ^ wanted, 0) & ((1 << width) - 1)
            values += int(made.written.sum())
            bits += int(made.written.sum()) * width
            tensors += 1
            if wrong.any():
                token, channel = (int(each[0]) for each in np.nonzero(wrong))
                first = f"token {token}, channel {channel}: {made.values[token, channel]}, not {wanted[token, channel]}"
                found.append(Difference(position, name, int(np.bitwise_count(wrong).sum()), first))
    return Comparison(values, bits, tensors, tuple(found))


def _width(model: IntegerModel, name: str) -> int:
    return next((step.form.bits for step in model.steps if step.name == name), HALF)


Record = tuple[int, int, int, bytes]  # kind, number, address, data


def _passes(trace: Path) -> Iterator[tuple[int, int, list[Record]]]:
    """Position, tokens and records of each pass."""
    data, at = trace.read_bytes(), 0
    records: list[Record] = []
    now = (-1, 0)
    while at < len(data):
        kind, position, tokens, number, address, size = (int(v) for v in np.frombuffer(data, np.uint32, 6, at))
        if (position, tokens) != now:
            if records:
                yield *now, records
            now, records = (position, tokens), []
        records.append((kind, number, address, data[at + 24 : at + 24 + size]))
        at += 24 + size
    if records:
        yield *now, records


def _tensors(program: Program, model: IntegerModel, records: list[Record], count: int) -> dict[str, _Made]:
    """Tensors of a pass by name, in the order in which they were first written."""
    matrix = [each for each in program.instructions if each.op and not each.vector]
    vector = [each for each in program.instructions if each.vector]
    steps = {step.name: step for step in model.steps}
    channels = {step.name: step.channels for step in model.steps}
    channels.setdefault(model.source, int(program.places[model.source].max()) + 1 if model.vocabulary == 0 else 0)
    found: dict[str, _Made] = {}
    seen = dict.fromkeys(range(len(vector)), -1)
    for kind, number, address, data in records:
        if kind in (STREAM, HALVES, LOGITS):
            made = matrix[number]
            stride = made.fields.get("stride", len(program.places[made.makes]) // program.shape.columns)
            token, word = divmod(address - made.fields.get("to", 0), stride)
            if "rows" in made.fields:  # places of one map
                token, word = 0, address - made.fields["to"]
            token = count - 1 if kind == LOGITS else token
            _put(found, program, made.makes, channels[made.makes], token, word, _words(data), count)
        elif kind == SEEN:
            made = vector[number]
            seen[number] += address == 0
            step = steps[made.makes]
            name = step.inputs[0] if isinstance(step, p.Quantise | p.Narrow) else step.name
            token = count - 1 if made.fields.get("single") else seen[number]
            _put(found, program, name, channels[name], token, address, _words(data), count)
        elif kind > OPERANDS:
            made = vector[number]
            token, place = _operand(made, address, kind - OPERANDS, program, count)
            operands = np.frombuffer(data, np.int8).astype(np.int64)
            if place is None:
                _check_padding(made.makes, operands)
            else:
                _put(found, program, made.makes, channels[made.makes], token, place, operands, count)
    return found


def _operand(made: Instruction, address: int, bank: int, program: Program, count: int) -> tuple[int, int | None]:
    """Token and word of what was written to operands; no word where a window reaches beyond its map."""
    row, words = bank.bit_length() - 1, made.fields["head_words"]
    if made.fields["sink"] == ins.GATHERED:
        return 0, _in_map(made, address - made.fields["operand"], row, program.shape.rows)
    if made.fields["sink"] == ins.TOKEN_ROWS:
        group, word = divmod(address - made.fields["operand"], len(program.places[made.makes]) // program.shape.columns)
        return (count - 1 if made.fields.get("single") else group * program.shape.rows + row), word
    index, word = divmod(address - made.fields["operand"], words)
    sharing, at_once = made.fields["sharing"], made.fields["tokens_at_once"]
    heads = len(program.places[made.makes]) // program.shape.columns // words // sharing
    group, head = divmod(index, heads)
    return group * at_once + row // sharing, (head * sharing + row % sharing) * words + word


def _in_map(made: Instruction, address: int, row: int, rows: int) -> int | None:
    """The word of a map that stands at an address of a bank: windows are gathered from the top left on."""
    get = made.fields.__getitem__
    words, window = get("channel_words"), get("kernel_rows") * get("kernel_columns")
    group, at = divmod(address, words * window)
    word, in_window = divmod(at, window)
    down, right = divmod(in_window, get("kernel_columns"))
    up, left = divmod(group * rows + row, get("out_columns"))
    y, x = (place * get("stride_") - get("padding") + more for place, more in ((up, down), (left, right)))
    inside = 0 <= y < get("rows") and 0 <= x < get("columns")
    return (y * get("columns") + x) * words + word if inside else None


def _check_padding(name: str, operands: Ints) -> None:
    if operands.any():
        raise DovetailError("a window's padding is not zero", where=name, exit_code=CHECK_FAILED)


def _put(
    found: dict[str, _Made], program: Program, name: str, channels: int, token: int, word: int, data: Ints, count: int
) -> None:
    places = program.places[name][word * program.shape.columns :][: program.shape.columns]
    if not 0 <= token < count or len(places) == 0:
        why = f"token {token} of {count}, word {word}"
        raise DovetailError("a write outside its tensor", where=name, why=why, exit_code=CHECK_FAILED)
    if name not in found:
        found[name] = _Made(np.zeros((count, channels), np.int64), np.zeros((count, channels), bool))
    there = places >= 0
    found[name].values[token, places[there]] = data[there]
    found[name].written[token, places[there]] = True


def _words(data: bytes) -> Ints:
    """Integers of 24 bits."""
    parts = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int64)
    value = parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16
    return value - ((value >> 23) << 24)
