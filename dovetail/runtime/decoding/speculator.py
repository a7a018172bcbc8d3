"""What is learned about one model to decode it faster: tensors in a folder, bound to the weights they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError
from dovetail.core.files import whole_folder, write_json, write_text
from dovetail.runtime.checkpoint import WEIGHTS, Checkpoint, record
from dovetail.runtime.tensorfile import TensorWriter, describe, read_header, read_tensor

if TYPE_CHECKING:
    from torch import Tensor

ABOUT = "speculator.json"


@dataclass(frozen=True, slots=True)
class Speculator:
    """Heads or a draft layer as stored.

    Parameters
    ----------
    kind : str
        ``medusa`` or ``eagle``.
    base : str
        SHA-256 of the safetensors files of the model it was trained for.
    tensors : mapping of str to Tensor
    about : mapping
        What else is known: shapes, measured accuracies, how it was trained.
    folder : Path or None
        Where it was read from.
    """

    kind: str
    base: str
    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]
    folder: Path | None = None

    @property
    def where(self) -> str:
        """Its folder, for messages."""
        return str(self.folder or f"{self.kind} heads")

    def save(self, out: str | Path, card: str) -> Path:
        """Write a folder that appears whole or not at all; one that dovetail wrote before is replaced."""
        target = Path(out).expanduser()
        with whole_folder(target, ABOUT) as part:
            with TensorWriter(part / WEIGHTS, {name: describe(name, t) for name, t in self.tensors.items()}) as writer:
                for name, tensor in self.tensors.items():
                    writer.add(name, tensor)
            write_json(part / ABOUT, {"kind": self.kind, "base": self.base, **self.about})
            write_text(part / "README.md", card)
        return target

    @classmethod
    def open(cls, folder: str | Path) -> Speculator:
        """Read a folder. Raises `DovetailError` where it is none, or broken."""
        path = Path(folder).expanduser()
        kind, base, about = described(path)
        tensors = {name: read_tensor(info) for name, info in read_header(path / WEIGHTS).items()}
        return cls(kind, base, tensors, about, path)

    def accuracy(self) -> tuple[tuple[float, ...], ...]:
        """How often guesses were right: for each token ahead, by rank. Raises `DovetailError` where it does not say."""
        rows = self.about.get("accuracy")
        if not isinstance(rows, list | tuple) or not rows or not all(map(_are_chances, rows)):
            why = f"accuracy is {rows!r}"[:80]
            hint = "lists of chances from 0 to 1, for each token ahead"
            raise DovetailError("no measured accuracies", where=self.where, why=why, hint=hint)
        if len({len(row) for row in rows}) > 1:
            raise DovetailError("accuracies of unequal ranks", where=self.where, hint="lists that are all as long")
        return tuple(tuple(map(float, row)) for row in rows)

    def check(self, folder: Path) -> None:
        """Raise `DovetailError` for another model than that of the training, or one that a recipe made of it."""
        made = record(folder) or {}
        if self.base not in (sha := Checkpoint.open(folder).sha256(), made.get("base", {}).get("sha256")):
            why = f"trained for weights {self.base[:12]}…, those of {folder} are {sha[:12]}…"
            hint = f"dovetail medusa train {folder} --kind {self.kind} --out DIR"
            raise DovetailError(f"{self.kind} heads of another model", where=self.where, why=why, hint=hint)


def _are_chances(row: Any) -> bool:
    numbers = isinstance(row, list | tuple) and bool(row)
    return numbers and all(type(x) in (int, float) and 0 <= x <= 1 for x in row)


def described(folder: Path) -> tuple[str, str, dict[str, Any]]:
    """Kind, base and all else that a folder says of itself. Raises `DovetailError` where it is no speculator's."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return str(about.pop("kind")), str(about.pop("base")), about
    except FileNotFoundError:
        hint = "a folder that `dovetail medusa train` wrote"
        raise DovetailError(f"no {ABOUT}", where=str(folder), hint=hint) from None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DovetailError("is not a speculator's description", where=str(folder / ABOUT), why=str(error)) from error


def trained(kind: str, given: Path | None, beside: Path, use: str) -> Path:
    """The folder of what was trained: `given`, or that named as the kind beside a model's weights.

    Raises
    ------
    DovetailError
        None is given and none lies there; `use` says how to name one.
    """
    place = given or beside / kind
    if given is None and not (place / ABOUT).is_file():
        hint = f"dovetail medusa train {beside} --kind {kind} --out HEADS, then {use}"
        raise DovetailError(f"no {kind} heads for this model", where=str(place), hint=hint)
    return place
