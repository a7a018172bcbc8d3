"""The state of a recovery on disk: what learns, with its moments, and how many steps are done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dovetail.core.errors import DovetailError

if TYPE_CHECKING:
    from dovetail.recipe.recovery.training import Recovery

_PARTS = ("exp_avg", "exp_avg_sq", "step")  # what Adam knows of a parameter


def write_state(path: Path, recovery: Recovery) -> None:
    """Write beside and rename. Raises `DovetailError` for a full disk."""
    tensors = {"done": torch.tensor(recovery.done)}
    for index, parameter in enumerate(recovery.parameters()):
        tensors[f"{index}.value"] = parameter.detach()
        known = recovery.optimiser.state.get(parameter, {})
        tensors |= {f"{index}.{part}": known[part] for part in _PARTS if part in known}
    part = path.with_suffix(".part")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        why = error.strerror or str(error)
        hint = "free some space and start the same command again"
        raise DovetailError(
            "could not keep the training's state", where=str(path.parent), why=why, hint=hint
        ) from error


def read_state(path: Path, recovery: Recovery) -> int:
    """Go on from a state, and say how many steps are done; 0 where there is none."""
    if not path.is_file():
        return 0
    tensors = load_file(path)
    for index, parameter in enumerate(recovery.parameters()):
        parameter.data.copy_(tensors[f"{index}.value"])
        known: dict[str, Any] = {part: tensors[f"{index}.{part}"] for part in _PARTS if f"{index}.{part}" in tensors}
        if known:
            recovery.optimiser.state[parameter] = {**known, "step": _scalar(known["step"])}
    return int(tensors["done"])


def _scalar(value: Tensor) -> Tensor:
    return value.reshape(()).to(torch.float32)
