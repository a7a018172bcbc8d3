"""Blocks and tables as bytes: compressed NumPy archives, read back to the last bit and never unpickled."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from dovetail.search.answer import Columns, Label
from dovetail.search.block import Block, Miss
from dovetail.search.space import Structure

_COLUMN = "column:"  # keeps metric names apart from the block's own arrays


def pack(table: Columns) -> bytes:
    """A table of columns as bytes."""
    sink = io.BytesIO()
    np.savez_compressed(sink, **{_COLUMN + name: values for name, values in table.items()})  # type: ignore[arg-type]
    return sink.getvalue()


def unpack(data: bytes) -> Columns:
    """The table that `pack` was given."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name.removeprefix(_COLUMN): archive[name] for name in archive.files if name.startswith(_COLUMN)}


def pack_block(block: Block) -> bytes:
    """A block as bytes: a JSON head, a newline, and its arrays."""
    head = {
        "place": [block.structure, block.start, block.stop],
        "feasible": block.feasible, "infeasible": dict(block.infeasible),
        "miss": asdict(block.miss) if block.miss else None,
        "kinds": dict(block.label.kinds), "source": block.label.source,
    }  # fmt: skip
    sink = io.BytesIO()
    columns: dict[str, Any] = {_COLUMN + name: values for name, values in block.rows.items()}
    np.savez_compressed(sink, index=block.index, costs=block.costs, **columns)
    return json.dumps(head).encode() + b"\n" + sink.getvalue()


def unpack_block(data: bytes) -> Block:
    """The block that `pack_block` was given."""
    text, _, arrays = data.partition(b"\n")
    head = json.loads(text)
    with np.load(io.BytesIO(arrays), allow_pickle=False) as archive:
        index, costs = archive["index"], archive["costs"]
    miss = Miss(**head["miss"]) if head["miss"] else None
    structure, start, stop = head["place"]
    return Block(
        structure, start, stop, head["feasible"], head["infeasible"], index, costs, unpack(arrays), miss,
        Label(head["kinds"], head["source"]),
    )  # fmt: skip


def front_rows(data: bytes) -> Columns:
    """The rows of a packed block's front, with their `feasible` column."""
    block = unpack_block(data)
    count = len(block.index)
    return {name: values[:count] for name, values in block.rows.items()} | {"feasible": np.ones(count, bool)}


def records(structure: Structure, table: Columns) -> Iterator[dict[str, Any]]:
    """The rows of a table one by one, as JSON has them: NaN and infinity are null."""
    names, columns = list(table), [values.tolist() for values in table.values()]
    start = {"model": structure.model, "recipe": structure.recipe, "machine": structure.machine}
    for row in zip(*columns):
        yield start | {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in zip(names, row)}
