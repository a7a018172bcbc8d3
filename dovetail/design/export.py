"""Compressed weights in the format the user runs: compressed-tensors, one GGUF file, dense safetensors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.files import write_json, write_text
from dovetail.core.lazy import require
from dovetail.runtime.card import card
from dovetail.runtime.checkpoint import RECORD, WEIGHTS, Checkpoint, record
from dovetail.runtime.dense import dense
from dovetail.runtime.gguf.write import Gguf
from dovetail.runtime.stored import Stored

FOLDER, GGUF, DENSE = "compressed-tensors", "gguf", "safetensors"
FORMATS = (FOLDER, GGUF, DENSE)
_FILE = "model.gguf"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Parameters
    ----------
    file : str
        The file that holds the weights, in the folder.
    bytes : int
        Its payload.
    measured_on : Path
        A Hugging Face folder of weights with the values that were written, to measure their quality on.
    notes : tuple of str
        What the format cannot say, or holds in another way.
    details : mapping
        More about the format, as JSON.
    """

    file: str
    bytes: int
    measured_on: Path
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def check_format(name: str, folder: Path) -> None:
    """Refuse a format before any work is done.

    Raises
    ------
    DovetailError
        An unknown format; a model, a tokenizer or weights that GGUF does not hold; a package that is not installed.
    """
    if name not in FORMATS:
        raise DovetailError(f"unknown format '{name}'", where="--format", hint=did_you_mean(name, list(FORMATS)))
    if name == GGUF:
        require("gguf", "gguf", to="write GGUF")
        Gguf.of(folder)
    elif name == DENSE:
        Stored.required(Checkpoint.open(folder))


@contextmanager
def intermediate(name: str, part: Path) -> Iterator[Path]:
    """Where the recipe writes its folder: `part` itself, or a scratch folder on the same disk."""
    if name == FOLDER:
        yield part
        return
    with tempfile.TemporaryDirectory(prefix=f"{part.name}.", dir=part.parent) as scratch:
        yield Path(scratch) / "applied"


def export(
    applied: Path, out: Path, name: str, model: str, report: Callable[[str], None] = lambda line: None
) -> Exported:
    """Write the compressed folder `applied` to `out` in the format `name`.

    Raises
    ------
    DovetailError
        As `check_format`; a full disk.
    """
    if name == FOLDER:
        return Exported(WEIGHTS, Checkpoint.open(out).payload_bytes, applied)
    return _as_gguf(applied, out, model, report) if name == GGUF else _as_dense(applied, out)


def _as_dense(applied: Path, out: Path) -> Exported:
    source = Checkpoint.open(applied)
    whole, stored = dense(source), Stored.required(source)
    whole.save(out)
    acts = {stored.rule(info).act for info in whole.infos()} - {""} if stored else set()
    notes = tuple(f"inputs are not rounded to {act}: dense weights do not ask for it" for act in sorted(acts))
    _about(applied, out, whole.payload_bytes, DENSE)
    return Exported(WEIGHTS, whole.payload_bytes, out, notes)


def _as_gguf(applied: Path, out: Path, model: str, report: Callable[[str], None]) -> Exported:
    gguf = Gguf.of(applied)
    done = gguf.write(out / _FILE, model, report)
    _about(applied, out, done.bytes, GGUF)
    measured_on = applied
    if done.added_error or gguf.rounds_inputs:  # the file's weights are not quite those of the folder
        measured_on = gguf.dense().save(applied.with_name("values"))
    details = {
        "types": dict(done.types), "carried": done.carried, "rerounded": done.rerounded,
        "added_error": done.added_error,
    }  # fmt: skip
    return Exported(_FILE, done.bytes, measured_on, done.notes, details)


def _about(applied: Path, out: Path, payload: int, name: str) -> None:
    """The record of the recipe's own folder, for the weights as they are now."""
    about = {**(record(applied) or {}), "payload_bytes": payload, "format": name}
    write_json(out / RECORD, about)
    write_text(out / "README.md", card(about))
