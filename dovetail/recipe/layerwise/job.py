"""The folder in which a run over decoder layers keeps what is finished: whose it is, and what may be deleted of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from dovetail.core.errors import USAGE, DovetailError
from dovetail.core.files import check_ours, write_json
from dovetail.core.unfinished import held
from dovetail.recipe.layerwise.calibration import Calibration

Report = Callable[[str], None]
_STATE = "state.json"
_LAYERS = "layer-*.safetensors"
_TRAINED = ("training.safetensors", "recovered.safetensors")  # a training's state, and what it made
_OURS = (_LAYERS, *_TRAINED, "states-*.npy", "rest.safetensors", "*.part", _STATE)  # what a step's folder may hold


@dataclass(frozen=True, slots=True)
class Job:
    """What calibrated methods run on.

    Parameters
    ----------
    folder : Path
        Where finished layers and hidden states are kept until the whole checkpoint is written; a job with the same
        `key` goes on from there.
    key : str
        Hash of all that decides the result.
    """

    folder: Path
    key: str
    calibration: Calibration
    report: Report = lambda line: None

    def part(self, step: int, kind: str = "") -> Job:
        """The job of one run of calibrated methods among several in a recipe; `kind` tells two of a step apart."""
        return replace(self, folder=self.folder / f"step-{step}{kind}")

    def prepare(self) -> None:
        """Make the folder of a step; what a job of another key left there is deleted, and said.

        Raises
        ------
        DovetailError
            The folder holds something that no job wrote.
        """
        known = _key(self.folder / _STATE)
        if known is None:
            check_ours(self.folder, "")
        if known not in (None, self.key):
            self.report("other weights, settings or text than the layers that were finished before: starting anew")
            _empty(self.folder)
        if known != self.key:
            write_json(self.folder / _STATE, {"made_by": "dovetail", "key": self.key})

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder, for this process alone. It stays when the block fails in a way that the same call can go on from.

        Raises
        ------
        DovetailError
            Another process is at work in it, or it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or str(error)
            raise DovetailError("finished layers cannot be kept", where=str(self.folder), why=why) from None
        with held(self.folder) as ours:
            if not ours:
                hint = "wait for it, or give another --out"
                raise DovetailError("another process is at work here", where=str(self.folder), hint=hint)
            try:
                yield
            except DovetailError as error:
                if error.exit_code == USAGE and not isinstance(error.__cause__, OSError):
                    self.remove()  # broken weights, a text too short: it would fail again
                raise
            finally:
                if not any(path for name in (_LAYERS, *_TRAINED) for path in self.folder.glob(f"step-*/{name}")):
                    self.remove()

    def remove(self) -> None:
        """Delete what jobs wrote here, and the folders that this leaves empty."""
        _remove(self.folder)


def remove_finished(folder: Path) -> None:
    """Delete what jobs wrote in a folder, unless another process is at work there."""
    if folder.is_dir():
        with held(folder) as ours:
            if ours:
                _remove(folder)


def _remove(folder: Path) -> None:
    for step in folder.glob("step-*"):
        if _key(step / _STATE) is not None:
            _empty(step)
            _rmdir(step)
    _rmdir(folder)


def layer_file(folder: Path, index: int) -> Path:
    """Where a finished decoder layer is kept."""
    return folder / f"layer-{index}.safetensors"


def _key(state: Path) -> str | None:
    """The key of the job that a folder is of; None where it is of none."""
    try:
        found = json.loads(state.read_text(encoding="utf-8"))
        return str(found["key"]) if found["made_by"] == "dovetail" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _empty(folder: Path) -> None:
    """Delete what a job writes, the state last: until then the folder is known as ours."""
    found = [file for file in folder.iterdir() if any(fnmatchcase(file.name, pattern) for pattern in _OURS)]
    for file in sorted(found, key=lambda file: file.name == _STATE):
        file.unlink(missing_ok=True)


def _rmdir(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
