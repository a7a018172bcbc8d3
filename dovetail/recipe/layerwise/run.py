"""Apply calibrated methods layer by layer: little memory, and a stop at any moment costs one layer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.recipe.layerwise.decoder import Call, Decoder
from dovetail.recipe.layerwise.job import Job, layer_file
from dovetail.recipe.layerwise.states import States
from dovetail.recipe.layerwise.work import LayerWork
from dovetail.recipe.quantising import stored_dtypes
from dovetail.recipe.targets import graph_of, tensor_names
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.pace import Pace
from dovetail.runtime.tensorfile import TensorInfo, TensorWriter, describe, read_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OnLayer = Callable[[LayerWork], None]


def run_layers(checkpoint: Checkpoint, methods: Sequence[OnLayer], job: Job) -> Checkpoint:
    """The checkpoint whose decoder layers `methods` changed, in order; new tensors lie in the job's folder.

    Raises
    ------
    DovetailError
        A model that cannot be run layer by layer, a text too short, inputs that are not finite, a full disk.
    """
    decoder = Decoder.of(checkpoint)
    job.prepare()
    context = int(getattr(decoder.model.config, "max_position_embeddings", 0) or 2**31)
    batches = job.calibration.batches(checkpoint.folder, context)
    first, calls = decoder.begin(batches)
    count, done = len(decoder.layers), _finished(job.folder)
    if done:
        job.report(f"going on after layer {done} of {count}")
    else:
        States.write(job.folder, 0, first)
    del first  # it holds the embedding
    dtypes = stored_dtypes(checkpoint)
    targets = frozenset(tensor_names(graph_of(checkpoint.config)[0]))
    pace = Pace(count, "layer", job.report, done=done, every_s=0.0)
    for index in range(done, count):
        work = _work(decoder, index, calls[index], targets, job)
        for method in methods:
            method(work)
        _finish(work, dtypes, job.folder)
        del work
        pace.step()
    return _gathered(checkpoint, decoder, job.folder, count)


def _finished(folder: Path) -> int:
    """Layers that are done, and whose successor can begin; 0 where the hidden states are not there."""
    done = 0
    while layer_file(folder, done).is_file():
        done += 1
    return done if States.exist(folder, done) else 0


def _work(decoder: Decoder, index: int, call: Call, targets: frozenset[str], job: Job) -> LayerWork:
    torch = require("torch", "torch", to="calibrate")
    module, prefix = decoder.layer(index), decoder.prefix(index)
    named = ((f"{prefix}{name}.weight", part) for name, part in module.named_modules())
    linears = {name: part for name, part in named if isinstance(part, torch.nn.Linear) and name in targets}
    return LayerWork(index, prefix, module, linears, States.read(job.folder, index), call)


def _finish(work: LayerWork, dtypes: Mapping[str, torch.dtype], folder: Path) -> None:
    """Write the hidden states after the layer, then the layer: the layer's file says that both are there."""
    tensors = work.tensors(dtypes)
    States.write(folder, work.index + 1, map(work.run, work.states))
    infos = {name: describe(name, tensor) for name, tensor in tensors.items()}
    write_tensors(layer_file(folder, work.index), infos, tensors.items())
    work.states.remove()


def write_tensors(path: Path, infos: Mapping[str, TensorInfo], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Tensors as a safetensors file that appears whole or not at all; each is let go of before the next one comes."""
    part = path.with_suffix(".part")
    try:
        with TensorWriter(part, infos) as writer:
            for name, tensor in tensors:
                writer.add(name, tensor)
                del tensor
        os.replace(part, path)
    except OSError as error:
        why, hint = (
            error.strerror or str(error),
            "free some space and start the same command again: it goes on from here",
        )
        raise DovetailError(f"could not write {path.name}", where=str(path.parent), why=why, hint=hint) from error
    finally:
        part.unlink(missing_ok=True)


def _gathered(checkpoint: Checkpoint, decoder: Decoder, folder: Path, count: int) -> Checkpoint:
    """The checkpoint of the changed layers and of all other tensors as its transforms leave them."""
    inside = tuple(decoder.prefix(index) for index in range(count))
    stored = {name: info for name, info in checkpoint.stored.items() if not name.startswith(inside)}
    if checkpoint.transforms:
        rest, others = folder / "rest.safetensors", replace(checkpoint, stored=stored)
        write_tensors(rest, others.infos(), others.tensors())
        stored = read_header(rest)
    for index in range(count):
        stored |= read_header(layer_file(folder, index))
    return replace(checkpoint, stored=stored, transforms=())
