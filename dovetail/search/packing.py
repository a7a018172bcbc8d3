"""Blocks and tables as bytes: a line of JSON, then every array compressed together; read back to the last bit."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from dovetail.search.answer import Columns, Label
from dovetail.search.block import Block, Miss
from dovetail.search.space import Structure

_INDEX, _COSTS = "#index", "#costs"  # no metric starts with #


def pack(table: Columns, head: Mapping[str, Any] | None = None) -> bytes:
    """Arrays by name as bytes, with a JSON head of their own."""
    arrays = {name: np.ascontiguousarray(values) for name, values in table.items()}
    layout = [[name, values.dtype.str, values.shape] for name, values in arrays.items()]
    text = json.dumps({"arrays": layout, "head": head or {}}).encode()
    return text + b"\n" + zlib.compress(b"".join(values.tobytes() for values in arrays.values()), 1)


def unpack(data: bytes) -> tuple[Columns, dict[str, Any]]:
    """The arrays and the head that `pack` was given."""
    text, _, packed = data.partition(b"\n")
    about, raw, place = json.loads(text), zlib.decompress(packed), 0
    table: Columns = {}
    for name, dtype, shape in about["arrays"]:
        count = math.prod(shape)
        table[name] = np.frombuffer(raw, np.dtype(dtype), count, place).reshape(shape)
        place += table[name].nbytes
    return table, about["head"]


def pack_block(block: Block) -> bytes:
    """A block as bytes."""
    head = {
        "place": [block.structure, block.start, block.stop],
        "feasible": block.feasible, "evaluated": block.evaluated, "pruned": dict(block.pruned),
        "infeasible": dict(block.infeasible),
        "miss": asdict(block.miss) if block.miss else None,
        "breaches": [list(pair) for pair in block.breaches.items()],
        "kinds": dict(block.label.kinds), "source": block.label.source,
    }  # fmt: skip
    return pack({_INDEX: block.index, _COSTS: block.costs, **block.rows}, head)


def unpack_block(data: bytes) -> Block:
    """The block that `pack_block` was given."""
    rows, head = unpack(data)
    index, costs = rows.pop(_INDEX), rows.pop(_COSTS)
    miss = Miss(**head["miss"]) if head["miss"] else None
    label = Label(head["kinds"], head["source"])
    structure, start, stop = head["place"]
    breaches = dict(head["breaches"])
    return Block(
        structure, start, stop, head["feasible"], head["infeasible"], index, costs, rows, miss, label, breaches,
        head["evaluated"], head["pruned"],
    )  # fmt: skip


def front_rows(data: bytes) -> Columns:
    """The rows of a packed block's front, with their `feasible` column."""
    block = unpack_block(data)
    count = len(block.index)
    return {name: values[:count] for name, values in block.rows.items()} | {"feasible": np.ones(count, bool)}


def records(structure: Structure, table: Columns) -> Iterator[dict[str, Any]]:
    """The rows of a table one by one, as JSON has them: NaN and infinity are null."""
    names, columns = list(table), [values.tolist() for values in table.values()]
    start: dict[str, Any] = {"model": structure.model, "recipe": structure.recipe, "machine": structure.machine}
    start |= ({"tp": structure.tp} if structure.tp else {}) | ({"pp": structure.pp} if structure.pp else {})
    for row in zip(*columns):
        yield start | {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in zip(names, row)}
