"""Wires drop voltage: the currents of an array with resistive lines, exactly, as conductances without wires.

An array whose idle wordlines are held at 0 V is a linear network: its output currents are one matrix times its input
voltages, whatever the inputs are. That matrix is found once and takes the place of the cells' conductances.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def effective(conductance: Floats, wire: float) -> Floats:
    """Conductances that carry, with ideal wires, the currents that `conductance` carries with resistive ones.

    Rows are driven at the side of column 0; columns end in a virtual ground below the last row; each segment of a wire,
    also the one to the driver and to the ground, has resistance `wire`.

    Parameters
    ----------
    conductance : array, shape (..., rows, columns)
        Relative to that of a cell at its highest level.
    wire : float
        Resistance of a segment over that of such a cell.

    Notes
    -----
    Bitlines are eliminated first: with a column's wordline voltages known, its bitline is a chain. What is left is
    block tridiagonal over the columns. The adjoint is solved (which voltages would the outputs' currents cause at the
    drivers), for a network of resistors is reciprocal: ``rows`` and not ``rows * columns`` unknowns at a time.
    """
    if wire == 0:
        return conductance
    *lead, rows, columns = conductance.shape
    line = 1.0 / wire
    chain, eye = _chain(rows) * line, np.eye(rows) * line
    feeds, pulls = [], []
    for column in range(columns):
        cells = conductance[..., :, column]
        inverse = np.linalg.inv(chain + _diagonal(cells))
        feeds.append(inverse * cells[..., None, :])  # bitline voltages from wordline voltages
        pulls.append(_diagonal(cells) - cells[..., None] * feeds[-1])
    # Forward over the columns from the far end: what the wordlines right of a column draw, as a conductance matrix.
    beyond, shares = np.zeros((*lead, rows, rows)), []
    for column in reversed(range(columns)):
        shares.append(np.linalg.inv(pulls[column] + beyond + eye) * line)  # voltages here from those one column nearer
        beyond = eye - line * shares[-1]
    out, voltages = np.empty_like(conductance), np.broadcast_to(np.eye(rows), (*lead, rows, rows))
    for column in range(columns):
        voltages = shares[columns - 1 - column] @ voltages
        out[..., :, column] = line * (feeds[column][..., -1:, :] @ voltages)[..., 0, :]
    return out


def _chain(rows: int) -> Floats:
    """The Laplacian of a bitline that ends in a ground below its last row."""
    laplacian = 2 * np.eye(rows) - np.eye(rows, k=1) - np.eye(rows, k=-1)
    laplacian[0, 0] = 1
    return laplacian


def _diagonal(values: Floats) -> Floats:
    out = np.zeros((*values.shape, values.shape[-1]))
    index = np.arange(values.shape[-1])
    out[..., index, index] = values
    return out
