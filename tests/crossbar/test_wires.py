"""Voltage drops of wires against Kirchhoff's laws written node by node."""

import numpy as np
import pytest

from dovetail.crossbar.wires import effective


def by_nodes(conductance: np.ndarray, wire: float, voltages: np.ndarray) -> np.ndarray:
    """Output currents of one array: every wordline and bitline node an unknown, one dense system."""
    rows, columns = conductance.shape
    index = {(line, i, j): (line == "b") * rows * columns + i * columns + j
             for line in "wb" for i in range(rows) for j in range(columns)}  # fmt: skip
    matrix, given = np.zeros((len(index), len(index))), np.zeros(len(index))

    def join(a: int, b: int | None, g: float, volts: float = 0.0) -> None:
        matrix[a, a] += g
        if b is None:
            given[a] += g * volts
        else:
            matrix[b, b] += g
            matrix[a, b] -= g
            matrix[b, a] -= g

    for i in range(rows):
        join(index["w", i, 0], None, 1 / wire, voltages[i])
        for j in range(columns):
            join(index["w", i, j], index["b", i, j], conductance[i, j])
            if j + 1 < columns:
                join(index["w", i, j], index["w", i, j + 1], 1 / wire)
    for j in range(columns):
        join(index["b", rows - 1, j], None, 1 / wire)
        for i in range(rows - 1):
            join(index["b", i, j], index["b", i + 1, j], 1 / wire)
    solved = np.linalg.solve(matrix, given)
    return np.array([solved[index["b", rows - 1, j]] / wire for j in range(columns)])


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 1), (1, 6), (7, 5), (4, 9)])
@pytest.mark.parametrize("wire", [1e-4, 0.02, 0.5])
def test_effective_conductances_carry_the_same_currents(rows: int, columns: int, wire: float) -> None:
    rng = np.random.default_rng(rows * 10 + columns)
    cells = rng.random((2, rows, columns))
    found = effective(cells, wire)
    for voltages in (np.ones(rows), rng.integers(0, 2, rows).astype(float), rng.random(rows)):
        for k in range(2):
            assert np.allclose(voltages @ found[k], by_nodes(cells[k], wire, voltages), rtol=1e-9, atol=1e-12)


def test_ideal_wires_change_nothing() -> None:
    cells = np.random.default_rng(0).random((6, 4))
    assert effective(cells, 0.0) is cells
    assert np.allclose(effective(cells, 1e-9), cells, rtol=1e-6)


def test_far_cells_lose_more() -> None:
    found = effective(np.ones((32, 32)), 1e-3)
    assert found[-1, 0] == found.max()  # next to its driver and to the ground
    assert found[0, -1] == found.min()
