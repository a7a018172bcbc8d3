"""What the tensors of a graph hold on a user's text: largest magnitudes by channel, products of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dovetail.accel import floating
from dovetail.accel.graph import Graph, Linear
from dovetail.core.errors import DovetailError


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """Statistics over all samples.

    Parameters
    ----------
    largest : dict of str to (channels,) float64
        Largest magnitude of each channel of a tensor.
    moments : dict of str to (channels, channels) float64
        ``x.T @ x`` of each tensor that a linear layer reads; empty where it was not asked for.
    """

    largest: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    moments: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def top(self, name: str) -> float:
        """Largest magnitude of a tensor; tiny where it holds nothing but zeros."""
        return max(float(self.largest[name].max()), 1e-9)


def observe(graph: Graph, samples: Sequence[npt.NDArray[np.generic]], moments: bool = False) -> Observed:
    """Run the graph in floating point over samples, each (batch, tokens) of ids or (batch, features).

    Raises
    ------
    DovetailError
        No samples, or a model that overflows on them.
    """
    if not samples:
        raise DovetailError("nothing to calibrate on", where="text", hint="some kilobytes of text like the user's")
    found = Observed()
    read = {node.inputs[0] for node in graph.of(Linear)} if moments else set()
    for sample in samples:
        for name, values in floating.evaluate(graph, sample).items():
            if name == graph.source and graph.source_channels == 0:
                continue
            _note(found, name, values.reshape(-1, values.shape[-1]), name in read)
    bad = next((name for name, top in found.largest.items() if not np.isfinite(top).all()), None)
    if bad is not None:
        raise DovetailError(
            f"'{bad}' is not finite on this text", where=graph.name, hint="a checkpoint that is not broken"
        )
    return found


def _note(found: Observed, name: str, rows: npt.NDArray[np.floating], products: bool) -> None:
    top = np.abs(rows).max(axis=0).astype(np.float64)
    found.largest[name] = np.maximum(found.largest.get(name, 0.0), top)
    if products:
        found.moments[name] = found.moments.get(name, 0.0) + (rows.T @ rows).astype(np.float64)
