"""A study: the blocks of one search in one SQLite file, safe against kill -9, a second writer and a damaged disk.

Write-ahead logging makes each block one atomic commit, so a killed search loses at most the block it was working on.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dovetail.core.content import digest
from dovetail.core.errors import DovetailError
from dovetail.core.files import write_text
from dovetail.core.lazy import require
from dovetail.search import packing
from dovetail.search.answer import Columns
from dovetail.search.block import Block
from dovetail.search.space import Space, Structure

KEEP_ALL = 1_000_000  # spaces up to this many points keep every row; larger ones the front of each block
_APPLICATION = 0x446F7654  # "DovT": tells a study from another program's database
_VERSION = 2
_WAIT_S = 60.0  # for another writer's lock
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS blocks (
    structure INTEGER, start INTEGER, stop INTEGER, kept BLOB NOT NULL, every BLOB, checksum INTEGER NOT NULL,
    PRIMARY KEY (structure, start, stop));
"""
_STRUCTURED = ("models", "recipes", "machines", "plans", "pipes")
_SELECT = "SELECT kept, every, checksum FROM blocks WHERE structure = ? AND start = ? AND stop = ?"
T = TypeVar("T")


class Study:
    """The store of one search. Use as a context manager, or `close` it.

    Parameters
    ----------
    path : path
        The SQLite file; made when absent. A damaged one is renamed to ``NAME.corrupt-DATE`` and a new one begun;
        `kept_aside` then says where the old one is.

    Raises
    ------
    DovetailError
        Not writable, another program's database, or locked for a minute.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.kept_aside: Path | None = None
        self._space: Space | None = None
        try:
            self._db = self._open()
        except _DamagedError:
            self.kept_aside = _set_aside(self.path)
            self._db = self._open()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; everything put is already on it."""
        self._db.close()

    def open_for(self, space: Space, block: int, fingerprint: str) -> None:
        """Bind the study to a search, or check that it is this one.

        Raises
        ------
        DovetailError
            The study holds another space or block size, or the numbers of another evaluator; says which part differs.
        """
        self._space = space
        parts = _identity(space, block, fingerprint)
        names = {n: getattr(space, n) for n in _STRUCTURED}
        self._run(lambda db: db.executemany(
            "INSERT OR IGNORE INTO about VALUES (?, ?)", [("identity", json.dumps(parts)), ("names", json.dumps(names))]
        ))  # fmt: skip
        source = json.dumps(space.source, default=np.ndarray.tolist)
        self._run(lambda db: db.execute("INSERT OR IGNORE INTO about VALUES ('space', ?)", (source,)))
        held = json.loads(self._about("identity"))
        other = [part for part in {**held, **parts} if held.get(part) != parts.get(part)]
        if other:
            raise DovetailError(
                "this study belongs to another search",
                where=str(self.path),
                why=f"other {', '.join(other)}",
                hint="give another study file, or delete this one to start anew",
            )

    def space(self) -> Space:
        """The space that was searched into it. Raises `DovetailError` when it is empty."""
        return Space.parse(json.loads(self._about("space")), str(self.path), most=2**62)

    def get(self, structure: int, start: int, stop: int) -> Block | None:
        """The block of those rows; None when it is absent or damaged."""
        row = self._run(lambda db: db.execute(_SELECT, (structure, start, stop)).fetchone())
        if row is None or _checksum(row[0], row[1]) != row[2]:
            return None
        return packing.unpack_block(row[0])

    def put(self, block: Block, rows: Columns) -> None:
        """Keep a block, and all its `rows` in a space of up to `KEEP_ALL` points; a block already there is replaced."""
        kept = packing.pack_block(block)
        every = packing.pack(rows) if self._space is not None and self._space.size <= KEEP_ALL else None
        values = (block.structure, block.start, block.stop, kept, every, _checksum(kept, every))
        self._run(lambda db: db.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?)", values))

    @property
    def blocks(self) -> int:
        """Blocks held."""
        return int(self._run(lambda db: db.execute("SELECT count(*) FROM blocks").fetchone())[0])

    def every(self) -> Iterator[Block]:
        """Every sound block held, in the space's order."""
        keys = self._run(lambda db: db.execute("SELECT structure, start, stop FROM blocks ORDER BY 1, 2, 3").fetchall())
        found = (self.get(*key) for key in keys)
        return (block for block in found if block is not None)

    def tables(self) -> Iterator[tuple[Structure, Columns]]:
        """Structure and rows (columns, metrics, `feasible`; each (rows,)) of every block held, in the space's order."""
        names = json.loads(self._about("names"))
        parts = (names.get(n, (0,)) for n in _STRUCTURED)  # studies older than pipelines have no pipes
        structures = [Structure(*each) for each in itertools.product(*parts)]
        keys = self._run(lambda db: db.execute("SELECT structure, start, stop FROM blocks ORDER BY 1, 2, 3").fetchall())
        for key in keys:
            kept, every, _ = self._row(key)
            yield structures[key[0]], packing.unpack(every)[0] if every is not None else packing.front_rows(kept)

    def _row(self, key: tuple[int, int, int]) -> tuple[bytes, bytes | None, int]:
        row: tuple[bytes, bytes | None, int] = self._run(lambda db: db.execute(_SELECT, key).fetchone())
        return row

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write every row held as ``.csv``, ``.parquet`` or ``.json``. Raises `DovetailError` for other endings."""
        target = Path(path)
        if target.suffix not in (".csv", ".json", ".parquet"):
            hint = "a name ending in .csv, .json or .parquet"
            raise DovetailError(f"cannot export to '{target.suffix}'", where=str(target), hint=hint)
        rows = [row for structure, table in self.tables() for row in packing.records(structure, table)]
        if target.suffix == ".parquet":
            return _parquet(rows, target)
        if target.suffix == ".json":
            return write_text(target, json.dumps(rows, indent=1, allow_nan=False) + "\n")
        sink = io.StringIO()
        writer = csv.DictWriter(sink, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return write_text(target, sink.getvalue())

    def _about(self, key: str) -> str:
        row = self._run(lambda db: db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone())
        if row is None:
            raise DovetailError("this study is empty", where=str(self.path), hint="run a search into it first")
        return str(row[0])

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._db)
        except sqlite3.Error as error:
            raise _refused(self.path, error) from error

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise _refused(self.path, error) from error
        try:
            _prepare(db, self.path)
        except BaseException as error:
            db.close()
            if isinstance(error, sqlite3.DatabaseError) and _code(error) in _DAMAGED:
                raise _DamagedError from error
            if isinstance(error, sqlite3.Error):
                raise _refused(self.path, error) from error
            raise
        return db


def _parquet(rows: list[dict[str, Any]], target: Path) -> Path:
    arrow = require("pyarrow", "bench", to="write parquet")
    names = dict.fromkeys(name for row in rows for name in row)
    part = target.with_name(target.name + ".part")
    table = arrow.table({name: [row.get(name) for row in rows] for name in names})
    require("pyarrow.parquet", "bench").write_table(table, part)
    os.replace(part, target)
    return target


class _DamagedError(Exception):
    """The file is not a database, or no longer one."""


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Check that the file is a sound study, or make an empty file one."""
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise _DamagedError
    mark = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and (mark, version) != (_APPLICATION, _VERSION):
        why = f"it has format {version}" if mark == _APPLICATION else "it is another program's database"
        raise DovetailError("this file is not a study", where=str(path), why=why, hint="give another file name")
    _write_ahead(db)
    db.execute("PRAGMA synchronous = NORMAL")
    if not tables:
        marks = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
        db.executescript(f"BEGIN IMMEDIATE; {marks} {_TABLES} COMMIT;")


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to write-ahead logging: wants the file alone for an instant, for which SQLite does not wait by itself."""
    patience = time.monotonic() + _WAIT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            time.sleep(0.01)


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the primary code; the rest is detail


def _checksum(kept: bytes, every: bytes | None) -> int:
    return zlib.crc32(every or b"", zlib.crc32(kept))


def _identity(space: Space, block: int, fingerprint: str) -> dict[str, Any]:
    parts: dict[str, Any] = {
        name: getattr(space, name) for name in ("models", "recipes", "machines", "plans", "free", "made")
    }
    parts |= {"pipes": space.pipes} if space.pipes != (0,) else {}
    parts |= {axis.name: axis.values for axis in space.axes}
    parts |= {name: getattr(space, name) for name in ("constraints", "objectives", "reference")}
    return {name: digest(value) for name, value in parts.items()} | {"block size": block, "evaluator": fingerprint}


def _set_aside(path: Path) -> Path:
    """Rename a damaged file, and SQLite's companions of it, to a name that is free."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (f"{path.name}.corrupt-{stamp}" + (f"-{n}" if n else "") for n in range(1000))
    aside = next(p for p in map(path.with_name, names) if not p.exists())
    for ending in ("", "-wal", "-shm"):
        source = path.with_name(path.name + ending)
        if source.exists():
            os.replace(source, aside.with_name(aside.name + ending))
    return aside


def _refused(path: Path, error: Exception) -> DovetailError:
    hint = "free some space, or give a study file in a folder that can be written; what it holds is safe"
    if isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_BUSY:
        hint = "another program holds it; wait for it or give another file"
    if isinstance(error, sqlite3.Error) and _code(error) in _DAMAGED:
        hint = "run again: the damaged file is then kept aside and a new one begun"
    return DovetailError("could not use the study", where=str(path), why=str(error), hint=hint)
