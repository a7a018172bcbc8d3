"""Write a checkpoint as one GGUF file, tensor by tensor."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.lazy import require
from dovetail.model.config import Config
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.dense import with_matrices
from dovetail.runtime.gguf.architecture import Architecture
from dovetail.runtime.gguf.blocks import Array
from dovetail.runtime.gguf.tensors import Matrix, Source
from dovetail.runtime.gguf.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

_QUANTISATION_VERSION = 2  # of ggml's block formats
_FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "BF16": 32}  # llama_ftype
_HEAD_BYTES = 1 << 20  # beside texts of tokens, for the check of free space


@dataclass(frozen=True, slots=True)
class Written:
    """What is in a GGUF file.

    Parameters
    ----------
    path : Path
    bytes : int
        Payload: elements, scales and minima.
    types : mapping of str to int
        Tensors by GGUF type.
    carried, rerounded : int
        Quantised matrices whose integers were written as they are, and those that were rounded again.
    added_error : float
        Largest relative error (root mean square) that this added to a quantised matrix.
    notes : tuple of str
        What the file cannot say, or says in another way.
    """

    path: Path
    bytes: int
    types: Mapping[str, int]
    carried: int
    rerounded: int
    added_error: float
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Gguf:
    """A checkpoint read as what a GGUF file will hold; nothing is written or converted before it is asked for."""

    source: Source
    architecture: Architecture
    tokenizer: Tokenizer
    tensors: Mapping[str, Matrix]  # by GGUF's names, in the order of the file

    @classmethod
    def of(cls, folder: str | Path) -> Gguf:
        """Read the headers, config and tokenizer of a Hugging Face folder.

        Raises
        ------
        DovetailError
            An architecture, a tokenizer or a form of weights that is not written as GGUF: which, and why.
        """
        checkpoint = Checkpoint.open(folder)
        config = Config(checkpoint.config, str(checkpoint.folder / "config.json"))
        architecture = Architecture.of(config)
        tokenizer = Tokenizer.of(checkpoint.folder, config.whole("vocab_size"), checkpoint.config)
        source = Source.of(checkpoint)
        return cls(source, architecture, tokenizer, dict(_named(source, architecture)))

    @property
    def bytes(self) -> int:
        """Payload of the file."""
        return sum(matrix.bytes for matrix in self.tensors.values())

    def write(self, path: Path, name: str, report: Callable[[str], None] = lambda line: None) -> Written:
        """Write the file; one tensor is in memory at a time.

        Parameters
        ----------
        name : str
            ``general.name``.

        Raises
        ------
        DovetailError
            The disk is too small, before anything is written; weights beyond 16 bits. `OSError` where a write fails:
            the caller removes what is there (`core.files.whole_folder`).
        """
        _check_space(path.parent, self.bytes)
        with _opened(path, self, name) as writer:
            for index, (gguf_name, matrix) in enumerate(self.tensors.items()):
                if index % 32 == 0:
                    report(f"GGUF tensor {index + 1} of {len(self.tensors)}")
                writer.write_tensor_data(self.architecture.ordered(gguf_name, self.source.encoded(matrix)))
            for extra in self.architecture.extra_tensors().values():
                writer.write_tensor_data(extra)
        return self._written(path)

    def values(self) -> Iterator[tuple[str, Array]]:
        """Every tensor under the checkpoint's name with the fp32 numbers that readers of the file will have."""
        for matrix in self.tensors.values():
            yield matrix.name, self.source.values(matrix)

    def dense(self) -> Checkpoint:
        """The checkpoint whose quantised matrices are the fp32 numbers that readers of the file will have."""
        by_name = {matrix.name: matrix for matrix in self.tensors.values()}
        if self.source.stored is None:
            return self.source.checkpoint

        def value(name: str) -> Tensor:
            torch = require("torch", "torch", to="unpack weights")
            found: Tensor = torch.from_numpy(self.source.values(by_name[name]))
            return found

        return with_matrices(self.source.stored, value, lambda name: "F32")

    @property
    def rounds_inputs(self) -> bool:
        """Whether the checkpoint asks for rounded inputs, of which the file says nothing."""
        stored = self.source.stored
        return stored is not None and any(stored.rule(m.name).act for m in self.tensors.values() if m.quantised)

    def _written(self, path: Path) -> Written:
        quantised = [matrix for matrix in self.tensors.values() if matrix.quantised]
        again = [matrix for matrix in quantised if not matrix.choice.carried]
        added = max((e.relative for e in self.source.error.values()), default=0.0)
        notes = [*self.architecture.notes, *self.tokenizer.notes, *self._rounding_notes(again)]
        types = Counter(matrix.choice.type for matrix in self.tensors.values())
        return Written(path, self.bytes, dict(types), len(quantised) - len(again), len(again), added, tuple(notes))

    def _rounding_notes(self, again: list[Matrix]) -> Iterator[str]:
        if again:
            to = ", ".join(sorted({matrix.choice.type for matrix in again}))
            worst = max(again, key=lambda matrix: self.source.error[matrix.name].relative)
            yield (f"{len(again)} matrices fit no type of GGUF and were rounded again, to {to}: up to "
                   f"{self.source.error[worst.name].relative:.2%} of error added ({worst.name})")  # fmt: skip
        if self.rounds_inputs:
            yield "GGUF does not say how inputs are rounded: llama.cpp rounds them by its own kernels"


def _named(source: Source, architecture: Architecture) -> Iterator[tuple[str, Matrix]]:
    for matrix in source.matrices():
        if matrix.name.endswith(".rotary_emb.inv_freq"):  # computed from the config by every reader
            continue
        if (name := architecture.tensor_name(matrix.name)) is None:
            where = str(source.checkpoint.folder)
            why = f"'{architecture.name}' of llama.cpp has no such tensor"
            raise DovetailError(f"no place for '{matrix.name}' in GGUF", where=where, why=why, exit_code=INFEASIBLE)
        if matrix.name == "lm_head.weight" and source.checkpoint.config.get("tie_word_embeddings"):
            continue
        yield name, matrix


@contextmanager
def _opened(path: Path, what: Gguf, name: str) -> Iterator[Any]:
    """A writer that has written all but the tensors' data."""
    gguf = require("gguf", "gguf", to="write GGUF")
    writer = gguf.GGUFWriter(path, what.architecture.name)
    _add_fields(writer, what, name)
    for gguf_name, matrix in what.tensors.items():
        kind = gguf.GGMLQuantizationType[matrix.choice.type]
        writer.add_tensor_info(gguf_name, matrix.shape, np.dtype(np.float32), matrix.bytes, kind)
    for gguf_name, extra in what.architecture.extra_tensors().items():
        writer.add_tensor_info(gguf_name, extra.shape, extra.dtype, extra.nbytes)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        yield writer
        writer.flush()
    finally:
        writer.close()


def _add_fields(writer: Any, what: Gguf, name: str) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_quantization_version(_QUANTISATION_VERSION)
    writer.add_file_type(_FILE_TYPES[_most(what.tensors)])
    for key, value in what.architecture.fields.items():
        _add(writer, f"{what.architecture.name}.{key}", value)
    for key, given in what.tokenizer.fields.items():
        _add(writer, key, given)


def _add(writer: Any, key: str, value: Any) -> None:
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    kinds.get(type(value), writer.add_array)(key, value)


def _most(tensors: Mapping[str, Matrix]) -> str:
    """The type of most elements of the matrices in layers, or of all where there are none."""
    elements: Counter[str] = Counter()
    for name, matrix in tensors.items():
        elements[matrix.choice.type] += int(np.prod(matrix.shape)) * (name.startswith("blk."))
    return elements.most_common(1)[0][0]


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _HEAD_BYTES > free:
        why, hint = f"{needed:,} bytes are needed, {free:,} are free", "free some space or give another --out"
        raise DovetailError("the disk is too small", where=str(folder), why=why, hint=hint, exit_code=INFEASIBLE)
