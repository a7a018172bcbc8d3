"""The matrices of a quantised checkpoint as floats again, and what is said of its layers' inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Format
from dovetail.core.lazy import require
from dovetail.model.config import Config
from dovetail.model.storage.read import storage_of
from dovetail.model.storage.rules import Rule, Storage
from dovetail.runtime import fp4
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.packed import dequantise, over_blocks, rows_at_once, unpack, unpack_zeros
from dovetail.runtime.tensorfile import read_tensor

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_INPUT = ".input_global_scale"  # what may be stored for the inputs of a module, after its name
# What may be stored for one matrix, after its name; the longer of two endings first
_PARTS = (_INPUT, "_packed", "_global_scale", "_scale", "_zero_point", "_shape")


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint of integers, e4m3 or e2m1 with scales, that this module can turn into floats."""

    checkpoint: Checkpoint
    storage: Storage

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Stored | None:
        """None where nothing is quantised, or in a form that is not read here: scales of whole tensors, inputs with
        fixed scales but for NVFP4's, other libraries' methods.
        """
        found = checkpoint.config.get("quantization_config") or {}
        groups = (found.get("config_groups") or {}).values()
        if found.get("quant_method") != "compressed-tensors" or any(map(_fixed, groups)):
            return None
        config = Config(checkpoint.config, str(checkpoint.folder / "config.json"))
        storage = storage_of(config, config.dtype)
        plain = all(rule.form is None or _read_here(rule.form) for rule in storage.rules)
        return cls(checkpoint, storage) if plain and not storage.unread else None

    @classmethod
    def required(cls, checkpoint: Checkpoint) -> Stored | None:
        """As `of`; None only where nothing is quantised.

        Raises
        ------
        DovetailError
            Weights are quantised in a form that is not read here.
        """
        found = cls.of(checkpoint)
        if found is None and checkpoint.config.get("quantization_config"):
            why = "read are integers, e4m3 and e2m1 of compressed-tensors with scales of groups, rows or blocks"
            raise DovetailError(
                "weights are quantised in another form", where=str(checkpoint.folder), why=why,
                hint="start from the dense checkpoint", exit_code=INFEASIBLE,
            )  # fmt: skip
        return found

    def owner(self, name: str) -> str | None:
        """The quantised matrix that a stored tensor is, or is a part of; None for others."""
        stem = next((name.removesuffix(part) for part in _PARTS if name.endswith(part)), name)
        stem += ".weight" if name.endswith(_INPUT) else ""
        return stem if f"{stem}_scale" in self.checkpoint.stored else None

    def elements(self, matrix: str) -> str:
        """The stored tensor that holds the elements of a quantised matrix."""
        packed = f"{matrix}_packed"
        return packed if packed in self.checkpoint.stored else matrix

    def rule(self, name: str) -> Rule:
        """How the tensor or module of this name is stored."""
        return self.storage.rule(name, 0)

    def dense_tensors(self, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Every tensor as floats of `dtype`, one quantised matrix in memory at a time.

        Raises
        ------
        DovetailError
            A quantised matrix lacks its scales or its shape.
        """
        stored = self.checkpoint.stored
        for name in stored:
            stem = name.removesuffix("_packed")
            if name != stem or f"{name}_scale" in stored:
                yield stem, self.dense(stem, dtype)
            elif not name.endswith(_PARTS):
                yield name, self._plain(name, dtype)

    def plain_tensors(self, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Every tensor that is no part of a quantised matrix, floats as `dtype`."""
        for name in self.checkpoint.stored:
            if not name.endswith(_PARTS) and f"{name}_scale" not in self.checkpoint.stored:
                yield name, self._plain(name, dtype)

    def integers(self) -> list[str]:
        """Names (``….weight``) of the quantised matrices where all are integers; none where one is of floats."""
        stored = self.checkpoint.stored
        names = [name.removesuffix("_scale") for name in stored if name.endswith("_scale")]
        forms = [self.rule(name).form for name in names]
        return names if all(form is not None and form.dtype.startswith("int") for form in forms) else []

    def matrix(self, name: str) -> tuple[Tensor, Tensor, Tensor | None, int]:
        """Integers int8 (rows, cols), scales and zero points (rows, groups), and the bits of one of `integers`.

        Raises
        ------
        DovetailError
            A part of it is not stored.
        """
        form = self.form(name)
        scale, zero = self._part(name, "_scale"), self._part(name, "_zero_point") if form.zeros else None
        if not form.packed:
            return self._part(name, ""), scale, zero, 8
        rows, cols = (int(size) for size in self._part(name, "_shape"))
        zero = None if zero is None else unpack_zeros(zero, form.bits, rows)
        words, at_once = self._part(name, "_packed"), rows_at_once(cols)
        steps = words.new_empty((rows, cols), dtype=require("torch", "torch", to="unpack weights").int8)
        for i in range(0, rows, at_once):
            steps[i : i + at_once] = unpack(words[i : i + at_once], form.bits, cols)
        return steps, scale, zero, form.bits

    def _plain(self, name: str, dtype: torch.dtype) -> Tensor:
        tensor = read_tensor(self.checkpoint.stored[name])
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    def dense(self, name: str, dtype: torch.dtype) -> Tensor:
        """One quantised matrix as floats of `dtype`. Raises `DovetailError` as `dense_tensors`."""
        form = self.form(name)
        if form.dtype in fp4.GROUPS:
            return self._fp4(name, form.dtype).to(dtype)
        scale = self._part(name, "_scale").to(dtype)
        zero = self._part(name, "_zero_point") if form.zeros else None
        if form.block is not None and form.block[0] > 1:
            steps = self._part(name, "").to(dtype)
            return steps * over_blocks(scale, tuple(steps.shape), form.block)
        if not form.packed:
            steps = self._part(name, "")
            return dequantise(steps.to(dtype), scale, zero)
        rows, cols = (int(size) for size in self._part(name, "_shape"))
        if zero is not None:
            zero = unpack_zeros(zero, form.bits, rows)
        words, whole, at_once = self._part(name, "_packed"), scale.new_empty(rows, cols), rows_at_once(cols)
        for i in range(0, rows, at_once):
            part = slice(i, i + at_once)
            steps = unpack(words[part], form.bits, cols)
            whole[part] = dequantise(steps, scale[part], None if zero is None else zero[part])
        return whole

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a quantised matrix. Raises `DovetailError` as `dense_tensors`."""
        form = self.form(name)
        if form.dtype in fp4.GROUPS:
            rows, half = self.checkpoint.stored[f"{name}_packed"].shape
            return rows, 2 * half
        if form.packed:
            rows, cols = (int(size) for size in self._part(name, "_shape"))
        else:
            rows, cols = self.checkpoint.stored[name].shape
        return rows, cols

    def form(self, name: str) -> Format:
        """How a quantised matrix is stored. Raises `DovetailError` where the config does not say."""
        if (form := self.storage.rule(name, 0).form) is None:
            raise DovetailError("is quantised, and the config does not say how", where=name)
        return form

    def _fp4(self, name: str, kind: str) -> Tensor:
        """A matrix of e2m1 in fp32, some rows at a time."""
        torch = require("torch", "torch", to="unpack weights")
        whole = self._part(name, "_global_scale") if kind == "nvfp4" else None
        words, steps = self._part(name, "_packed"), fp4.step(self._part(name, "_scale"), whole)
        pieces = zip(*(torch.split(part, rows_at_once(2 * words.shape[1])) for part in (words, steps)), strict=True)
        found: Tensor = torch.cat([fp4.dequantise(fp4.unpack(two), scale) for two, scale in pieces])
        return found

    def whole_input(self, module: str) -> Tensor | None:
        """The number of the whole tensor of a module's inputs (NVFP4); None where none is stored."""
        info = self.checkpoint.stored.get(module + _INPUT)
        return None if info is None else read_tensor(info)

    def _part(self, name: str, part: str) -> Tensor:
        stored = self.checkpoint.stored
        if name + part not in stored:
            where, why = str(self.checkpoint.folder), f"the matrix '{name}' needs it"
            raise DovetailError(f"no tensor '{name + part}'", where=where, why=why)
        return read_tensor(stored[name + part])


def _read_here(form: Format) -> bool:
    integers = form.packed and form.dtype.startswith("int") and not form.order
    return integers or form.dtype in fp4.GROUPS or (not form.packed and form.block is not None and form.block[0] != 0)


def _fixed(group: dict[str, Any]) -> bool:
    """Whether inputs are rounded in a way that is not known here."""
    inputs, weights = group.get("input_activations"), group.get("weights") or {}
    if not isinstance(inputs, dict):
        return False
    alike = [inputs.get(key) for key in ("num_bits", "group_size")] == [4, 16] and weights.get("num_bits") == 4
    if inputs.get("dynamic") == "local":  # NVFP4
        return not alike
    known = inputs.get("strategy") == "token" or (inputs.get("strategy") == "group" and _grouped(inputs, weights))
    return inputs.get("dynamic") is not True or not known


def _grouped(inputs: dict[str, Any], weights: dict[str, Any]) -> bool:
    """Whether groups of inputs are those of MXFP4, or of e4m3 in blocks."""
    widths = tuple(part.get("num_bits") for part in (inputs, weights)), inputs.get("group_size")
    return widths == ((4, 4), 32) or (widths == ((8, 8), 128) and weights.get("strategy") == "block")
