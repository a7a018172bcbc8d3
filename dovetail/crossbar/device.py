"""What real cells do: spread, noise, defects, drift, finite on/off ratio, wires. A small and named set of effects."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dovetail.core.errors import DovetailError

BOLTZMANN_EV = 8.617333e-5  # eV/K, CODATA 2018


@dataclass(frozen=True, slots=True)
class Device:
    """Non-idealities of cells and wires; the defaults are ideal.

    A cell of digit ``k`` conducts ``k + kappa`` steps, with ``kappa = levels / (on_off - 1)``; all other numbers are in
    such steps unless said otherwise.

    Parameters
    ----------
    on_off : float
        Conductance of the highest level over that of the lowest. Above 1.
    off_column : bool
        A column of cells at their lowest level is subtracted from each bitline before it is converted, which cancels
        ``kappa``; else the off currents are converted as well, and only what was expected of them is subtracted.
    program_sigma : float
        Spread of programmed conductance, relative to it (normal; a conductance below 0 becomes 0).
    read_sigma : float
        Noise of a read, of each cell that is on in the cycle.
    stuck_low, stuck_high : float
        Share of cells stuck at the lowest and at the highest level.
    drift : float
        Exponent nu of ``(t / t0)**-nu`` (phase-change memory; 0.05 is usual), with `drift_sigma` its spread by cell.
    seconds : float
        Time since programming, for drift and retention; t0 is 1 s.
    retention_s : float
        Time constant in which a cell falls to its lowest level at 300 K; 0 for never. At `kelvin` it is shorter by
        Arrhenius' law with `activation_ev`.
    wire : float
        Resistance of a wire between two cells over that of a cell at its highest level. Of rows and columns.

    Raises
    ------
    DovetailError
        A share, spread, ratio or time that cannot be.
    """

    on_off: float = float("inf")
    off_column: bool = True
    program_sigma: float = 0.0
    read_sigma: float = 0.0
    stuck_low: float = 0.0
    stuck_high: float = 0.0
    drift: float = 0.0
    drift_sigma: float = 0.0
    seconds: float = 1.0
    retention_s: float = 0.0
    kelvin: float = 300.0
    activation_ev: float = 1.1  # of HfO2 cells, Chen et al., IEDM 2013
    wire: float = 0.0

    def __post_init__(self) -> None:
        if not self.on_off > 1:
            why = "a cell's highest conductance over its lowest"
            raise DovetailError(
                f"an on/off ratio of {self.on_off:g}", where="on_off", why=why, hint="above 1; 10 to 1e4"
            )
        for name in ("stuck_low", "stuck_high"):
            if not 0 <= getattr(self, name) <= 1:
                raise DovetailError(f"a share of {getattr(self, name):g}", where=name, hint="0.01: 0 to 1")
        if self.stuck_low + self.stuck_high > 1:
            raise DovetailError("more cells are stuck than there are", where="stuck_low + stuck_high", hint="at most 1")
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            if not np.isfinite(value) or value < 0:
                raise DovetailError(f"{field.name} is {value:g}", where=field.name, hint="a finite number, 0 or more")
        if self.kelvin <= 0 or self.seconds < 1:
            hint = "kelvin above 0; seconds since programming, 1 or more"
            raise DovetailError("no such time or temperature", where="kelvin, seconds", hint=hint)

    def kappa(self, levels: int) -> float:
        """What a cell at digit 0 conducts, in steps."""
        return levels / (self.on_off - 1)

    @property
    def static(self) -> bool:
        """Whether conductances differ from the digits."""
        return (
            self.on_off != float("inf")
            or any((self.program_sigma, self.stuck_low, self.stuck_high, self.wire, self.retention_s))
            or (self.seconds > 1 and any((self.drift, self.drift_sigma)))
        )

    @property
    def kept(self) -> float:
        """What retention leaves of a cell's conductance above its lowest, after `seconds` at `kelvin`."""
        if not self.retention_s:
            return 1.0
        faster = np.exp(self.activation_ev / BOLTZMANN_EV * (1 / 300.0 - 1 / self.kelvin))
        return float(np.exp(-(self.seconds / self.retention_s) * faster))
