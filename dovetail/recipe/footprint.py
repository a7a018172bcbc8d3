"""What applying a recipe takes: the peak of resident memory above that of the imports, and disk; before any work.

Tensors stream through one at a time. Methods without calibration hold one tensor and its roundings; calibrated ones one
decoder layer in fp32, the second moment of the inputs of one matrix with the copies that factorise it, and one batch of
activations; hidden states wait on disk.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.quantity import Quantity
from dovetail.core.units import show
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.load import available_memory
from dovetail.runtime.tensorfile import TensorInfo

_FP32 = 4
_BASE = 100e6  # allocator, thread stacks, headers
_MATRICES = 4  # of the size of a second moment: itself, its permutation, a factor, the next factor
_ROUNDED = 5  # of the size of a matrix in fp32: weights, roundings, a search's error, integers, words
_WIDE = 4  # activations of the widest place of a layer that live together
_FACTOR = 1.25  # the interval, either way
_LAYER = re.compile(r"^(.*?\.\d+)\.")


@dataclass(frozen=True, slots=True)
class Footprint:
    """The peak, by what is there together, and the disk that is used until the result is whole.

    Parameters
    ----------
    parts : tuple of (str, float)
        What the memory at the peak is for, in bytes.
    per_token : float
        Bytes of the peak that one token of a calibration batch more would add.
    batch_tokens : int
        Tokens of a calibration batch; 0 without calibration.
    """

    parts: tuple[tuple[str, float], ...]
    disk: float
    per_token: float = 0.0
    batch_tokens: int = 0

    @classmethod
    def of(cls, recipe: Recipe, checkpoint: Checkpoint, calibration: Calibration) -> Footprint:
        """The footprint of a recipe on a checkpoint, from headers alone."""
        stored = checkpoint.stored
        largest = max(stored.values(), key=lambda info: info.elements)
        matrix = max((info for info in stored.values() if _LAYER.match(info.name)), key=lambda i: i.elements,
                     default=largest)  # fmt: skip
        rounded = matrix.elements * _FP32 * _ROUNDED
        out = float(checkpoint.payload_bytes)
        if not recipe.calibrated:
            held = float(max(largest.bytes, matrix.bytes))
            return cls((("the largest tensor", held), ("rounding a matrix", rounded), ("base", _BASE)), out)
        return cls._calibrated(checkpoint, calibration, rounded, out)

    @classmethod
    def _calibrated(cls, checkpoint: Checkpoint, calibration: Calibration, rounded: float, out: float) -> Footprint:
        layer = _largest_layer(checkpoint.stored)
        hidden = _hidden(checkpoint)
        widest = max((max(info.shape) for info in layer if len(info.shape) == 2), default=hidden)
        inputs = max((info.shape[1] for info in layer if len(info.shape) == 2), default=hidden)
        tokens = calibration.batch_tokens_of(_context(checkpoint))
        weights = float(sum(info.elements for info in layer) * _FP32)
        moments = float(_FP32 * (inputs**2 * _MATRICES))
        states = 2.0 * out_states(calibration, hidden, _context(checkpoint))
        parts = (
            ("a layer in fp32", weights), ("second moments", moments), ("rounding a matrix", rounded),
            ("activations", float(_FP32 * tokens * (_WIDE * widest + 4 * hidden))), ("base", _BASE),
        )  # fmt: skip
        return cls(parts, 2 * out + states, _FP32 * (_WIDE * widest + 4.0 * hidden), tokens)

    @property
    def bytes(self) -> float:
        """The peak."""
        return sum(size for _, size in self.parts)

    def quantity(self) -> Quantity:
        """The peak with its interval."""
        return Quantity(self.bytes, self.bytes / _FACTOR, self.bytes * _FACTOR, "byte", "modelled", self.words())

    def words(self) -> str:
        """What the memory is for."""
        return f"{show(self.bytes, 'byte')} at the peak: " + ", ".join(f"{n} {show(s, 'byte')}" for n, s in self.parts)

    def check(self, free: float | None = None) -> None:
        """Refuse work that memory does not hold.

        Raises
        ------
        DovetailError
            With what would fit (exit code 3).
        """
        free = available_memory() if free is None else free
        if free is None or self.bytes <= free:
            return
        why = f"{self.words()}; {show(free, 'byte')} are free"
        raise DovetailError("does not fit in memory", where="compress", why=why, hint=self._fits(free),
                            exit_code=INFEASIBLE)  # fmt: skip

    def _fits(self, free: float) -> str:
        room = free - (self.bytes - self.per_token * self.batch_tokens)
        if self.batch_tokens and room >= self.per_token:
            return f"--batch-tokens {int(room / self.per_token)}: fewer tokens in a batch"
        return "round-to-nearest, which needs no calibration, or a machine with more memory"

    def check_disk(self, out: Path) -> None:
        """Refuse work whose result does not fit on the disk of `out` (exit code 3)."""
        folder = next(parent for parent in out.absolute().parents if parent.is_dir())
        free = shutil.disk_usage(folder).free
        if self.disk > free:
            why = f"{show(self.disk, 'byte')} until the result is whole, {show(free, 'byte')} are free"
            hint = "free some space or give another --out"
            raise DovetailError("the disk is too small", where=str(folder), why=why, hint=hint, exit_code=INFEASIBLE)


def out_states(calibration: Calibration, hidden: int, context: int) -> float:
    """Bytes of the hidden states of the calibration text."""
    return float(calibration.samples * min(calibration.tokens, context) * hidden * _FP32)


def _largest_layer(stored: Mapping[str, TensorInfo]) -> list[TensorInfo]:
    """The tensors of the decoder layer with the most elements."""
    layers: dict[str, list[TensorInfo]] = defaultdict(list)
    for name, info in stored.items():
        if found := _LAYER.match(name):
            layers[found[1]].append(info)
    return max(layers.values(), key=lambda infos: sum(i.elements for i in infos), default=list(stored.values()))


def _hidden(checkpoint: Checkpoint) -> int:
    config = checkpoint.config.get("text_config") or checkpoint.config
    return int(config.get("hidden_size") or config.get("n_embd") or 1024)


def _context(checkpoint: Checkpoint) -> int:
    config = checkpoint.config.get("text_config") or checkpoint.config
    return int(config.get("max_position_embeddings") or config.get("n_positions") or 2**31)
