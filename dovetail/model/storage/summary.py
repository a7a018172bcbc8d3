"""What of a graph is stored how, in words and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.core.formats import Format
from dovetail.model.graph import Graph
from dovetail.model.operators import Weight

NAMED = 6  # matrices that are named, the largest first


@dataclass(frozen=True, slots=True)
class Part:
    """All tensors of one format: their bytes, those of scales among them, and the matrices by size.

    `matrices` are the last words of names (``down_proj``), with the share of its layers where a name has several forms.
    """

    form: Format
    bytes: float
    scale_bytes: float
    matrices: tuple[str, ...]

    @property
    def holds(self) -> str:
        """The largest matrices, and how many kinds more."""
        more = len(self.matrices) - NAMED
        return ", ".join(self.matrices[:NAMED]) + (f" and {more} more" if more > 0 else "")


def parts(graph: Graph) -> list[Part]:
    """The formats of a graph of one design, the largest first."""
    held: dict[str, list[tuple[Weight, int]]] = {}
    for weight, layers in graph.weights():
        held.setdefault(weight.format.name, []).append((weight, len(layers) or 1))
    repeats: dict[str, int] = {}
    for tensors in held.values():
        for weight, repeat in tensors:
            repeats[_short(weight)] = repeats.get(_short(weight), 0) + repeat
    found = [Part(tensors[0][0].format, *_sizes(tensors), tuple(_names(tensors, repeats))) for tensors in held.values()]
    return sorted(found, key=lambda part: -part.bytes)


def words(form: Format) -> str:
    """A format in words: ``fp8, a scale for each 128 x 128``."""
    if form.packed:
        scales = f"a scale for each {form.group} inputs" if form.group else "a scale for each output"
    elif form.block is not None:
        scales = "a scale for each output" if form.block == (1, 0) else "a scale for each {} x {}".format(*form.block)
    else:
        scales = "a scale for each matrix" if form.extra else ""
    element = form.dtype.removesuffix("_block")
    return ", ".join(filter(None, (element, scales, "zero points" if form.zeros else "")))


def _sizes(tensors: list[tuple[Weight, int]]) -> tuple[float, float]:
    whole = sum(float(w.payload_bytes) * repeat for w, repeat in tensors)
    scales = sum(float(w.format.scale_bytes(w.rows, w.cols)) * w.experts * repeat for w, repeat in tensors)
    return whole, scales


def _names(tensors: list[tuple[Weight, int]], repeats: dict[str, int]) -> Iterator[str]:
    """Names of matrices, the largest first; vectors are left out."""
    sizes: dict[str, float] = {}
    counts: dict[str, int] = {}
    for weight, repeat in tensors:
        if float(weight.rows) > 1:
            name = _short(weight)
            sizes[name] = sizes.get(name, 0.0) + float(weight.payload_bytes) * repeat
            counts[name] = counts.get(name, 0) + repeat
    for name in sorted(sizes, key=lambda n: -sizes[n]):
        yield name if counts[name] == repeats[name] else f"{name} ({counts[name]} of {repeats[name]})"


def _short(weight: Weight) -> str:
    """The matrix's name within its layer: ``experts.down_proj``, ``q_proj``, ``lm_head``."""
    steps = weight.name.removesuffix(".weight").replace(".{expert}", "").split(".")
    owner = steps[-2] if len(steps) > 1 and "expert" in steps[-2] else ""
    return f"{owner}.{steps[-1]}" if owner else steps[-1]
