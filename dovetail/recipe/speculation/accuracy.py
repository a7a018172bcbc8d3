"""How often each head's guesses are right: as parameters, from a folder of heads, and as published."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.model.graph import Graph
from dovetail.runtime.checkpoint import WEIGHTS
from dovetail.runtime.decoding.likeliest import likeliest
from dovetail.runtime.decoding.speculator import ABOUT, described
from dovetail.runtime.tensorfile import read_header

Accuracies = tuple[tuple[float, ...], ...]  # chance of each rank to be right, for each head

# Medusa-1 heads of Vicuna-7B v1.3 (github.com/FasterDecoding/Medusa, its files of accuracies, 2023): how often the
# right token was among a head's first 1, 2, … 5.
_PUBLISHED = (
    (0.56, 0.67, 0.73, 0.76, 0.78),
    (0.32, 0.42, 0.49, 0.53, 0.56),
    (0.20, 0.29, 0.35, 0.38, 0.42),
    (0.15, 0.23, 0.27, 0.31, 0.34),
)


def by_rank(among_first: Sequence[Sequence[float]]) -> Accuracies:
    """The chance of each rank, from that of the right token to be among the first ones."""
    return tuple(tuple(b - a for a, b in zip((0.0, *row), row, strict=False)) for row in among_first)


PUBLISHED: Accuracies = by_rank(_PUBLISHED)


def tokens_per_step(accuracy: Sequence[Sequence[float]], nodes: int) -> tuple[float, ...]:
    """Expected tokens of a step with 0, 1, … `nodes` guesses in the best tree, the model's own token included.

    Fewer entries where heads have no more guesses.
    """
    totals, found = [1.0], likeliest([sorted(row, reverse=True) for row in accuracy], nodes)
    for chance in found.chances:
        totals.append(totals[-1] + chance)
    return tuple(totals)


def as_accuracies(value: Any, where: str) -> Accuracies:
    """Lists of numbers from 0 to 1, one list a head, of a sum of at most 1. Raises `DovetailError` for all else."""
    hint = "accuracy: [[0.6, 0.1], [0.3, 0.1]]: for each head, how often each of its first guesses is right"
    rows: Sequence[Any] = value if isinstance(value, Sequence) and not isinstance(value, str) else [None]
    for row in rows:
        if not isinstance(row, Sequence) or isinstance(row, str) or not row or not all(map(_is_chance, row)):
            raise DovetailError("is not accuracies of heads", where=where, why=f"it holds {row!r}"[:80], hint=hint)
        if sum(row) > 1.0 + 1e-6:
            raise DovetailError(f"chances that sum to {sum(row):.3g}", where=where, why="at most 1 a head", hint=hint)
    return tuple(tuple(float(x) for x in row) for row in rows)


def _is_chance(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0.0 <= value <= 1.0


def measured(folder: str, kind: str = "medusa") -> Accuracies:
    """Those that a folder of heads says of itself. Raises `DovetailError` where it is none, or says nothing of them."""
    found, _, about = described(Path(folder).expanduser())
    return of_description(found, about, folder, kind)


def of_description(found: str, about: Mapping[str, Any], folder: str, kind: str = "medusa") -> Accuracies:
    """The accuracies in a description of heads. Raises `DovetailError` for another kind, or none."""
    where = str(Path(folder) / ABOUT)
    if found != kind:
        raise DovetailError(f"holds heads of kind '{found}'", where=where, hint=f"those of kind '{kind}'")
    if not (rows := as_accuracies(about.get("accuracy"), where)):
        raise DovetailError("no measured accuracies", where=where, hint="dovetail medusa train")
    return rows


def check_width(kind: str, folder: str, tensor: str, graph: Graph) -> None:
    """Raise `DovetailError` unless the stored `tensor` (…, hidden, 2 hidden) is as wide as the model of a graph."""
    header = read_header(Path(folder).expanduser() / WEIGHTS)
    shape = header[tensor].shape if tensor in header else ()
    if tuple(shape[-2:]) != (graph.hidden, 2 * graph.hidden):
        why = f"{tensor} is {' x '.join(map(str, shape)) or 'not there'}, the model {graph.hidden} wide"
        hint = "heads that were trained for this model"
        raise DovetailError(f"{kind} heads of another model", where=folder, why=why, hint=hint)
