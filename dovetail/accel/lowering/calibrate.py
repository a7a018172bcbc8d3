"""What the tensors of a graph hold on a user's text: the largest magnitude of each channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dovetail.accel import floating
from dovetail.accel.graph import Graph
from dovetail.core.errors import DovetailError


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """Statistics over all samples.

    Parameters
    ----------
    largest : dict of str to (channels,) float64
        Largest magnitude of each channel of a tensor.
    """

    largest: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def top(self, name: str) -> float:
        """Largest magnitude of a tensor; tiny where it holds nothing but zeros."""
        return max(float(self.largest[name].max()), 1e-9)


def observe(graph: Graph, samples: Sequence[npt.NDArray[np.generic]]) -> Observed:
    """Run the graph in floating point over samples, each (batch, tokens) of ids or (batch, features).

    Raises
    ------
    DovetailError
        No samples, or a model that overflows on them.
    """
    if not samples:
        raise DovetailError("nothing to calibrate on", where="text", hint="some kilobytes of text like the user's")
    found = Observed()
    for sample in samples:
        for name, values in floating.evaluate(graph, sample).items():
            if name == graph.source and graph.source_channels == 0:
                continue
            top = np.abs(values.reshape(-1, values.shape[-1])).max(axis=0).astype(np.float64)
            found.largest[name] = np.maximum(found.largest.get(name, 0.0), top)
    bad = next((name for name, top in found.largest.items() if not np.isfinite(top).all()), None)
    if bad is not None:
        hint = "a checkpoint that is not broken"
        raise DovetailError(f"'{bad}' is not finite on this text", where=graph.name, hint=hint)
    return found
