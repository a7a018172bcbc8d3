"""Constants as words of the memory port."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dovetail.accel.arithmetic.rounding import Ints
from dovetail.accel.compile.arrange import Places, place
from dovetail.accel.compile.shape import Shape
from dovetail.accel.golden.program import Normalise
from dovetail.accel.lowering.weights import Matrix
from dovetail.core.errors import INFEASIBLE, DovetailError

Words = npt.NDArray[np.uint8]  # (words, bytes of a word)


def slices(values: Ints, shape: Shape) -> Words:
    """Words whose slices hold one integer of 32 bits each: (..., columns) of them."""
    flat = values.reshape(-1, shape.columns).astype(np.int64).astype(np.uint32)
    found = np.zeros((len(flat), shape.columns, shape.lanes), np.uint8)
    found[:, :, :4] = flat.astype("<u4").view(np.uint8).reshape(len(flat), shape.columns, 4)
    return found.reshape(len(flat), -1)


def block_words(matrix: Matrix, biased: bool, inputs: int, shape: Shape) -> int:
    """Words of a block: multipliers, biases, weights of `inputs` lanes and their steps, for each column."""
    steps = inputs // shape.lanes
    if matrix.codes is None:
        return 1 + biased + steps
    return 1 + biased + -(-steps // 2) + -(-inputs // (2 * shape.lanes * matrix.group))


def matrix_words(matrix: Matrix, bias: Ints | None, rows: Places, columns: Places, shape: Shape) -> Words:
    """A matrix in the order in which the array takes it: blocks of outputs, each after its multipliers and biases.

    Parameters
    ----------
    rows, columns : Places
        Of the output's and the input's channels.
    """
    blocks = len(rows) // shape.columns
    heads = [slices(place(matrix.mantissa, rows) | place(matrix.shift, rows) << 15, shape)]
    if bias is not None:
        heads.append(slices(place(bias, rows), shape))
    body = _bytes(matrix, rows, columns, shape) if matrix.codes is None else _nibbles(matrix, rows, columns, shape)
    found = np.concatenate([np.stack(heads, axis=1), body.reshape(blocks, -1, shape.word)], axis=1)
    return found.reshape(-1, shape.word)


def _placed(values: npt.NDArray[np.generic], rows: Places, columns: Places, shape: Shape) -> Ints:
    """(blocks, columns of the array, inputs)."""
    moved = place(place(values.astype(np.int64), rows, 0), columns, 1)
    return moved.reshape(-1, shape.columns, len(columns))


def _bytes(matrix: Matrix, rows: Places, columns: Places, shape: Shape) -> Words:
    moved = _placed(matrix.values, rows, columns, shape)
    steps = moved.reshape(len(moved), shape.columns, -1, shape.lanes).transpose(0, 2, 1, 3)
    return steps.astype(np.int8).view(np.uint8).reshape(-1, shape.word)


def _nibbles(matrix: Matrix, rows: Places, columns: Places, shape: Shape) -> Words:
    """Runs of ``2 * lanes`` groups: a word of steps, then words of codes, two steps of the array to a word."""
    if matrix.codes is None or matrix.steps is None:
        raise DovetailError("a matrix without four-bit codes", where="weights image", why="it was lowered in 8 bits")
    codes = _placed(matrix.codes, rows, columns, shape)
    of_lanes = lane_groups(matrix, columns)
    groups = len(of_lanes)
    steps = place(matrix.steps.astype(np.int64) - 1, rows, 0)[:, of_lanes]
    steps = steps.reshape(len(codes), shape.columns, -1)
    found = []
    for first in range(0, groups, 2 * shape.lanes):
        found.append(_pairs(_fill(steps[:, :, first : first + 2 * shape.lanes], 2 * shape.lanes)))
        part = codes[:, :, first * matrix.group : (first + 2 * shape.lanes) * matrix.group]
        part = _fill(part, 2 * shape.lanes).reshape(len(codes), shape.columns, -1, 2, shape.lanes)
        packed = (part[..., 0, :] & 15) | (part[..., 1, :] & 15) << 4
        found.append(packed.transpose(0, 2, 1, 3).reshape(len(codes), -1, shape.word).astype(np.uint8))
    return np.concatenate([each.reshape(len(codes), -1, shape.word) for each in found], axis=1).reshape(-1, shape.word)


def lane_groups(matrix: Matrix, columns: Places) -> Places:
    """The group of inputs whose step each group of lanes takes: heads that do not fill their words spread a group.

    Raises
    ------
    DovetailError
        Lanes that share a step and hold inputs of two groups.
    """
    lanes = np.pad(columns, (0, -len(columns) % matrix.group), constant_values=-1).reshape(-1, matrix.group)
    groups = np.where(lanes < 0, -1, lanes // matrix.group)
    found = groups.max(axis=1)
    if not ((groups == found[:, None]) | (groups < 0)).all():
        why = f"heads leave lanes of a word empty, and {matrix.group} lanes then hold inputs of two groups"
        hint = "fewer columns, so that heads fill their words, or w8a8"
        raise DovetailError("4-bit groups do not fit the array", where=matrix.name, why=why, hint=hint,
                            exit_code=INFEASIBLE)  # fmt: skip
    return np.asarray(np.maximum(found, 0), np.int64)


def _fill(values: Ints, multiple: int) -> Ints:
    return np.pad(values, ((0, 0), (0, 0), (0, -values.shape[2] % multiple)))


def _pairs(values: Ints) -> npt.NDArray[np.uint8]:
    """Neighbours as the halves of a byte."""
    packed = (values[..., 0::2] & 15) | (values[..., 1::2] & 15) << 4
    return packed.reshape(len(values), -1).astype(np.uint8)


def norm_words(step: Normalise, places: Places, shape: Shape) -> Words:
    """A word of epsilon, shift and mean, then weights, then biases."""
    norm = step.norm
    first = np.zeros(shape.columns, np.int64)
    first[:3] = norm.epsilon & 0xFFFFFFFF, norm.epsilon >> 32, norm.shift
    if norm.mean is not None:
        first[3] = norm.mean[0] | norm.mean[1] << 15
    found = [first, place(norm.weight, places)]
    if norm.bias is not None:
        found.append(place(norm.bias, places))
    return slices(np.concatenate(found), shape)


def angle_words(cosine: Ints, sine: Ints, places: Places, shape: Shape) -> Words:
    """Of each position the words of one head: cosine low, sine high, in both lanes of a pair."""
    half = cosine.shape[1]
    pairs = np.where(places < 0, -1, places % half)
    return slices(place((cosine & 0xFFFF) | (sine & 0xFFFF) << 16, pairs), shape)
