"""Converters in the forward pass: what is above their range is lost, gradients pass as if it were not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.crossbar.training.parts import Form, Weights
from dovetail.crossbar.training.ranges import check_bits, ranges
from dovetail.crossbar.training.slices import column_sums, digits_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Converting:
    """Saturating converters: a bitline's sum in each cycle of the inputs' bits is cut at the largest code.

    Computed exactly and cheaply: products without loss, less what each bitline loses; a bitline that no input can drive
    above the range (a static bound) loses nothing, and is left out. Inputs are rounded to whole numbers with one scale
    for each vector (each image); those with a sign come in two's complement, the cycle of the sign subtracted.

    Parameters
    ----------
    bits : int or sequence of int
        Of the converters, of all slices or of each, the lowest first.
    input_bits : int
        Cycles of an input.
    """

    bits: int | tuple[int, ...] = 4
    input_bits: int = 8

    def __post_init__(self) -> None:
        check_bits(self.bits)
        if not 1 <= self.input_bits <= 12:
            raise DovetailError(f"inputs of {self.input_bits} bits", where="input bits", hint="8; 1 to 12")

    def forward(self, layer: nn.Module, given: Tensor, weights: Callable[[], Weights], form: Form) -> Tensor:
        """The layer's output; `weights` are those of its last forward pass."""
        torch = require("torch", "torch", to="train")
        if form.cells.encoding == "offset" or form.grid.per == "group":
            why = "offset cells and scales of groups are simulated, and not trained for"
            raise DovetailError(
                "no converters in the loop", where="Converting", why=why, hint="scales per layer or row"
            )
        whole, scale = rounded_inputs(given, self.input_bits)
        inputs = given + (whole * scale - given).detach()
        exact: Tensor = type(layer).forward(layer, inputs)
        with torch.no_grad():
            vectors = _vectors(layer, whole)
            now = weights()
            lost = self.lost(vectors, now.codes, form) * _outputs_first(now.step, vectors.dim())
            lost = _as_output(layer, lost, exact) * scale
        return exact - lost

    def lost(self, vectors: Tensor, codes: Tensor, form: Form) -> Tensor:
        """What converters cut off, in codes times whole inputs, shape (…, outputs), of `vectors` (…, inputs)."""
        flat = vectors.reshape(-1, vectors.shape[-1])
        total = flat.new_zeros(len(flat), len(codes))
        for slice_, room in enumerate(ranges(self.bits, form).tolist()):
            total += self.lost_by(slice_, room, flat, codes, form)
        return total.reshape(*vectors.shape[:-1], len(codes))

    def lost_by(self, slice_: int, room: float, flat: Tensor, codes: Tensor, form: Form) -> Tensor:
        """What converters that take sums up to `room` cut off in one slice, (vectors, outputs), of `flat` vectors."""
        total = flat.new_zeros(len(flat), len(codes))
        signed = bool((flat < 0).any())
        for part in _clipping(codes, form, slice_, room):
            for bit, sign in _cycles(flat[:, part.tile], self.input_bits, signed):
                over = (bit @ part.digits.T - room).clamp(min=0)
                total[:, part.outputs] += over * (part.worth * sign)
        return total


class _Part(NamedTuple):
    """Bitlines of one tile and sign that can pass the range: (outputs), digits (outputs, rows), code worth."""

    tile: slice
    outputs: Tensor
    digits: Tensor
    worth: float


def _clipping(codes: Tensor, form: Form, slice_: int, room: float) -> Iterator[_Part]:
    digits = digits_of(codes, form)[slice_ : slice_ + 1]
    sums = column_sums(digits, codes, form)[:, 0]
    signs = (codes > 0, codes < 0)
    for plane, way in enumerate((1, -1)):
        for index, tile in enumerate(form.tiles(codes.shape[1])):
            outputs = (sums[plane, :, index] > room).nonzero()[:, 0]
            if len(outputs):
                own = (digits[0, :, tile] * signs[plane][:, tile])[outputs]
                yield _Part(tile, outputs, own, float(way * form.places[slice_]))


def _cycles(whole: Tensor, bits: int, signed: bool) -> Iterator[tuple[Tensor, float]]:
    """The 0s and 1s of every cycle, with what a 1 counts; cycles in which nothing is on are left out."""
    torch = require("torch", "torch", to="train")
    integers = whole.to(torch.int32)
    for index in range(bits):
        on = (integers >> index & 1).to(whole.dtype)
        if on.any():
            yield on, float(1 << index) * (-1 if signed and index == bits - 1 else 1)


def rounded_inputs(given: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Whole numbers and the scale of each vector (or image), from the largest magnitude in it."""
    signed = bool((given < 0).any())
    top = (1 << bits - signed) - 1
    largest = given.detach().abs().amax(tuple(range(1, given.dim())) if given.dim() > 2 else -1, keepdim=True)
    scale = (largest / top).clamp(min=1e-30)
    return (given.detach() / scale).round().clamp(-top - signed, top), scale


def _vectors(layer: nn.Module, whole: Tensor) -> Tensor:
    """What drives the wordlines: the input of a linear layer, the patches of a convolution (images, places, inputs)."""
    torch = require("torch", "torch", to="train")
    if isinstance(layer, torch.nn.Linear):
        return whole
    if not isinstance(layer, torch.nn.Conv2d) or isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        why = "patches are cut with zeros around the image"
        raise DovetailError("no converters in the loop", where=type(layer).__name__, why=why, hint="a plain Conv2d")
    patches: Tensor = torch.nn.functional.unfold(
        whole, layer.kernel_size, dilation=layer.dilation, padding=layer.padding, stride=layer.stride
    )
    return patches.transpose(1, 2)


def _outputs_first(step: Tensor, dims: int) -> Tensor:
    """Steps (1 or outputs, 1) to multiply (…, outputs)."""
    return step.reshape((1,) * (dims - 1) + (-1,))


def _as_output(layer: nn.Module, lost: Tensor, exact: Tensor) -> Tensor:
    return lost if lost.shape == exact.shape else lost.transpose(1, 2).reshape(exact.shape)
