"""A program that `torch.export.save` wrote, as a typed graph."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dovetail.accel.frontend.read import read_program
from dovetail.accel.frontend.trace import kind, place
from dovetail.accel.graph import Graph
from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require

SUFFIX = ".pt2"
SAVE = "torch.export.save(torch.export.export(module.eval(), (example,)), 'net.pt2')"
OPEN_BATCH = 2  # inputs at once where a program leaves their number open: export reads 0 and 1 as constants


@dataclass(frozen=True, slots=True)
class Saved:
    """A program out of a file.

    Parameters
    ----------
    program : torch.export.ExportedProgram
    sizes : tuple of int
        Of one input: (features,) or (channels, height, width).
    batch : int
        Inputs that the program takes at once; 0 where it leaves that open.
    """

    program: Any
    sizes: tuple[int, ...]
    batch: int

    def run(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Results (inputs, channels) in fp32 for inputs (inputs, *sizes), as torch computes them."""
        torch, module = require("torch", "torch", to="run a program"), self.program.module()
        size = self.batch or max(OPEN_BATCH, min(len(inputs), 256))
        found = []
        with torch.no_grad():
            for first in range(0, len(inputs), size):
                part = inputs[first : first + size]
                rows = np.concatenate([part, np.zeros((size - len(part), *self.sizes), np.float32)])
                made = module(torch.from_numpy(rows))
                made = made[0] if isinstance(made, tuple) else made
                found.append(made.double().numpy().reshape(size, -1)[: len(part)])
        return np.concatenate(found)

    def graph(self, name: str) -> Graph:
        """The program as a typed graph. Raises `DovetailError` for an operator outside the set."""
        torch = require("torch", "torch", to="read a program")
        generator = torch.Generator().manual_seed(0)
        example = torch.randn(self.batch or OPEN_BATCH, *self.sizes, generator=generator)
        return read_program(self.program, example, name)


def load_saved(path: Path) -> Saved:
    """Read a ``.pt2`` file.

    Raises
    ------
    DovetailError
        No such file, a file of another kind, a program of several inputs or in training mode, inputs that are neither
        vectors nor maps of real numbers.
    """
    if path.suffix != SUFFIX:
        why = "inputs go with a network that torch.export.save wrote"
        raise DovetailError("this is not a .pt2 file", where=str(path), why=why, hint=SAVE)
    if not path.is_file():
        raise DovetailError("no such file", where=str(path), hint=SAVE)
    if not _archive(path):
        raise DovetailError("this is not a .pt2 file", where=str(path), why="no archive of torch.export", hint=SAVE)
    torch = require("torch", "torch", to="read a .pt2 file")
    try:
        program = torch.export.load(path)
    except Exception as error:  # of many types: a torch that is older than the file, a file that is cut
        why = str(error).strip().partition("\n")[0][:200]
        raise DovetailError("torch cannot load this program", where=str(path), why=why, hint=SAVE) from error
    _check_mode(program, path)
    return Saved(program, *_sizes(program, path))


def _archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            marks = [each for each in archive.namelist() if each.rpartition("/")[2] == "archive_format"]
            return bool(marks) and archive.read(marks[0]) == b"pt2"
    except (zipfile.BadZipFile, OSError):
        return False


def _check_mode(program: Any, path: Path) -> None:
    """Dropout that drops and batch norms that learn are of training."""
    at = {"aten.dropout.default": 2, "aten.feature_dropout.default": 2, "aten.batch_norm.default": 5}
    for node in program.graph.nodes:
        index = at.get(kind(node), -1)
        if index >= 0 and node.args[index] is True:
            why = f"'{kind(node)}' in {place(node)} is as in training"
            raise DovetailError("the program was exported in training mode", where=str(path), why=why, hint=SAVE)


def _sizes(program: Any, path: Path) -> tuple[tuple[int, ...], int]:
    signature = program.graph_signature
    values = [node.meta["val"] for node in program.graph.nodes if node.name in signature.user_inputs]
    shapes = ["x".join(map(str, value.shape)) for value in values if hasattr(value, "shape")]
    if len(values) != 1 or len(shapes) != 1 or len(signature.user_outputs) != 1:
        why = f"{len(signature.user_inputs)} inputs and {len(signature.user_outputs)} results"
        hint = "a module of one tensor in, one tensor out"
        raise DovetailError("not a program of one input and one result", where=str(path), why=why, hint=hint)
    batch, *sizes = values[0].shape or (1,)
    fixed = all(isinstance(each, int) for each in sizes)
    if len(sizes) not in (1, 3) or not values[0].dtype.is_floating_point or not fixed:
        why = f"it takes {shapes[0]} of {values[0].dtype}".replace("torch.", "")
        hint = "(inputs, features) or (inputs, channels, height, width) of real numbers, only the first of them open"
        raise DovetailError("the input is neither vectors nor maps", where=str(path), why=why, hint=hint)
    return tuple(sizes), batch if isinstance(batch, int) else 0
