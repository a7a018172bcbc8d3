"""The columns of a table of calls: what they are called, in which unit, and which operation they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from dovetail.core import units
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.design.calls.table import Array, Table

Aliases = Mapping[str, tuple[str, ...]]
COMMON: Aliases = {
    "operation": ("operation", "op", "op_name"),
    "kernel": ("kernel_source", "kernel"),
}
PRODUCT: Aliases = {
    "m": ("m", "rows", "tokens", "num_tokens"), "n": ("n", "outputs", "out_features"),
    "k": ("k", "inputs", "in_features"),
}  # fmt: skip
PRODUCT_DTYPE: Aliases = {
    "dtype": ("dtype", "gemm_dtype", "precision"), "weight": ("weight", "weight_dtype", "w_dtype"),
    "act": ("act", "act_dtype", "activation", "activation_dtype", "a_dtype"),
}  # fmt: skip
ATTENTION: Aliases = {
    "batch": ("batch", "batch_size", "sequences"), "tokens": ("tokens", "query_tokens", "q_len", "isl"),
    "heads": ("heads", "num_heads", "q_heads"), "kv_heads": ("kv_heads", "num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim", "head_size"),
}  # fmt: skip
ATTENTION_MORE: Aliases = {
    "dtype": ("kv_dtype", "kv_cache_dtype", "dtype", "attn_dtype", "precision"), "past": ("past", "step", "cached"),
    "kv_len": ("kv_len", "context"), "window": ("window", "window_size", "sliding_window"),
    "appends": ("appends", "writes_cache"), "phase": ("phase",),
}  # fmt: skip
OPERATIONS: Mapping[str, Aliases] = {"gemm": PRODUCT, "attention": ATTENTION}
_OPERATION = {
    "gemm": re.compile(r"^(gemm|matmul|mm|linear|product)s?$"),
    "attention": re.compile(r"^(context_|generation_|prefill_|decode_)?(attention|attn|sdpa)$"),
}
TIMES = ("time", "latency", "duration", "elapsed")
_UNITS = {"sec": "s", "seconds": "s", "milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}


def find(table: Table, field: str, aliases: Aliases) -> str:
    """The column of a field, "" where there is none.

    Of several names for dtypes the first counts, because tables give that of the products and that of the cache.

    Raises
    ------
    DovetailError
        Two columns that would be the same field.
    """
    found = [name for name in aliases[field] if name in table.columns]
    if field == "m" and len(found) > 1:  # a table of both operations has attention's tokens beside it
        found = [name for name in found if name != "tokens"]
    if len(found) > 1 and field != "dtype":
        why = f"{' and '.join(table.names[name] for name in found)} both mean {field}"
        raise DovetailError("two columns for the same", where=str(table.path), why=why, hint="remove one of them")
    return found[0] if found else ""


def needed(table: Table, field: str, aliases: Aliases) -> str:
    """The column of a field that must be there. Raises `DovetailError` with the nearest of the file's columns."""
    if name := find(table, field, aliases):
        return name
    near = did_you_mean(field, list(table.names.values()))
    names = " or ".join(aliases[field])
    hint = f"a column {names}" + (f"; {near}" if near.startswith("did") else "")
    why = f"the columns are {', '.join(table.names.values())}"
    raise DovetailError(f"no column for {field}", where=str(table.path), why=why, hint=hint)


def operations(table: Table) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Rows of each operation that is calibrated, and the number of rows of each other one.

    Raises
    ------
    DovetailError
        No row is of such an operation, or the columns are of none.
    """
    if not (name := find(table, "operation", COMMON)):
        return {_by_columns(table): list(range(len(table)))}, {}
    rows: dict[str, list[int]] = {}
    other: dict[str, int] = {}
    known: dict[str, str] = {}
    for row, text in enumerate(table.text(name)):
        if text not in known:
            known[text] = next((o for o, form in _OPERATION.items() if form.match(text.lower())), "")
        if known[text]:
            rows.setdefault(known[text], []).append(row)
        else:
            other[text] = other.get(text, 0) + 1
    if not rows:
        first = next(iter(other))
        hint = did_you_mean(first, ["gemm", "attention"])
        raise DovetailError(f"operation '{first}' is not calibrated from a table", where=table.at(0, name), hint=hint)
    return rows, other


def _by_columns(table: Table) -> str:
    """The operation that most of the columns belong to."""
    there = {operation: sum(bool(find(table, field, aliases)) for field in aliases) / len(aliases)
             for operation, aliases in OPERATIONS.items()}  # fmt: skip
    best = max(there, key=lambda operation: there[operation])
    if there[best] < 0.5:
        why = f"the columns are {', '.join(table.names.values())}"
        hint = "dtype, m, n, k, time_us for products; batch, tokens, past, heads, kv_heads, head_dim, time_us"
        raise DovetailError("neither products nor attention", where=str(table.path), why=why, hint=hint)
    return best


def seconds(table: Table, unit: str) -> Array:
    """Measured times in seconds; the unit is the end of the column's name, or `unit` where it has none.

    Raises
    ------
    DovetailError
        No column, several, no unit, two different ones; a time that is not above zero.
    """
    found = [name for name in table.columns if name.split("_")[0] in TIMES]
    exact = [name for name in found if name in TIMES or _unit(name)]
    if len(exact) != 1:
        named = ", ".join(table.names[name] for name in exact) or ", ".join(table.names.values())
        what = "several columns of times" if exact else "no column of times"
        why = f"{'they' if exact else 'the columns'} are {named}"
        raise DovetailError(what, where=str(table.path), why=why, hint="one column time_us, time_ms or time_s")
    name = exact[0]
    own, where = _unit(name) or ("ms" if table.collected else ""), f"{table.path}, {table.names[name]}"
    if not own and not unit:
        raise DovetailError("times without a unit", where=where, hint="--unit us, or a column named time_us")
    if own and unit and _scale(own, where) != _scale(unit, "--unit"):
        raise DovetailError(f"--unit {unit} against a column in {own}", where=where, hint="leave --unit out")
    return table.numbers(name) * _scale(own or unit, "--unit")


def watts(table: Table) -> Array:
    """Measured power in W, NaN where there is none. Raises `DovetailError` for power below zero."""
    name = next((n for n in ("power_w", "power", "watts") if n in table.columns), "")
    return table.numbers(name, blank=np.nan) if name else np.full(len(table), np.nan)


def _unit(name: str) -> str:
    """The unit at the end of a column's name: ``us`` of ``time_us``."""
    stem, _, end = name.rpartition("_")
    end = _UNITS.get(end, end)
    try:
        return end if stem and units.unit(end)[0] == "s" else ""
    except KeyError:
        return ""


def _scale(unit: str, where: str) -> float:
    try:
        dimension, scale = units.unit(_UNITS.get(unit, unit))
    except KeyError:
        dimension, scale = "", 0.0
    if dimension != "s":
        raise DovetailError(f"'{unit}' is not a unit of time", where=where, hint="us, ms, s or ns")
    return scale
