"""From a quantised checkpoint to the same, recovered: what is loaded, trained and stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.recipe.arithmetic.slices import Price
from dovetail.recipe.layerwise.job import Job
from dovetail.recipe.layerwise.run import write_tensors
from dovetail.recipe.quantising import stored_dtypes
from dovetail.recipe.recovery.coded import coded, coding, real, settle, weigh
from dovetail.recipe.recovery.sensitivity import sensitivities
from dovetail.recipe.recovery.training import Recovery, Schedule
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.load import floats_of, load
from dovetail.runtime.stored import Stored
from dovetail.runtime.tensorfile import describe, read_header

START, STATE, DONE = "rest.safetensors", "training.safetensors", "recovered.safetensors"
_PROBED = 16  # sequences that sensitivities are found on


def recovered(checkpoint: Checkpoint, job: Job, schedule: Schedule, prices: Callable[[int], Price]) -> Checkpoint:
    """The checkpoint with other codes, scales, norms and embedding.

    It learns from the dense model in the checkpoint's folder.

    Parameters
    ----------
    prices : callable
        What codes of some bits cost.

    Raises
    ------
    DovetailError
        Weights that are no integers, a mixture of experts, a text too short, a loss that is not finite, a full disk.
    """
    job.prepare()
    folder = job.folder
    start = _written(checkpoint, folder / START)
    if not (folder / DONE).is_file():
        torch.manual_seed(schedule.seed)
        recovery = _begun(start, job, schedule, prices)
        job.report(f"recovering: {schedule.steps} steps of {schedule.batch} sequences")
        recovery.run(folder / STATE, job.report)
        tensors = _stored(recovery, start)
        write_tensors(folder / DONE, {name: describe(name, t) for name, t in tensors.items()}, tensors.items())
    return replace(start, stored={**start.stored, **read_header(folder / DONE)})


def _written(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """The checkpoint as its transforms leave it, in one file."""
    if not path.is_file():
        write_tensors(path, checkpoint.infos(), checkpoint.tensors())
    return replace(checkpoint, stored=read_header(path), transforms=())


def _begun(start: Checkpoint, job: Job, schedule: Schedule, prices: Callable[[int], Price]) -> Recovery:
    stored = Stored.of(start)
    if stored is None:
        why = "read are integers of compressed-tensors with scales of groups or rows"
        raise DovetailError("nothing to recover", where=str(start.folder), why=why, exit_code=INFEASIBLE)
    teacher, student = load(start.folder).model, floats_of(stored).requires_grad_(False)
    layers = coded(student, stored)
    context = int(getattr(teacher.config, "max_position_embeddings", 0) or 2**31)
    windows = torch.cat(job.calibration.batches(start.folder, context))
    if prices(8).digit:
        batches = torch.split(windows[:_PROBED], schedule.batch)
        for name, sides in sensitivities(student, layers, batches, schedule.seed).items():
            weigh(layers[name], sides, prices)
    else:
        for name, layer in layers.items():
            settle(layer, teacher.get_submodule(name.removesuffix(".weight")).weight)
    return Recovery(student, teacher, layers, windows, schedule)


def _stored(recovery: Recovery, start: Checkpoint) -> dict[str, Tensor]:
    """All tensors that are other ones than before, as they are stored."""
    found: dict[str, Tensor] = {}
    for name, layer in recovery.layers.items():
        found |= coding(layer).stored(name, real(layer).detach())
    dtypes = stored_dtypes(start)
    others = ((name, other.detach()) for name, other in recovery.beside().items() if name in dtypes)
    return found | {name: other.to(dtypes[name]) for name, other in others}
