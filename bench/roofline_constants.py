"""Fit the roofline's constants to measured GEMM kernels, and score them on matrices the fit never saw.

    time = max(flops / (peak * compute), bytes / (bandwidth * memory)) + launch
    energy = idle * time + j_per_flop * flops + j_per_byte * bytes

Data: aiconfigurator's kernel measurements (bf16 GEMM, commit 095f58a, Apache-2.0) under ``$DOVETAIL_DATA``. The split
is by matrix: (n, k) goes to the fit when sha1("n,k") mod 100 < 5 (about 5 %), all others are scored. Needs pyarrow.

Run: python bench/roofline_constants.py
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet

from dovetail.hardware import Machine, load_machine

Array = npt.NDArray[np.float64]
TABLES = {
    "a100-sxm": "a100_sxm/gemm/vllm/0.14.0",
    "h100-sxm": "h100_sxm/gemm/vllm/0.24.0",
    "h200-sxm": "h200_sxm/gemm/vllm/0.22.0",
}


@dataclass(frozen=True)
class Gemms:
    """Measured GEMM calls, one per row: shapes (rows,), SI units."""

    flops: Array
    bytes: Array
    time_s: Array
    power_w: Array | None
    fit: npt.NDArray[np.bool_]


def for_fit(n: int, k: int) -> bool:
    """Whether matrix (n, k) belongs to the fit."""
    return int(hashlib.sha1(f"{n},{k}".encode()).hexdigest(), 16) % 100 < 5


def read(data: Path, chip: str, dtype: str = "bfloat16", width: float = 2.0) -> Gemms:
    """The rows of a dtype's commonest kernel; `width` is its bytes per weight and activation (results are bf16)."""
    file = data / "silicon" / "aiconfigurator" / TABLES[chip] / "gemm_perf.parquet"
    table = parquet.read_table(file, filters=[("gemm_dtype", "=", dtype)]).to_pydict()
    kernel = Counter(table["kernel_source"]).most_common(1)[0][0]
    keep = np.array([source == kernel for source in table["kernel_source"]])
    m, n, k, milliseconds = (np.asarray(table[c], float)[keep] for c in ("m", "n", "k", "latency"))
    power = np.asarray(table["power"], float)[keep] if "power" in table else None
    pairs = {pair: for_fit(*pair) for pair in set(zip(n.astype(int), k.astype(int), strict=True))}
    chosen = np.array([pairs[pair] for pair in zip(n.astype(int), k.astype(int), strict=True)])
    moved = width * (m * k + n * k) + 2 * m * n
    return Gemms(2 * m * n * k, moved, milliseconds / 1e3, power, chosen)


def search(loss: Callable[[Array], float], start: Array, rounds: int = 60) -> Array:
    """Coordinate search on the logarithms of positive parameters, the step halved when no coordinate helps."""
    best, value, step = start.astype(float), loss(start), 0.2
    for _ in range(rounds):
        improved = False
        for index in range(len(best)):
            for factor in (np.exp(step), np.exp(-step)):
                trial = best.copy()
                trial[index] *= factor
                if (found := loss(trial)) < value:
                    best, value, improved = trial, found, True
        step = step if improved else step / 2
    return best


def roofline_s(constants: Array, gemms: Gemms, chip: Machine) -> Array:
    """Predicted seconds; `constants` are (compute, memory, launch_s)."""
    compute = gemms.flops / (chip.peak["bf16"] * constants[0])
    memory = gemms.bytes / (chip.memory.bandwidth * constants[1])
    return np.asarray(np.maximum(compute, memory) + constants[2])


def energy_j(constants: Array, gemms: Gemms, time_s: Array) -> Array:
    """Predicted joules of calls that take `time_s`; `constants` are (idle_w, j_per_flop, j_per_byte)."""
    return np.asarray(constants[0] * time_s + constants[1] * gemms.flops + constants[2] * gemms.bytes)


def fit_time(gemms: Gemms, chip: Machine) -> Array:
    """The (compute, memory, launch_s) of least mean |log error| on the fit's matrices; fractions at most 1."""

    def loss(constants: Array) -> float:
        if constants[:2].max() > 1:
            return np.inf
        error = np.log(roofline_s(constants, gemms, chip) / gemms.time_s)
        return float(np.abs(error[gemms.fit]).mean())

    starts = [np.array([c, m, s]) for c in (0.6, 0.8) for m in (0.7, 0.9) for s in (2e-6, 5e-6)]
    return min((search(loss, start) for start in starts), key=loss)


def fit_energy(gemms: Gemms, measured_j: Array) -> Array:
    """The (idle_w, j_per_flop, j_per_byte) of least mean |relative error| of energy on the fit's matrices."""

    def loss(constants: Array) -> float:
        error = energy_j(constants, gemms, gemms.time_s) / measured_j - 1
        return float(np.abs(error[gemms.fit]).mean())

    starts = [np.array([i, f, b]) for i in (90.0, 140.0) for f in (0.3e-12, 0.6e-12) for b in (20e-12, 60e-12)]
    return min((search(loss, start) for start in starts), key=loss)


def errors(predicted: Array, gemms: Gemms) -> tuple[float, float, float, float]:
    """Held-out (MAPE, MAPE of calls above 20 us, sum |error| / sum time, 90th percentile of |relative error|)."""
    held, truth = ~gemms.fit, gemms.time_s
    relative = np.abs(predicted / truth - 1)
    total = float(np.abs(predicted - truth)[held].sum() / truth[held].sum())
    long = held & (truth > 20e-6)
    return float(relative[held].mean()), float(relative[long].mean()), total, float(np.quantile(relative[held], 0.9))


def measured_j(gemms: Gemms) -> Array:
    """Board power times time of each call."""
    if gemms.power_w is None:
        raise SystemExit("this table has no power column")
    return gemms.power_w * gemms.time_s


def scores(predicted: Array, truth: Array) -> str:
    """Mean and 90th percentile of |relative error|, and the error of the sum of absolute errors."""
    error = np.abs(predicted / truth - 1)
    total = np.abs(predicted - truth).sum() / truth.sum()
    return f"MAPE {error.mean():.1%}, p90 {np.quantile(error, 0.9):.1%}, sum |error| / sum {total:.1%}"


def report_energy(chip: Machine, data: Path) -> None:
    """Print the energy fit, its held-out error, and how the rule for other dtypes does on block-scaled fp8."""
    gemms = read(data, chip.name)
    truth, held = measured_j(gemms), ~gemms.fit
    constants = fit_energy(gemms, truth)
    idle_w, pj_per_flop, pj_per_byte = constants * np.array([1, 1e12, 1e12])
    print(f"\n{chip.name}: idle {idle_w:.1f} W, {pj_per_flop:.3f} pJ/FLOP, {pj_per_byte:.1f} pJ/B")
    by_truth = energy_j(constants, gemms, gemms.time_s)
    print("  held-out energy, measured time: ", scores(by_truth[held], truth[held]))
    time_s = roofline_s(fit_time(gemms, chip), gemms, chip)
    print("  held-out energy, predicted time:", scores(energy_j(constants, gemms, time_s)[held], truth[held]))
    capped = np.minimum(by_truth, chip.tdp_w * gemms.time_s)
    print("  held-out energy, capped at TDP: ", scores(capped[held], truth[held]))
    fp8 = read(data, chip.name, "fp8_block", 1.0)
    scaled = constants * np.array([1.0, chip.peak["bf16"] / chip.peak["fp8"], 1.0])
    print("  fp8_block, never fitted:        ", scores(energy_j(scaled, fp8, fp8.time_s), measured_j(fp8)))


def main() -> None:
    """Print one table: the constants per chip and their held-out errors beside the plain roofline's."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description="Fit roofline constants to measured GEMM kernels.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DOVETAIL_DATA", beside)))
    data = parser.parse_args().data
    head = f"{'chip':<10}{'rows':>7}{'fit':>6}{'compute':>9}{'memory':>8}{'launch':>8}"
    print(f"{head}{'MAPE':>14}{'>20 us':>14}{'sum':>14}{'p90':>7}")
    for name in TABLES:
        chip, gemms = load_machine(name), read(data, name)
        constants = fit_time(gemms, chip)
        ours = errors(roofline_s(constants, gemms, chip), gemms)
        plain = errors(roofline_s(np.array([1.0, 1.0, 0.0]), gemms, chip), gemms)
        pairs = "".join(f"{f'{a:.1%} / {b:.1%}':>14}" for a, b in zip(ours[:3], plain[:3], strict=True))
        head = f"{name:<10}{len(gemms.time_s):>7}{gemms.fit.sum():>6}{constants[0]:>9.3f}{constants[1]:>8.3f}"
        print(f"{head}{constants[2] * 1e6:>6.2f}us{pairs}{ours[3]:>7.1%}")
    print("errors are held-out, ours / plain roofline (peaks, no launch); fit = rows of the fitting matrices")
    report_energy(load_machine("h200-sxm"), data)


if __name__ == "__main__":
    main()
