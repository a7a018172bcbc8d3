"""A table of measured calls as it lies in a file: columns of raw values, and the line that each row stands in."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require

Array = npt.NDArray[np.float64]
COLLECTOR = {"framework", "kernel_source", "latency"}  # columns by which aiconfigurator's tables are known


@dataclass(frozen=True, slots=True)
class Table:
    """Columns by their simplified name (``Time [us]`` is ``time_us``), all of the same length.

    Parameters
    ----------
    names : mapping
        Simplified names to those in the file, which errors use.
    lines : sequence of int
        Where each row stands in the file, from 1.
    sha256 : str
        Of the file's bytes.
    """

    path: Path
    columns: Mapping[str, Sequence[Any]]
    names: Mapping[str, str]
    lines: Sequence[int]
    sha256: str

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def collected(self) -> bool:
        """Whether aiconfigurator's collector wrote it: its ``latency`` is in ms, its ``power`` in W."""
        return set(self.columns) >= COLLECTOR

    def rows(self, keep: Sequence[int]) -> Table:
        """Some of the rows, by their index."""
        columns = {name: [values[i] for i in keep] for name, values in self.columns.items()}
        return Table(self.path, columns, self.names, [self.lines[i] for i in keep], self.sha256)

    def at(self, row: int, column: str = "") -> str:
        """Where a row stands, for an error."""
        return f"{self.path}, line {self.lines[row]}" + (f", {self.names[column]}" if column else "")

    def text(self, column: str) -> list[str]:
        """A column as text without blanks around it; empty where there is nothing."""
        return ["" if value is None else str(value).strip() for value in self.columns[column]]

    def numbers(self, column: str, *, blank: float | None = None, whole: bool = False, zero: bool = False) -> Array:
        """A column as positive, finite numbers.

        Parameters
        ----------
        blank : float
            What an empty cell is; None refuses it.
        whole : bool
            Refuse fractions.
        zero : bool
            Accept zero.

        Raises
        ------
        DovetailError
            The first cell that is something else, with its line.
        """
        found = _floats(self.columns[column], blank)
        bad = ~(np.isfinite(found) & ((found >= 0) if zero else (found > 0)))
        bad |= whole & (found != np.round(found))
        if blank is not None and np.isnan(blank):
            bad &= np.array([not _empty(value) for value in self.columns[column]], bool)
        if bad.any():
            row = int(np.argmax(bad))
            kind = f"{'whole ' if whole else ''}number {'of zero or more' if zero else 'above zero'}"
            text = self.text(column)[row]
            hint = "a decimal point, and nothing between thousands" if "," in text else ""
            raise DovetailError(
                f"'{text}' is not a {kind}", where=self.at(row, column),
                hint=hint or "correct the cell, or leave the row out",
            )  # fmt: skip
        return found


def simplified(name: str) -> str:
    """A column's name in small letters, with one underscore for anything between its words."""
    return re.sub(r"[^0-9a-zµμ%]+", "_", name.lower()).strip("_")


def read_table(path: Path) -> Table:
    """The table in a CSV (comma, semicolon or tab) or a parquet file.

    Raises
    ------
    DovetailError
        The file cannot be read, has no rows, rows of unequal length, a column twice; pyarrow is missing for parquet.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        hint = "a CSV or a parquet file of measured calls"
        raise DovetailError("cannot read this table", where=str(path), why=why, hint=hint) from None
    names, rows, lines = _parquet(path, data) if data[:4] == b"PAR1" else _csv(path, data)
    if not lines:
        raise DovetailError("the table has no rows", where=str(path), why="nothing under its header", hint=_FORM)
    columns: dict[str, Sequence[Any]] = {}
    for name, values in zip(names, rows, strict=True):
        if (key := simplified(name)) in columns:
            raise DovetailError(f"the column '{name}' is there twice", where=str(path), hint="rename one of them")
        columns[key] = values
    known = {simplified(name): name for name in names}
    return Table(path, columns, known, lines, hashlib.sha256(data).hexdigest())


_FORM = "a header 'dtype,m,n,k,time_us' and one row for each measured call"
Read = tuple[list[str], list[Sequence[Any]], list[int]]


def _csv(path: Path, data: bytes) -> Read:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        why, hint = "it is neither parquet nor UTF-8 text", "save it as CSV in UTF-8"
        raise DovetailError("cannot read this table", where=str(path), why=why, hint=hint) from None
    head = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    names, rows, lines = [name.strip() for name in next(reader, [])], [], []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(names):
            why = f"{len(row)} cells under {len(names)} columns"
            raise DovetailError(
                "this row does not fit the header", where=f"{path}, line {reader.line_num}", why=why, hint=_FORM
            )
        rows.append(row)
        lines.append(reader.line_num)
    return names, list(zip(*rows, strict=True)) or [() for _ in names], lines


def _parquet(path: Path, data: bytes) -> Read:
    parquet = require("pyarrow.parquet", "bench", to="read a parquet table")
    try:
        found = parquet.read_table(io.BytesIO(data)).to_pydict()
    except Exception as error:
        why = str(error).split("\n")[0]
        raise DovetailError("cannot read this table", where=str(path), why=why, hint="save it as CSV") from None
    return list(found), list(found.values()), list(range(1, len(next(iter(found.values()), [])) + 1))


def _empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)


def _floats(values: Sequence[Any], blank: float | None) -> Array:
    """NaN for what is not a number; `blank` for what is empty."""
    try:
        return np.asarray(values, float)
    except (TypeError, ValueError):
        return np.array([_float(value, blank) for value in values], float)


def _float(value: Any, blank: float | None) -> float:
    if _empty(value) or not str(value).strip():
        return np.nan if blank is None else blank
    try:
        return float(str(value).replace("_", "x"))  # 1_000 is no number in a table
    except ValueError:
        return np.nan
