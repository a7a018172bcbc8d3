"""The constants of packed products are found again from times that they made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.cost import evaluate
from dovetail.design import calibrate_packed as part
from dovetail.design.calibrate_packed import Observed, Subject, fit_packed, packed_observations
from dovetail.design.fit import Observation
from dovetail.design.measure import as_run
from dovetail.hardware import Machine
from dovetail.hardware.host import host_machine
from dovetail.hardware.packed import KERNELS, Packed, PackedProduct

CALL = 2e-6
TRUTH = Packed(
    launch_s=9e-6, rows=8.0, bandwidth=1.5e10,
    products={name: PackedProduct((5 + i) * 1e-12, (2 + i) * 1e11) for i, name in enumerate(KERNELS)},
)  # fmt: skip


def timed_as(observation: Observation, machine: Machine) -> Observation:
    seconds = np.asarray(evaluate(observation.graph, machine, detail=False).time_s)
    noise = np.exp(0.03 * np.random.default_rng(1).standard_normal(seconds.shape))
    return replace(observation, seconds=seconds * noise)


@pytest.fixture(scope="module")
def start() -> Machine:
    machine = host_machine()
    assert machine.packed is not None
    return replace(machine, packed=replace(machine.packed, rows=8.0))


@pytest.fixture(scope="module")
def found(start: Machine) -> dict[str, Observed]:
    """Every product and step that a calibration times, with the times of `TRUTH`, disturbed by 3 %."""
    alone = [Subject(kernel, float, product=(m, *size)) for kernel in KERNELS for size in part.SIZES for m in part.ROWS]
    steps = [Subject(kernel, float, step=(shape, step)) for kernel in ("int8", "int4", "int8-int8")
             for shape in part.SHAPES for step in part.STEPS]  # fmt: skip
    observed = packed_observations([(subject, 1.0) for subject in alone + steps])
    whole = replace(start, packed=TRUTH)
    bare = replace(whole, packed=replace(TRUTH, launch_s=CALL), stack=replace(start.stack, step_s=0.0))
    return {
        kernel: Observed(timed_as(each.alone, bare), [timed_as(model, whole) for model in each.models])
        for kernel, each in observed.items()
    }


def test_constants_are_found_again(start: Machine, found: dict[str, Observed]) -> None:
    fitted = fit_packed(start, found, CALL)
    assert fitted.packed is not None
    assert fitted.packed.bandwidth == pytest.approx(TRUTH.bandwidth, rel=0.15)
    assert fitted.packed.launch_s == pytest.approx(TRUTH.launch_s, rel=0.25)
    for kernel in KERNELS:
        assert fitted.packed.products[kernel].peak == pytest.approx(TRUTH.products[kernel].peak, rel=0.1)
        assert fitted.packed.products[kernel].weight_s == pytest.approx(TRUTH.products[kernel].weight_s, rel=0.2)
    assert np.median(np.abs(part.errors_of(start, fitted, found))) < 0.05
    assert replace(fitted, packed=start.packed) == start


def test_the_machine_predicts_the_arithmetic_that_ran(start: Machine) -> None:
    rounds = {how: getattr(as_run(start, how).packed, "rounds", None) for how in ("dense", "exact", "int8 + head")}
    assert rounds == {"dense": None, "exact": False, "int8 + head": True}
    assert as_run(start, "dense + head").packed is None
    with pytest.raises(DovetailError, match=r"does not predict packed products.*calibrate --host"):
        as_run(replace(start, packed=None), "exact")
