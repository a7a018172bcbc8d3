"""The packed half of `calibrate --host`: products with packed weights, alone and in random Llamas, and their constants.

Products alone tell what unpacking and multiplying cost, models what is fixed for each operator and how packed weights
stream. Everything else of a step (attention, the cache, the step itself) keeps the constants of dense models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.formats import packed_int
from dovetail.core.lazy import require
from dovetail.design.fit import Constant, Observation, fit, held_out
from dovetail.design.shapes import Shape, Step, clock, observations, random_model, time_of
from dovetail.hardware.machine import Machine
from dovetail.hardware.packed import KERNELS, Packed
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear, Weight
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.kernels.library import VARIANTS, Missing, find, library
from dovetail.runtime.timing import repeat

if TYPE_CHECKING:
    from torch import nn

SHAPES = (Shape(192, 5, 512, 6, 6), Shape(512, 2, 1408, 8, 4, 8192), Shape(1024, 5, 2816, 16, 8, 8192))
STEPS: tuple[Step, ...] = ((1, 1, 64), (8, 1, 64), (24, 1, 64), (1, 96, 0))
SIZES = ((2048, 768), (768, 2048), (8192, 1024))  # rows and columns of products alone
ROWS = (1, 2, 8, 24, 64, 128)
_GROUPS = {8: 32, 4: 64}
_IN_MODELS = ("int8", "int4", "int8-int8")
_ROWS_OF_PASS = {"avx512": 8.0}  # kMostTokens of lanes.h


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to time with a budget of seconds: a step of a model, or a product alone."""

    kernel: str
    seconds_of: Callable[[float], float]
    step: tuple[Shape, Step] | None = None
    product: tuple[int, int, int] | None = None  # rows of activations, outputs, inputs


def subjects() -> list[Subject]:
    """Every product and step that is timed; none where there are no kernels here."""
    if isinstance(find(), Missing):
        return []
    alone = [_product(kernel, rows, *size) for kernel in KERNELS for size in SIZES for rows in ROWS]
    return alone + [subject for kernel in _IN_MODELS for shape in SHAPES for subject in _steps(kernel, shape)]


def _bits(kernel: str) -> int:
    return 4 if kernel.startswith("int4") else 8


def _arithmetic(kernel: str) -> str:
    return "int8-token" if kernel.endswith("-int8") else "exact"


def _steps(kernel: str, shape: Shape) -> list[Subject]:
    from dovetail.runtime.kernels.model import pack_linears

    loaded = random_model(shape)
    pack_linears(loaded.model, _bits(kernel), _GROUPS[_bits(kernel)], _arithmetic(kernel))
    return [Subject(kernel, partial(time_of, loaded, step), (shape, step)) for step in STEPS]


def _product(kernel: str, rows: int, outputs: int, inputs: int) -> Subject:
    torch = require("torch", "torch", to="calibrate this computer")
    layer, x = _layer(kernel, outputs, inputs), torch.randn(rows, inputs)

    def seconds_of(budget_s: float) -> float:
        with torch.inference_mode():
            return repeat(lambda: layer(x), budget_s, least=5, clock=clock()).median_s

    return Subject(kernel, seconds_of, product=(rows, outputs, inputs))


def call_s() -> float:
    """What calling a kernel costs: the time of a product that is nearly none."""
    return _product("int8", 1, 16, 32).seconds_of(0.02)


def _layer(kernel: str, outputs: int, inputs: int) -> nn.Module:
    torch = require("torch", "torch", to="calibrate this computer")
    from dovetail.runtime.kernels.linear import PackedLinear

    bits = _bits(kernel)
    steps = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (outputs, inputs), dtype=torch.int8)
    group = _GROUPS[bits]
    return PackedLinear(steps, torch.rand(outputs, inputs // group), bits, group, arithmetic=_arithmetic(kernel))


def rows_of_pass() -> float:
    """Rows of activations that one pass over the weights serves here."""
    return _ROWS_OF_PASS.get(VARIANTS[library().variant()], 4.0)


def recipe_of(kernel: str) -> Recipe:
    """The recipe whose graph a packed random model is."""
    bits = _bits(kernel)
    rtn = {"bits": bits, "group": _GROUPS[bits], "act_bits": 8 if kernel.endswith("-int8") else 16}
    return Recipe.load([{"rtn": rtn}, {"head": {"bits": bits, "group": _GROUPS[bits]}}])


@dataclass(frozen=True, slots=True)
class Observed:
    """Of one kernel: products alone, and steps of models."""

    alone: Observation
    models: list[Observation]


def packed_observations(found: Sequence[tuple[Subject, float]]) -> dict[str, Observed]:
    """What was measured, by kernel."""
    made: dict[str, Observed] = {}
    for kernel in KERNELS:
        own = [(subject, seconds) for subject, seconds in found if subject.kernel == kernel]
        alone = [(subject.product, seconds) for subject, seconds in own if subject.product]
        rows = [(*subject.step, seconds) for subject, seconds in own if subject.step]
        made[kernel] = Observed(_observed(kernel, alone), observations(rows, recipe_of(kernel)) if rows else [])
    return made


def _observed(kernel: str, rows: Sequence[tuple[tuple[int, int, int], float]]) -> Observation:
    """Products alone as one graph of one operator."""
    m, n, k = (np.array([row[i] for row, _ in rows], dtype=float) for i in range(3))
    bits = _bits(kernel)
    weight = Weight("w", n, k, packed_int(bits, _GROUPS[bits]))
    act, otherwise = ("int8", "fp32") if kernel.endswith("-int8") else ("fp32", "")
    product = Linear("product", weights=(weight,), m=m, n=n, k=k, act=act, otherwise=otherwise)
    graph = Graph((product,), (), m, 1, 0, k)
    return Observation(graph, np.array([seconds for _, seconds in rows]), np.array([f"{a:.0f}" for a in n * k]))


def fit_packed(machine: Machine, found: Mapping[str, Observed], call_s: float) -> Machine:
    """The machine with the constants of its kernels fitted: each kernel's to products alone, the rest to models.

    Parameters
    ----------
    call_s : float
        What calling a kernel costs beside the product.
    """
    bare = replace(machine, stack=replace(machine.stack, step_s=0.0))
    bare = _with(bare, "launch_s", call_s)
    for kernel, observed in found.items():
        bare = fit(bare, [observed.alone], constants=_of_kernel(kernel))
    fitted = _with(machine, "products", _packed(bare).products)
    return fit(fitted, _models(found), constants=SHARED)


def errors_of(machine: Machine, fitted: Machine, found: Mapping[str, Observed]) -> np.ndarray:
    """Relative errors of all steps of packed models, each of a fit without its own model that starts from `machine`.

    The constants of the products are those of `fitted`: they were fitted to products alone.
    """
    return held_out(_with(machine, "products", _packed(fitted).products), _models(found), SHARED)


def _models(found: Mapping[str, Observed]) -> list[Observation]:
    return [each for observed in found.values() for each in observed.models]


def _packed(machine: Machine) -> Packed:
    if machine.packed is None:
        raise DovetailError("no kernels for packed weights", where=machine.name)
    return machine.packed


def _with(machine: Machine, field: str, value: Any) -> Machine:
    changed: dict[str, Any] = {field: value}
    return replace(machine, packed=replace(_packed(machine), **changed))


def _shared(field: str) -> tuple[Callable[[Machine], float], Callable[[Machine, float], Machine]]:
    return lambda m: float(getattr(_packed(m), field)), lambda m, v: _with(m, field, v)


def _of_product(kernel: str, field: str) -> tuple[Callable[[Machine], float], Callable[[Machine, float], Machine]]:
    def get(machine: Machine) -> float:
        return float(getattr(_packed(machine).products[kernel], field))

    def put(machine: Machine, value: float) -> Machine:
        known, changed = _packed(machine).products, {field: value}
        return _with(machine, "products", {**known, kernel: replace(known[kernel], **changed)})

    return get, put


def _of_kernel(kernel: str) -> tuple[Constant, ...]:
    weight, peak = _of_product(kernel, "weight_s"), _of_product(kernel, "peak")
    return (
        Constant(f"{kernel} weight", 1e-15, 1e-8, "s", "to unpack one weight, for each pass over them", *weight),
        Constant(f"{kernel} arithmetic", 1e8, 1e15, "flop/s", "products with unpacked weights", *peak),
    )


SHARED = (
    Constant("packed launch", 1e-7, 5e-4, "s", "one operator's fixed time, weights packed", *_shared("launch_s")),
    Constant("packed bandwidth", 1e8, 1e14, "byte/s", "what streamed packed weights reach", *_shared("bandwidth")),
)
CONSTANTS = (*SHARED, *(constant for kernel in KERNELS for constant in _of_kernel(kernel)))
