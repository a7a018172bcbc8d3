"""Fit a machine's named constants to measured steps: robust, bounded, in log space, by coordinate search.

Few constants, each with a physical meaning and a range; the loss is the mean absolute log error, so that one disturbed
measurement cannot pull the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.cost import evaluate
from dovetail.cost.traffic import compute_dtype
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Graph


@dataclass(frozen=True, slots=True)
class Observation:
    """Measured steps that share a graph's structure: `graph` holds arrays of shape (steps,), `seconds` their times."""

    graph: Graph
    seconds: np.ndarray
    labels: np.ndarray  # (steps,): the model each step belongs to, left out together when scoring


@dataclass(frozen=True, slots=True)
class Constant:
    """One constant that is fitted: where it stands in a machine, its range, and what it means."""

    name: str
    low: float
    high: float
    unit: str
    meaning: str
    get: Callable[[Machine], float]
    put: Callable[[Machine, float], Machine]


def _efficiency(name: str) -> tuple[Callable[[Machine], float], Callable[[Machine, float], Machine]]:
    return (
        lambda m: float(getattr(m.efficiency, name)),
        lambda m, v: replace(m, efficiency=replace(m.efficiency, **{name: v})),
    )


def _stack(name: str) -> tuple[Callable[[Machine], float], Callable[[Machine, float], Machine]]:
    return lambda m: float(getattr(m.stack, name)), lambda m, v: replace(m, stack=replace(m.stack, **{name: v}))


def _arithmetic(machine: Machine) -> float:
    return float(machine.peak[compute_dtype("fp32", machine)])


def _with_arithmetic(machine: Machine, value: float) -> Machine:
    return replace(machine, peak={**machine.peak, compute_dtype("fp32", machine): value})


def _bandwidth(machine: Machine) -> float:
    return float(machine.memory.bandwidth)


def _with_bandwidth(machine: Machine, value: float) -> Machine:
    return replace(machine, memory=replace(machine.memory, bandwidth=value))


def _cache_bandwidth(machine: Machine) -> float:
    return float(machine.caches[0].bandwidth)


def _with_cache_bandwidth(machine: Machine, value: float) -> Machine:
    return replace(machine, caches=(replace(machine.caches[0], bandwidth=value), *machine.caches[1:]))


CONSTANTS: tuple[Constant, ...] = (
    Constant("arithmetic", 1e8, 1e15, "flop/s", "what large products reach", _arithmetic, _with_arithmetic),
    Constant(
        "attention efficiency", 0.02, 2.0, "", "attention's share relative to products", *_efficiency("attention")
    ),
    Constant("score FLOPs", 0.01, 2000.0, "", "the softmax of one score, in FLOPs", *_efficiency("score_flops")),
    Constant("memory bandwidth", 1e8, 1e14, "byte/s", "what streamed weights reach", _bandwidth, _with_bandwidth),
    Constant("overlap", 0.01, 1.0, "", "1: arithmetic hides memory time; 0: they add up", *_efficiency("overlap")),
    Constant(
        "cache bandwidth", 5e9, 4e12, "byte/s", "of the last-level cache", _cache_bandwidth, _with_cache_bandwidth
    ),
    Constant("launch", 1e-7, 5e-4, "s", "one operator's fixed time in this software", *_stack("launch_s")),
    Constant("step", 1e-6, 2e-2, "s", "one forward pass's fixed time in this software", *_stack("step_s")),
    Constant("KV passes", 1.0, 20.0, "", "times each cached byte moves in a step", *_stack("kv_passes")),
    Constant("weight passes", 1.0, 20.0, "", "times each weight moves when rows are many", *_stack("weight_passes")),
    Constant("pointwise passes", 1.0, 60.0, "", "times a pointwise operand moves", *_stack("pointwise_passes")),
)


def log_errors(machine: Machine, observations: Sequence[Observation]) -> np.ndarray:
    """ln(predicted / measured) of every step, shape (all steps,)."""
    predicted = [
        np.broadcast_to(evaluate(o.graph, machine, detail=False).time_s, o.seconds.shape) for o in observations
    ]
    measured = np.concatenate([o.seconds for o in observations])
    return np.asarray(np.log(np.concatenate(predicted) / measured))


def fit(
    machine: Machine,
    observations: Sequence[Observation],
    *,
    constants: Sequence[Constant] | None = None,
    weights: np.ndarray | None = None,
    factor: float = 2.0,
    sweeps: int = 40,
) -> Machine:
    """`machine` with every constant moved to where the (weighted) mean absolute log error is least.

    Those of `CONSTANTS` are moved, unless others are given.

    Each sweep tries each constant `factor` up and down, which shrinks when a sweep finds nothing. Deterministic.
    """
    constants = constants or [c for c in CONSTANTS if machine.caches or c.name != "cache bandwidth"]

    def loss_of(trial: Machine) -> float:
        return float(np.average(np.abs(log_errors(trial, observations)), weights=weights))

    best, loss = machine, loss_of(machine)
    for _ in range(sweeps):
        improved = False
        for constant in constants:
            for move in (factor, 1.0 / factor):
                value = float(np.clip(constant.get(best) * move, constant.low, constant.high))
                trial = constant.put(best, value)
                found = loss_of(trial)
                if found < loss * (1 - 1e-5):
                    best, loss, improved = trial, found, True
        if not improved:
            factor = factor**0.5
            if factor < 1.02:
                break
    return best


def held_out(
    machine: Machine, observations: Sequence[Observation], constants: Sequence[Constant] | None = None
) -> np.ndarray:
    """Relative errors of every step when its own model was left out of the fit, shape (all steps,).

    Each fit starts from `machine`, which is to be the guess before any fit, so that nothing of the model left out is
    in it.

    Raises `DovetailError` when there is only one model, which leaves nothing to fit.
    """
    labels = np.concatenate([o.labels for o in observations])
    if len(np.unique(labels)) < 2:
        raise DovetailError("only one model was measured", where="held_out", hint="at least two, to leave one out")
    errors = np.empty(labels.shape)
    for label in np.unique(labels):
        weights = (labels != label).astype(float)
        fitted = fit(machine, observations, constants=constants, weights=weights, sweeps=12)
        errors[labels == label] = np.expm1(log_errors(fitted, observations)[labels == label])
    return errors
