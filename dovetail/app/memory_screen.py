"""How the memory of an estimate looks in a terminal: what takes it, what fits, what would make room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dovetail.app.describe import not_described
from dovetail.app.output import folded
from dovetail.app.table import table
from dovetail.core.units import show
from dovetail.cost.memory import PARTS, cache_bytes
from dovetail.model.storage.summary import parts

if TYPE_CHECKING:
    from dovetail.design import Estimate
    from dovetail.design.headroom import Headroom
    from dovetail.model.graph import Cache

_WHAT = {
    "weights": "every tensor as stored, scales included",
    "activations": "residual stream and the widest place of a block",
    "workspace": "fp32 logits for sampling",
    "communication": "buffers of the collective library",
    "fragmentation": "rest of the last page of each sequence",
    "staging": "two layers of what streams in from the host",
}


def memory_screen(found: Estimate, room: Headroom) -> None:
    """A row for each part (caches by kind of layer), then what fits."""
    held = found.metrics.memory
    capacity = float(held.capacity)
    rows = []
    for part in PARTS:
        size = float(getattr(held, part))
        if part == "kv_cache":
            rows += [_cache_row(found, cache, capacity) for cache in found.steps.last_graph.caches]
        elif size:
            what = _weights(found) if part == "weights" else _WHAT[part]
            rows.append([part, show(size, "byte"), f"{size / capacity:.1%}", what])
    if float(held.host):
        rows.append(
            [f"{found.plan.offload} on the host", show(float(held.host), "byte"), "", "streams in, not in the total"]
        )
    where = f"on each chip of stage {found.steps.stage + 1}, the fullest" if found.plan.pp > 1 else "on each chip"
    rows.append(["total", show(float(held.total), "byte"), f"{float(held.total) / capacity:.1%}", where])
    table(["memory", "size", "of usable", "what"], rows)
    asked = found.workload
    lengths = f"{float(asked.prefilled):,.0f} + {float(asked.output):,.0f} tokens"
    print(folded(f"fits        batch {room.batch:,} at {lengths}; {_context(room)} at batch {float(asked.batch):g}"))
    for change in room.changes:
        print(folded(f"to fit      {change}"))


def _weights(found: Estimate) -> str:
    """In what formats weights are held, with their scales; or that the checkpoint's form is not known."""
    if found.model.storage.unread:
        return "stored " + not_described(found.model)
    graph = found.steps.last_graph
    if not any(w.format.quantised for w, _ in graph.weights()):
        return _WHAT["weights"]
    if found.machine.stack.unpacks and not found.machine.stack.packed_weights:
        return "every tensor, those of narrower formats unpacked at load"
    return "; ".join(
        f"{part.form.name} {show(part.bytes, 'byte')}"
        + (f" with {show(part.scale_bytes, 'byte')} of scales" if part.scale_bytes else "")
        for part in parts(graph)
    )


def _context(room: Headroom) -> str:
    whole = " (the model's longest)" if room.context == room.limit else ""
    return f"context {room.context:,}{whole}" if room.context else "no context"


def _cache_row(found: Estimate, cache: Cache, capacity: float) -> list[str]:
    size = float(cache_bytes(cache, found.machine))
    length = float(np.max(np.asarray(cache.length)))
    rows = "one state" if not cache.grows else f"{length:,.0f} tokens"
    rows += f" in rows of {cache.rate}" if cache.rate > 1 else ""
    window = f", window {cache.window:,}" if cache.window else ""
    values = cache.head_dim if cache.value_dim is None else cache.value_dim
    shape = f"{float(cache.kv_heads):g} x ({float(cache.head_dim):g} + {float(values):g})"
    count = len(cache.layers)
    what = f"{count} layer{'s' if count > 1 else ''}, {rows}{window}, {shape} {cache.stored}"
    return [f"{cache.kind} cache", show(size, "byte"), f"{size / capacity:.1%}", what]
