"""Whether `dovetail compile` can make what an integer array is to run: asked of the accelerator's own planner."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.formats import Number
from dovetail.core.units import show
from dovetail.hardware.integer_array import IntegerArray
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.model.architecture import AttentionSpec
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

_LEAST = 16  # tokens, below which a context is not made


def integers_of(recipe: Recipe) -> str:
    """The integers that stand for a recipe there: ``w8a8`` or ``w4a8``; "" for any other recipe."""
    from dovetail.accel.lowering.lower import WEIGHTS

    return recipe.name if recipe.name in WEIGHTS else ""


def context_of(work: Workload) -> Number:
    """Tokens that the memory of a design holds for a sequence: the next power of two."""
    return 2.0 ** np.ceil(np.log2(np.maximum(work.total_tokens, _LEAST)))


def not_built(model: Model, machine: Machine, recipe: Recipe, work: Workload) -> str:
    """Why the accelerator cannot be made for a scalar design; "" where it can, or where the machine is another."""
    held = machine.integer_array
    if held is None:
        return ""
    if not integers_of(recipe):
        return f"the integer array runs recipes w8a8 and w4a8, not {recipe.name}"
    if float(work.batch) > 1:
        return f"the integer array decodes one sequence at a time, not {float(work.batch):g}"
    needed = needs(model, integers_of(recipe), _size(held), int(context_of(work)))
    if isinstance(needed, str):
        return needed
    buffers = float(held.buffers)
    return "" if needed <= buffers else f"its buffers need {show(needed, 'byte')}, there are {show(buffers, 'byte')}"


def built(model: Model, machine: Machine, recipe: Recipe, work: Workload) -> Number:
    """Where `not_built` has nothing to say, for arrays of machines and workloads: booleans of their shape."""
    held = machine.integer_array
    if held is None or not integers_of(recipe):
        return held is None
    columns = (held.rows, held.columns, held.lanes, held.tile, context_of(work), held.buffers, work.batch)
    each = np.broadcast_arrays(*(np.asarray(c, float) for c in columns))
    table = np.stack([column.reshape(-1) for column in each])
    sizes, place = np.unique(table[:5], axis=1, return_inverse=True)
    found = [needs(model, integers_of(recipe), tuple(map(int, s[:4])), int(s[4])) for s in sizes.T]
    needed = np.asarray([np.inf if isinstance(size, str) else size for size in found])
    made = (needed[place.reshape(-1)] <= table[5]) & (table[6] == 1)
    return made.reshape(each[0].shape)[()]


@lru_cache(maxsize=4096)
def needs(model: Model, integers: str, size: tuple[int, ...], context: int) -> float | str:
    """Bytes on the chip for an array of rows, columns, lanes and a tile, or why none of that size is made."""
    from dovetail.accel.choose.outline import outline
    from dovetail.accel.compile.schedule import schedule
    from dovetail.accel.compile.shape import Shape
    from dovetail.accel.lowering.lower import Scheme
    from dovetail.accel.resources.memories import bytes_on_chip

    if wide := _too_wide(model, size[1]):
        return wide
    known = outline(model, context, Scheme(integers))
    if known is None:
        return f"whether the accelerator runs {model.name} is known when it is lowered: dovetail compile"
    rows, columns, lanes, tile = size
    try:
        return bytes_on_chip(schedule(known, Shape(rows, columns, lanes, tile=tile)).shape)
    except DovetailError as error:
        return str(error)


def _too_wide(model: Model, columns: int) -> str:
    """Heads are padded to whole words, which the cycles of `dovetail.cost.integer_array` do not count."""
    heads = [spec.mixer.head_dim for spec in model.architecture.layers if isinstance(spec.mixer, AttentionSpec)]
    least = int(min(map(np.min, heads), default=columns))
    return f"heads of {least} channels leave columns idle" if columns > least else ""


def _size(held: IntegerArray) -> tuple[int, ...]:
    return tuple(int(v) for v in (held.rows, held.columns, held.lanes, held.tile))
