"""Matrices in integers: nearest levels where nothing is known, and less error of the output where inputs are."""

from __future__ import annotations

import numpy as np
import pytest

from dovetail.accel.lowering.weights import in_eight_bits, in_four_bits


def _weight(seed: int, rows: int = 12, inputs: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, inputs)).astype(np.float32)


def test_eight_bits_are_nearest() -> None:
    weight = _weight(0)
    weight[3] = 0
    matrix = in_eight_bits("m", weight)
    top = np.abs(weight).max(axis=1, keepdims=True)
    assert (np.abs(matrix.reals() - weight) <= top / 127 * (0.5 + 127 * 2.0**-14)).all()
    assert (matrix.reals()[3] == 0).all()


@pytest.mark.parametrize("group", [32, 64])
def test_four_bits_without_inputs_are_the_best_of_all_steps(group: int) -> None:
    weight = _weight(1)
    matrix = in_four_bits("m", weight, group)
    unit = matrix.reals()[:, :1] / np.where(matrix.values[:, :1] == 0, 1, matrix.values[:, :1])
    assert matrix.steps is not None
    assert matrix.steps.shape == (12, -(-100 // group))
    for row in range(12):
        unit = np.ldexp(float(matrix.mantissa[row]), -int(matrix.shift[row]))
        for block, begin in enumerate(range(0, 100, group)):
            part = weight[row, begin : begin + group]
            errors = [((np.clip(np.rint(part / (s * unit)), -8, 7) * s * unit - part) ** 2).sum() for s in range(1, 17)]
            chosen = errors[matrix.steps[row, block] - 1]
            assert chosen <= 1.0001 * min(errors)


def test_making_up_for_errors_helps_the_output() -> None:
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(4000, 20)) @ rng.normal(size=(20, 100)) + 0.1 * rng.normal(size=(4000, 100))
    weight = _weight(3)
    wanted = inputs @ weight.T

    def error(moments: np.ndarray | None) -> float:
        found = inputs @ in_four_bits("m", weight, 32, moments).reals().T
        return float(((found - wanted) ** 2).mean())

    assert error(inputs.T @ inputs) < 0.3 * error(None)
