"""Fitting finds the constants that made the observations, and scores itself on what it did not see."""

from dataclasses import replace

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.cost import evaluate
from dovetail.cost.traffic import compute_dtype
from dovetail.design.fit import CONSTANTS, Observation, fit, held_out, log_errors
from dovetail.design.shapes import Shape, observation
from dovetail.hardware import Efficiency, Machine
from dovetail.model import Model

STEPS = [(1, 64, 0), (1, 512, 0), (8, 512, 0), (1, 1, 64), (1, 1, 2000), (16, 1, 64), (16, 1, 1500)]
SHAPES = [Shape(64, 3, 192, 4, 2), Shape(512, 3, 1536, 8, 4), Shape(2048, 3, 6144, 16, 8)]


@pytest.fixture(scope="module")
def truth(toy: Machine) -> Machine:
    """Every constant away from where the fit starts."""
    efficiency = Efficiency(compute=0.31, memory=0.55, overlap=1.0, attention=0.6)
    return replace(toy, efficiency=efficiency, stack=replace(toy.stack, launch_s=11e-6, step_s=400e-6, kv_passes=2.0))


def observed(truth: Machine, noise: float) -> list[Observation]:
    """The steps of all shapes as one graph, with the times that `truth` predicts, disturbed."""
    rows = [(shape, step, 1.0) for shape in SHAPES for step in STEPS]
    whole, random = observation(rows), np.random.default_rng(3)
    seconds = evaluate(whole.graph, truth, detail=False).time_s
    return [replace(whole, seconds=seconds * np.exp(noise * random.standard_normal(len(rows))))]


def constants(machine: Machine) -> dict[str, float]:
    return {c.name: c.get(machine) for c in CONSTANTS if c.name != "cache bandwidth"}


def reached(machine: Machine) -> list[float]:
    """What a step can tell of a machine: arithmetic and bandwidth with their efficiencies, and the fixed times."""
    efficiency, stack = machine.efficiency, machine.stack
    peak = float(machine.peak[compute_dtype("fp32", machine)])
    bandwidth = float(machine.memory.bandwidth)
    return [peak * efficiency.compute, bandwidth * efficiency.memory, float(stack.launch_s), float(stack.step_s)]


def test_models_of_several_widths_in_one_graph_are_those_models(truth: Machine) -> None:
    (whole,) = observed(truth, 0.0)
    for i, (shape, (batch, tokens, context)) in enumerate((shape, step) for shape in SHAPES for step in STEPS):
        graph = Model.load(shape.config).graph(batch=batch, tokens=tokens, context=context)
        assert whole.seconds[i] == pytest.approx(evaluate(graph, truth).time_s, rel=1e-12)
        assert whole.labels[i] == str(shape)


def test_constants_that_the_steps_determine_are_found_again(toy: Machine, truth: Machine) -> None:
    """To a tenth of an undisturbed measurement, or two deviations of a disturbed one; no constant leaves its range."""
    for noise in (0.0, 0.05):
        observations = observed(truth, noise)
        fitted = fit(toy, observations)
        assert reached(fitted) == pytest.approx(reached(truth), rel=0.1 + 2 * noise)
        found = constants(fitted)
        assert all(c.low <= c.get(fitted) <= c.high for c in CONSTANTS if c.name in found)
        before, after = (np.abs(log_errors(m, observations)).mean() for m in (toy, fitted))
        assert after < 0.3 * before


def test_a_disturbed_measurement_does_not_pull_the_rest(toy: Machine, truth: Machine) -> None:
    observations = observed(truth, 0.0)
    observations[0].seconds[2] *= 50
    errors = np.abs(log_errors(fit(toy, observations), observations))
    assert errors.max() > 3
    assert np.median(errors) < 0.05


def test_a_fit_is_repeatable(toy: Machine, truth: Machine) -> None:
    observations = observed(truth, 0.05)
    assert fit(toy, observations, sweeps=3) == fit(toy, observations, sweeps=3) != toy


def test_the_constants_of_a_machine_with_a_cache_hold_its_bandwidth(truth: Machine) -> None:
    cache = next(c for c in CONSTANTS if c.name == "cache bandwidth")
    level = replace(truth.memory, name="L", capacity=1e6, bandwidth=3e11)
    machine = replace(truth, caches=(level, level))
    assert cache.get(cache.put(machine, 7e11)) == 7e11
    assert cache.put(machine, 7e11).caches[1] == level


def test_held_out_errors_are_of_models_that_the_fit_did_not_see(truth: Machine) -> None:
    """A model whose times were made 3 times longer is missed by just that when the others alone are fitted."""
    (whole,) = observed(truth, 0.0)
    odd = whole.labels == str(SHAPES[2])
    errors = held_out(truth, [replace(whole, seconds=np.where(odd, 3, 1) * whole.seconds)])
    assert errors.shape == odd.shape
    np.testing.assert_allclose(errors[odd], 1 / 3 - 1, atol=0.01)


def test_one_model_cannot_be_held_out(toy: Machine, truth: Machine) -> None:
    (whole,) = observed(truth, 0.0)
    with pytest.raises(DovetailError, match="only one model"):
        held_out(toy, [replace(whole, labels=np.full(whole.labels.shape, "one"))])
