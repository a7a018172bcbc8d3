"""Arrays, fast: products where nothing is lost, ANDs and counts where converters may cut, floats where cells vary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar import analog
from dovetail.crossbar.folded import Fold, fold, lossless, multiply
from dovetail.crossbar.layer import Layer
from dovetail.crossbar.packed import Packed, add, pack


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """A layer ready to multiply: the same numbers as `reference.multiply_plainly`, noise by its moments.

    Parameters
    ----------
    layer : Layer
    folds : tuple of Fold
        What the lossless bitlines do, as products.
    packed : Packed or None
        The other bitlines; None where there are none, or where cells vary or reads are noisy.
    """

    layer: Layer
    folds: tuple[Fold, ...]
    packed: Packed | None

    @classmethod
    def of(cls, layer: Layer) -> Engine:
        """Prepare once what does not depend on the inputs."""
        if analog.needed(layer):
            return cls(layer, fold(layer, np.zeros(layer.converters.step.shape, bool)), None)
        exact = lossless(layer)
        return cls(layer, fold(layer, exact), None if exact.all() else pack(layer, ~exact))

    def multiply(self, x: Any, seed: int = 0, variant: str = "") -> NDArray[np.float64]:
        """Weights times inputs, shape (vectors, outputs): the integers of `x` times what codes stand for.

        Parameters
        ----------
        x : array_like of int, shape (vectors, inputs)
        seed : int
            Of the noise of reads, beside the layer's own.
        variant : str
            Of the kernel; the fastest that runs here where none is named.

        Raises
        ------
        DovetailError
            Inputs that do not fit the layer or the bits of its inputs.
        """
        layer = self.layer
        whole = layer.driven(x)
        out = multiply(self.folds, whole, layer.codes.shape[0])
        if analog.needed(layer):
            analog.add(layer, layer.setup.inputs.planes(whole), out, seed)
        elif self.packed is not None:
            planes = layer.setup.inputs.planes(whole)
            if not add(self.packed, layer, planes, out, variant):
                analog.add(layer, planes, out, seed, ~lossless(layer))
        return out
