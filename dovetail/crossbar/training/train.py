"""Train a small classifier for crossbars: what ``dovetail crossbar train`` does."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.files import write_bytes
from dovetail.core.lazy import require
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import Codes, FixedPoint
from dovetail.crossbar.columns import Arrays, SliceStatistics, statistics
from dovetail.crossbar.training.digits import load_digits
from dovetail.crossbar.training.fit import Fit, accuracy
from dovetail.crossbar.training.judge import Slices, converted_accuracy
from dovetail.crossbar.training.nets import NETS, net
from dovetail.crossbar.training.session import bit_slice
from dovetail.hardware.adc import MODELS, adc_model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Asked:
    """What is trained, on what, and how.

    Parameters
    ----------
    name : str
        ``mlp``, ``resnet``, or ``FILE.py:NAME``, a function without arguments that returns a module.
    parts : tuple
        Of the training, as `bit_slice` takes them.
    weights : Path or None
        A state dict to begin with.
    data : Path or None
        A folder with MNIST, see `load_digits`.
    count : int
        Digits to train on.
    adc_bits : tuple of int
        Converters that accuracy is also measured with, of all slices or of each.
    """

    name: str = "mlp"
    parts: tuple[Any, ...] = ()
    fit: Fit = field(default_factory=Fit)
    weights: Path | None = None
    data: Path | None = None
    count: int = 10_000
    adc_bits: tuple[int, ...] = ()
    grid: FixedPoint = field(default_factory=FixedPoint)
    cells: Cells = field(default_factory=Cells)
    arrays: Arrays = field(default_factory=Arrays)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A network whose weights are what its codes stand for, and what is said of it."""

    model: nn.Module
    codes: Mapping[str, Codes]
    found: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write ``codes.npz`` (``NAME`` and ``NAME.step`` of each layer) and ``weights.pt``, a state dict."""
        import io

        torch = require("torch", "torch", to="save weights")
        arrays: dict[str, Any] = {n: c.values.astype(np.int16) for n, c in self.codes.items()}
        arrays |= {f"{n}.step": c.steps for n, c in self.codes.items()}
        for name, write in (("codes.npz", lambda file: np.savez_compressed(file, **arrays)),
                            ("weights.pt", lambda file: torch.save(self.model.state_dict(), file))):  # fmt: skip
            buffer = io.BytesIO()
            write(buffer)
            write_bytes(folder / name, buffer.getvalue())


def train(asked: Asked, report: Callable[[str], None] = lambda line: None) -> Trained:
    """Train a network twice, without and with the parts, and compare.

    Raises
    ------
    DovetailError
        No such network or data, weights that do not fit, a loss that is not finite, bits out of range.
    """
    data = load_digits(asked.data, asked.count)
    pixels = data.train[0].shape[-1]
    report(f"{len(data.train[1]):,} digits of {data.name}, {asked.fit.epochs} epochs, twice")

    def fitted(parts: tuple[Any, ...]) -> tuple[nn.Module, Mapping[str, Codes]]:
        model = _made(asked, pixels)
        how: dict[str, Any] = {"grid": asked.grid, "cells": asked.cells, "arrays": asked.arrays}
        with bit_slice(model, *parts, seed=asked.fit.seed, **how) as training:
            asked.fit.run(model, data.train, training,
                          lambda epoch: report(f"epoch {epoch} of {asked.fit.epochs}"))  # fmt: skip
        return model, training.codes()

    plain, plain_codes = fitted(())
    model, codes = fitted(asked.parts) if asked.parts else (plain, plain_codes)
    bits = asked.adc_bits if len(asked.adc_bits) != 1 else asked.adc_bits[0]
    found = {
        "net": asked.name, "data": data.name, "digits": len(data.train[1]),
        "parameters": sum(p.numel() for p in model.parameters()), "training": [str(part) for part in asked.parts],
        "accuracy": accuracy(model, data.test), "accuracy_validation": accuracy(model, data.validation),
        "accuracy_plain": accuracy(plain, data.test),
        **_slices(codes, asked), "plain": _slices(plain_codes, asked),
        "accuracy_converted": None if not asked.adc_bits else converted_accuracy(
            model, codes, data.test, bits, cells=asked.cells, arrays=asked.arrays),
        "converted_bits": list(asked.adc_bits) or None,
    }  # fmt: skip
    return Trained(model, codes, found)


def _slices(codes: Mapping[str, Codes], asked: Asked) -> dict[str, Any]:
    seen = Slices.of(codes, asked.cells, asked.arrays)
    layers = [statistics(one, asked.cells, asked.arrays) for one in codes.values()]
    return {
        "nonzero_slices": seen.nonzero.tolist(), "adc_bits": seen.bits.tolist(),
        "bitlines_by_bits": seen.conversions.tolist(),
        "adc_energy_saved": {name: saved_energy(layers, name) for name in MODELS},
    }  # fmt: skip


def saved_energy(layers: list[SliceStatistics], model: str, bits: Sequence[int] | None = None) -> float:
    """How many times less conversions take than with 8 bits everywhere, by a model of the converters.

    Each slice of each layer has converters that lose nothing, or of `bits`, one number for each slice, where that is
    less; bitlines without cells are not converted.
    """
    energy, before, after = adc_model(model).energy_j, 0.0, 0.0
    for one in layers:
        widest = one.bits.max(axis=(0, 2, 3))
        widest = (widest if bits is None else np.minimum(widest, np.maximum(bits, 1)))[None, :, None, None]
        before += float(energy(np.full(1, 8)).sum()) * one.bits.size
        after += float(energy(np.where(one.bits > 0, widest, 0)).sum())
    return before / after if after else float("inf")


def _made(asked: Asked, pixels: int) -> nn.Module:
    """The network with the weights that it begins with."""
    torch = require("torch", "torch", to="train")
    model = net(asked.name, pixels, asked.fit.seed) if asked.name in NETS else _from_file(asked.name, asked.fit.seed)
    if asked.weights is not None:
        try:
            model.load_state_dict(torch.load(asked.weights, weights_only=True, map_location="cpu"))
        except Exception as error:
            why = " ".join(str(error).split())[:160]
            hint = "a state dict of the same network, saved by torch.save(model.state_dict(), FILE)"
            raise DovetailError("cannot load weights", where=str(asked.weights), why=why, hint=hint) from error
    return model


def _from_file(name: str, seed: int) -> nn.Module:
    torch = require("torch", "torch", to="train")
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        hint = f"{', '.join(NETS)}, or FILE.py:NAME of a function that returns a module"
        raise DovetailError(f"unknown network '{name}'", where="net", hint=hint)
    spec = importlib.util.spec_from_file_location("dovetail_user_net", path)
    try:
        if spec is None or spec.loader is None:
            raise FileNotFoundError(path)
        module = importlib.util.module_from_spec(spec)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            spec.loader.exec_module(module)
            found = getattr(module, function)()
    except (OSError, AttributeError, TypeError, SyntaxError) as error:
        raise DovetailError("cannot make the network", where=name, why=str(error)[:160]) from error
    if not isinstance(found, torch.nn.Module):
        raise DovetailError("made no torch module", where=name, why=f"it is a {type(found).__name__}")
    made: nn.Module = found
    return made
