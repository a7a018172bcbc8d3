"""From tables to groups of calls that share one set of constants: one operation, one dtype, one library's kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.design.calls import attended, columns
from dovetail.design.calls.attended import Attended
from dovetail.design.calls.dtypes import Dtype, cache, of_operands, product
from dovetail.design.calls.products import Products
from dovetail.design.calls.table import Table
from dovetail.hardware.chip_facts import chip_facts
from dovetail.hardware.kernels.known import Kernels, nearest
from dovetail.hardware.machine import Machine
from dovetail.model.operators import Attention


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Calls of one operation and dtype: `family` and `entry` say which constants of the machine are theirs.

    `dtype` is what is multiplied: the one of the machine's peaks and energies.
    """

    family: str
    entry: str
    dtype: str
    kernel_source: str
    calls: Products | Attended


@dataclass(frozen=True, slots=True)
class Asked:
    """How to read: the unit of times without one, and the only kernel to take; "" for what the table says itself."""

    unit: str = ""
    kernel_source: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    """What tables hold: groups of calls, and how many rows were left out for which reason."""

    groups: tuple[Group, ...]
    left_out: tuple[tuple[str, int], ...]


def read_groups(tables: Sequence[Table], machine: Machine, asked: Asked) -> Read:
    """Every group of calls in some tables; calls of the same operation and dtype in several tables are one group.

    Raises
    ------
    DovetailError
        A column is missing or has the wrong unit, a cell is no number, a dtype is unknown or the machine lacks it, no
        row has the kernel that was asked for.
    """
    left: Counter[str] = Counter()
    found: dict[tuple[str, str], list[Group]] = {}
    for table in tables:
        rows, other = columns.operations(table)
        left.update({f"operation {name}": count for name, count in other.items()})
        for operation, keep in rows.items():
            read = _products if operation == "gemm" else _attention
            for group in read(_of_kernel(table.rows(keep), asked.kernel_source), machine, asked, left):
                found.setdefault((group.family, group.entry), []).append(group)
    return Read(tuple(_joined(groups) for groups in found.values()), tuple(left.items()))


def _of_kernel(table: Table, asked: str) -> Table:
    """The rows of the kernel that was asked for."""
    if not asked:
        return table
    name = columns.find(table, "kernel", columns.COMMON)
    known = table.text(name) if name else []
    if asked not in known:
        hint = did_you_mean(asked, sorted(set(known))) if name else "leave --kernel-source out"
        raise DovetailError(f"no calls of the kernel '{asked}'", where=str(table.path), hint=hint)
    return table.rows([row for row, kernel in enumerate(known) if kernel == asked])


def _commonest(table: Table, left: Counter[str]) -> tuple[Table, str]:
    """The rows of the commonest kernel, and its name; "" without such a column."""
    if not (name := columns.find(table, "kernel", columns.COMMON)):
        return table, ""
    known = table.text(name)
    common = Counter(known).most_common(1)[0][0]
    if others := len(known) - known.count(common):
        left["another kernel"] += others
        table = table.rows([row for row, kernel in enumerate(known) if kernel == common])
    return table, common


def _by(table: Table, key: Callable[[int], str]) -> dict[str, Table]:
    rows: dict[str, list[int]] = {}
    for row in range(len(table)):
        rows.setdefault(key(row), []).append(row)
    return {name: table.rows(keep) for name, keep in rows.items()}


def _products(table: Table, machine: Machine, asked: Asked, left: Counter[str]) -> Iterator[Group]:
    names = _product_dtypes(table)
    for name, part in _by(table, names.__getitem__).items():
        dtype = product(name, machine, part.at(0))
        part, kernel = _commonest(part, left)
        m, n, k = (part.numbers(columns.needed(part, f, columns.PRODUCT), whole=True) for f in columns.PRODUCT)
        calls = Products(
            m, n, k, columns.seconds(part, asked.unit), columns.watts(part), chip_facts(machine, dtype.peak),
            dtype.widths, _places(part),
        )  # fmt: skip
        yield Group("gemm", _entry(dtype, names, machine), dtype.peak, kernel, calls)


def _product_dtypes(table: Table) -> list[str]:
    """The dtype of each row, from one column or from those of weights and activations."""
    weight, act = (columns.find(table, field, columns.PRODUCT_DTYPE) for field in ("weight", "act"))
    if weight and act:
        pairs = zip(table.text(weight), table.text(act), strict=True)
        return [of_operands(w, a, table.at(row, weight)) for row, (w, a) in enumerate(pairs)]
    return table.text(columns.needed(table, "dtype", columns.PRODUCT_DTYPE))


def _entry(dtype: Dtype, names: Iterable[str], machine: Machine) -> str:
    """The entry of a dtype; half floats are bf16's where the table has no bf16, because their kernels are the same."""
    half = dtype.entry == "fp16" and not {"bf16", "bfloat16"} & {name.lower() for name in names}
    own = machine.kernels is not None and "fp16" in machine.kernels.gemm
    return "bf16" if half and not own else dtype.entry


def _attention(table: Table, machine: Machine, asked: Asked, left: Counter[str]) -> Iterator[Group]:
    if machine.kernels is None:
        what, why = "attention cannot be calibrated here", f"{machine.name} is priced by a roofline"
        raise DovetailError(what, where=str(table.path), why=why, hint="a table of products, or a GPU under vllm")
    names = table.text(columns.needed(table, "dtype", columns.ATTENTION_MORE))
    for name, part in _by(table, names.__getitem__).items():
        dtype = cache(name, machine, part.at(0))
        entry = _entry(dtype, names, machine)
        for calls, kernel in _phases(part, machine, machine.kernels, dtype, asked, left):
            yield Group("attention", entry, dtype.peak, kernel, calls)


def _phases(
    table: Table, machine: Machine, kernels: Kernels, dtype: Dtype, asked: Asked, left: Counter[str]
) -> Iterator[tuple[Attended, str]]:
    """Calls of prefill and of decode, each of its commonest kernel."""
    tokens = table.numbers(columns.needed(table, "tokens", columns.ATTENTION), whole=True)
    for part in _by(table, lambda row: "prefill" if tokens[row] > 1 else "decode").values():
        part, source = _commonest(part, left)
        shapes = _shapes(part)
        calls = Attended(
            shapes, nearest(kernels.attention, dtype.entry)[1].kernel, dtype.widths.activation, _appends(part),
            columns.seconds(part, asked.unit), columns.watts(part), chip_facts(machine, dtype.peak), _places(part),
        )  # fmt: skip
        narrow = np.asarray(shapes.head_dim) <= attended.WIDEST
        if not narrow.all():
            left[f"heads above {attended.WIDEST} channels, which have another kernel"] += int((~narrow).sum())
        if narrow.any():
            yield calls.of(narrow), source


def _shapes(table: Table) -> Attention:
    names = {field: columns.needed(table, field, columns.ATTENTION) for field in columns.ATTENTION}
    column = {field: table.numbers(name, whole=True) for field, name in names.items()}
    more = {field: columns.find(table, field, columns.ATTENTION_MORE) for field in ("past", "kv_len", "window")}
    if bool(more["past"]) == bool(more["kv_len"]):
        why = f"the columns are {', '.join(table.names.values())}"
        hint = "one column past (tokens cached before) or kv_len (those and the call's own)"
        raise DovetailError("how long the cache is is not clear", where=str(table.path), why=why, hint=hint)
    if more["past"]:
        kv_len = column["tokens"] + table.numbers(more["past"], whole=True, zero=True)
    else:
        kv_len = table.numbers(more["kv_len"], whole=True)
        _check(table, more["kv_len"], kv_len >= column["tokens"], "fewer keys than tokens of the call")
    _check(table, names["kv_heads"], column["heads"] % column["kv_heads"] == 0, "heads do not divide over KV heads")
    window = table.numbers(more["window"], whole=True, zero=True, blank=0.0) if more["window"] else 0.0 * kv_len
    return Attention("attention", kv_len=kv_len, window=np.where(window > 0, window, attended.EVERY), **column)  # type: ignore[arg-type]


def _appends(table: Table) -> bool | None:
    """Whether calls write the cache too, all of them; None where the table does not say."""
    if not (name := columns.find(table, "appends", columns.ATTENTION_MORE)):
        return None
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    texts = {text.lower() for text in table.text(name)}
    if len(texts) != 1 or not texts <= set(words):
        why = f"it holds {', '.join(sorted(texts)[:4])}"
        raise DovetailError("appends is one word for all calls", where=table.at(0, name), why=why, hint="yes or no")
    return words[texts.pop()]


def _check(table: Table, column: str, good: np.ndarray, what: str) -> None:
    if not good.all():
        raise DovetailError(what, where=table.at(int(np.argmin(good)), column), hint="correct the row or leave it out")


def _places(table: Table) -> np.ndarray:
    return np.array([table.at(row) for row in range(len(table))])


def _joined(groups: Sequence[Group]) -> Group:
    """Groups of the same constants as one."""
    first, *others = groups
    if not others:
        return first
    sources = ", ".join(dict.fromkeys(group.kernel_source for group in groups if group.kernel_source))
    more: list[Any] = [group.calls for group in others]  # of the same class: the family is the same
    calls = first.calls.with_more(more)
    return replace(first, kernel_source=sources, calls=calls)
