"""The steps of an integer model: one for each pass of the array or the vector unit, in the order of a token.

Every step makes one tensor, called by its name. What a step computes is in `steps.py`, of functions of `arithmetic`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.accel.arithmetic.norm import Norm
from dovetail.accel.arithmetic.rounding import Ints
from dovetail.accel.lowering.weights import Matrix


@dataclass(frozen=True, slots=True)
class Format:
    """How integers stand for reals: ``integer * 2**-fraction``, in `bits` signed.

    `block`: operands, which carry an exponent for each token (and head): ``integer * 2**(exponent - fraction)``.
    """

    bits: int
    fraction: int
    block: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Makes the tensor `name`, `channels` of `form` for each token, from `inputs`."""

    name: str
    inputs: tuple[str, ...]
    channels: int
    form: Format


@dataclass(frozen=True, slots=True, eq=False)
class Lookup(Step):
    """A row of the embedding, by token: words. Shifts of rows less `form.fraction`."""

    matrix: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class AddPositions(Step):
    """A row of `table` (context, channels), words in the format of the result, added by position."""

    table: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Normalise(Step):
    """Norm over each of `heads`: halves."""

    norm: Norm
    heads: int


@dataclass(frozen=True, slots=True, eq=False)
class Quantise(Step):
    """Operands with an exponent for each of `heads` of each token."""

    heads: int


@dataclass(frozen=True, slots=True, eq=False)
class Product(Step):
    """Operands (first input) times a matrix; the second input, where there is one, is added: the residual stream.

    `offset` is the input's fraction bits less the result's; `bias` is in the format of the result.
    """

    matrix: Matrix
    offset: int
    bias: Ints | None


@dataclass(frozen=True, slots=True, eq=False)
class Rotate(Step):
    """Each of `heads` turned by the position's angles: tables (context, n/2), 16 bits."""

    heads: int
    cosine: Ints
    sine: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Narrow(Step):
    """Halves to operands without an exponent, by 8 bits: keys on their way to the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Attend(Step):
    """Query operands, with an exponent for each head, over the cached keys and values of all tokens so far: halves."""

    heads: int
    kv_heads: int
    mantissa: int
    shift: int


@dataclass(frozen=True, slots=True, eq=False)
class Activate(Step):
    """``silu``, ``gelu``, ``gelu_tanh`` or ``relu``, in the format of the input."""

    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class Multiply(Step):
    """Product of two vectors of halves, shifted by `shift`: words."""

    shift: int


@dataclass(frozen=True, slots=True, eq=False)
class Convolve(Step):
    """Operands of a map (channels, height, width), one exponent for all, times a matrix (out, in * rows * columns)."""

    matrix: Matrix
    offset: int
    bias: Ints | None
    shape: tuple[int, int, int]
    size: tuple[int, int]
    stride: int
    padding: int


@dataclass(frozen=True, slots=True, eq=False)
class Pool(Step):
    """The largest, or the mean by a multiplier for ``1 / size**2``, of squares of a map: the format of the input."""

    kind: str
    shape: tuple[int, int, int]
    size: int
    stride: int
    mantissa: int
    shift: int


OPERANDS = ".operands"  # what a quantised tensor is called after its source
