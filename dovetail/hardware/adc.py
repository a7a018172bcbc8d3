"""Five models of a converter's energy, time and area. They disagree by far: whoever uses one says which.

All are anchored at, or scaled to, 32 nm: the 8-bit converter of ISAAC (Shafiee et al., ISCA 2016, table 6: 2 mW at
1.2 GS/s, 0.0096 mm2 for eight, after Kull et al., ISSCC 2013, who measured 3.1 mW and 1,500 um2).

`murmann` is a bound and no converter: noise alone. Of the 215 converters that its area was fitted to (those of the
Accelergy ADC plug-in, from the survey of 2021), none of fewer than 6.5 effective bits takes less than 0.77 pJ a
conversion, where the bound says 0.1 pJ or less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError, did_you_mean

Floats = NDArray[np.float64]

E8_J, T8_S, A8_MM2 = 2e-3 / 1.2e9, 1 / 1.2e9, 1200e-6  # 1.67 pJ, 0.83 ns, 1,200 um2
E4_CDAC_J = 0.79e-12
# E(N) = linear * N + array * 2**N through both points: logic and comparator by cycle, capacitors by code.
_CDAC_ARRAY_J = (E8_J - 2 * E4_CDAC_J) / (256 - 2 * 16)
_CDAC_LINEAR_J = (E4_CDAC_J - 16 * _CDAC_ARRAY_J) / 4
# A 4-bit flash converter: 2.5 mW at 1.25 GS/s in 90 nm, 33,000 um2, 15 comparators (Van der Plas et al., ISSCC 2006).
# To 32 nm: capacitance by length, energy also by the square of the supply (1.2 V to 0.9 V), area by its square.
_SHRINK = 32 / 90
COMPARATOR_J = 2.5e-3 / 1.25e9 / 15 * _SHRINK * (0.9 / 1.2) ** 2
COMPARATOR_MM2 = 33_000e-6 / 15 * _SHRINK**2
# Best Schreier figure of merit at a rate f: least of two lines over the survey (B. Murmann, ADC Performance Survey,
# 2021), as fitted by Andrulis, Chen, Lee, Emer, Sze, arXiv 2404.06553: 180.14 dB, and 302.74 dB - 6.461 dB ln(f / Hz).
_FOM_DB, _FOM_AT_1HZ_DB, _FOM_SLOPE_DB = 180.14, 302.74, 6.461
# Their area: exp(4.851 + 0.797 ln(nm) + 0.0667 ln(f / Hz) - 0.134 bits + 0.424 ln(energy / pJ)) um2; the plug-in's
# headers.py has the energy among what is fitted in logarithms.
_AREA = (4.851, 0.797, 0.0667, -0.134, 0.424)


@dataclass(frozen=True, slots=True)
class AdcModel:
    """Energy (J), time (s) and area (mm2) of a converter by its bits, 1 to 12; 0 bits cost nothing.

    Parameters
    ----------
    name : str
    energy, time, area : callable
        Of an array of bits.
    least : int
        Of the survey or design behind it. `title` says what prices fewer bits: the ``flash`` model, or, where even one
        comparator of that takes more, its own of `least` bits, some of them unused.
    source : str
    """

    name: str
    energy: Callable[[Floats], Floats]
    time: Callable[[Floats], Floats]
    area: Callable[[Floats], Floats]
    least: int
    source: str
    most: int = 12

    @property
    def title(self) -> str:
        """Its name, and what prices the bits it does not reach."""
        if self.least > 1:
            return (
                f"{self.name}, flash below {self.least} bits"
                if self._flash
                else f"{self.name}, never below {self.least} bits"
            )
        return self.name if self.most == 12 else f"{self.name}, isaac_cdac above {self.most} bits"

    def energy_j(self, bits: object) -> Floats:
        """Of one conversion."""
        return self._of("energy", bits)

    def time_s(self, bits: object) -> Floats:
        """Between conversions."""
        return self._of("time", bits)

    def area_mm2(self, bits: object) -> Floats:
        """Of one converter."""
        return self._of("area", bits)

    @property
    def _flash(self) -> bool:
        """Whether flash converters are cheaper than its own of `least` bits."""
        return self.least > 1 and float(self.energy(np.array(float(self.least)))) > COMPARATOR_J * 2 ** (self.least - 1)

    def _of(self, what: str, bits: object) -> Floats:
        wanted = np.asarray(bits, dtype=np.float64)
        own: Floats = getattr(self, what)(np.maximum(wanted, self.least))
        if self._flash:
            own = np.where(wanted < self.least, getattr(MODELS["flash"], what)(wanted), own)
        if self.most < 12:
            own = np.where(wanted > self.most, getattr(MODELS["isaac_cdac"], what)(wanted), own)
        return np.where(wanted > 0, own, 0.0)


def _survey_energy(bits: Floats) -> Floats:
    rate = 1 / T8_S
    merit = min(_FOM_DB, _FOM_AT_1HZ_DB - _FOM_SLOPE_DB * float(np.log(rate)))
    energy: Floats = 0.5 * 10 ** ((6.02 * bits + 1.76 - merit) / 10)
    return energy


def _survey_area(bits: Floats) -> Floats:
    fixed, by_node, by_rate, by_bit, by_energy = _AREA
    log_um2 = fixed + by_node * np.log(32) - by_rate * np.log(T8_S) + by_bit * bits
    area: Floats = np.exp(log_um2 + by_energy * np.log(_survey_energy(bits) * 1e12)) * 1e-6
    return area


def _cdac(bits: Floats) -> Floats:
    energy: Floats = _CDAC_LINEAR_J * bits + _CDAC_ARRAY_J * 2**bits
    return energy


_ISAAC = "ISAAC, ISCA 2016, table 6: 8 bits, 32 nm"
MODELS = {
    model.name: model
    for model in (
        AdcModel(
            "paper",
            lambda n: E8_J * (2**n / (n + 1)) / (2**8 / 9), lambda n: T8_S * n / 8, lambda n: A8_MM2 * n / 8, 1,
            f"E by 2^N / (N + 1), T by N: the savings that arXiv 1909.08496 claims; area by N assumed; {_ISAAC}",
        ),
        AdcModel(
            "isaac_cdac", _cdac, lambda n: T8_S * n / 8, lambda n: A8_MM2 * _cdac(n) / E8_J, 4,
            f"{_ISAAC} 1.67 pJ, 4 bits 0.79 pJ; linear and capacitor parts between; area by energy assumed",
        ),
        AdcModel(
            "murmann", _survey_energy, lambda n: np.full(n.shape, T8_S), _survey_area, 4,
            "best of Murmann's ADC survey at 1.2 GS/s, 32 nm: arXiv 2404.06553",
        ),
        AdcModel(
            "linear", lambda n: E8_J * n / 8, lambda n: T8_S * n / 8, lambda n: A8_MM2 * n / 8, 1,
            f"all by N; {_ISAAC}",
        ),
        AdcModel(
            "flash", lambda n: COMPARATOR_J * (2**n - 1), lambda n: np.full(n.shape, T8_S),
            lambda n: COMPARATOR_MM2 * (2**n - 1), 1,
            "2^N - 1 comparators of Van der Plas et al., ISSCC 2006 (90 nm), scaled to 32 nm", 3,
        ),
    )
}  # fmt: skip


def adc_model(name: str) -> AdcModel:
    """A model by its name. Raises `DovetailError` where there is none."""
    if name not in MODELS:
        raise DovetailError(f"no ADC model '{name}'", where="adc model", hint=did_you_mean(name, list(MODELS)))
    return MODELS[name]
