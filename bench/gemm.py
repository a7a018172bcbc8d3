"""How far the model of matrix products is from measured kernels, and whether one chip's constants serve another.

Data: GEMM tables of vLLM and TensorRT-LLM on A100, H100 and H200 (aiconfigurator 095f58a, Apache-2.0), rows of each
table's commonest kernel; a call is repeated, so operands that fit stay in the cache. Constants are fitted per chip and
dtype on the matrices whose sha1 of "n,k" is below 5 modulo 100 and scored on all others, with a weak pull to the same
typical constants everywhere. Beside them: a plain roofline (peaks, no launch) and one of three fitted constants.

Needs pyarrow. Run: python bench/gemm.py
"""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dovetail.cost
from dovetail.design.calls.dtypes import NAMES
from dovetail.design.calls.products import LEAST, LIMITS, Products
from dovetail.design.calls.read import Asked, Group, read_groups
from dovetail.design.calls.split import shapes_for_fit
from dovetail.design.calls.table import read_table
from dovetail.design.kernel_fit import Scores, fit, scores
from dovetail.design.residual_fit import fit_residual
from dovetail.hardware import load_machine
from dovetail.hardware.kernels import ChipFacts, GemmConstants, carried

Array = npt.NDArray[np.float64]
VLLM = {"a100-sxm": "a100_sxm/gemm/vllm/0.14.0", "h100-sxm": "h100_sxm/gemm/vllm/0.24.0",
        "h200-sxm": "h200_sxm/gemm/vllm/0.22.0"}  # fmt: skip
TRTLLM = {"a100-sxm": "a100_sxm/gemm/trtllm/1.0.0"}


@dataclass(frozen=True)
class Dtype:
    """A dtype as the tables call it, where they lie, and where its fit starts."""

    name: str
    folders: dict[str, str]
    typical: GemmConstants

    @property
    def entry(self) -> str:
        """The entry of a chip's kernel constants."""
        return NAMES.get(self.name, self.name)


BF16 = GemmConstants(
    launch_s=2.6e-6, compute=0.83, memory=0.85, load=0.015, step_s=1.2e-7, epilogue=0.75, split_s=2.9e-6, overlap=2.5,
    smooth=0.8, resident=0.02,
)  # fmt: skip
# Twice the peak of 16 bits at the same bytes a second: half the bytes for each FLOP.
FP8 = replace(BF16, launch_s=5e-6, compute=0.7, load=0.0075, split_s=math.inf, row_s=2e-9, piece_s=4e-9)
BLOCKS = replace(FP8, host_s=9e-5)  # of 128 values share a scale: 4 bytes
WEIGHTS_ONLY = replace(BF16, launch_s=9e-6)
INT8 = replace(WEIGHTS_ONLY, load=0.0075)
DTYPES = (
    Dtype("bfloat16", VLLM, BF16),
    Dtype("fp8", VLLM, FP8),
    Dtype("fp8_block", VLLM, BLOCKS),
    Dtype("int8_wo", TRTLLM, WEIGHTS_ONLY),
    Dtype("int4_wo", TRTLLM, WEIGHTS_ONLY),
    Dtype("sq", TRTLLM, INT8),
)


@dataclass(frozen=True)
class Calls:
    """Measured calls of one chip and dtype, and which of them are for the fit."""

    chip: str
    dtype: Dtype
    products: Products
    fit: npt.NDArray[np.bool_]

    def of(self, rows: npt.NDArray[np.bool_]) -> Calls:
        """Some of the rows."""
        return replace(self, products=self.products.of(rows), fit=self.fit[rows])

    @property
    def facts(self) -> ChipFacts:
        """The chip's numbers, with the peak of the dtype."""
        return self.products.chip

    @property
    def time_s(self) -> Array:
        """Measured seconds."""
        return self.products.time_s

    @property
    def power_w(self) -> Array:
        """Measured watts; NaN where they were not."""
        return self.products.power_w

    def seconds(self, constants: GemmConstants) -> Array:
        """What the model says of these calls."""
        return np.asarray(self.products.cost(constants).time_s)


@cache
def groups(file: Path, chip: str) -> tuple[Group, ...]:
    """A table's calls of each dtype's commonest kernel."""
    return read_groups([read_table(file)], load_machine(chip), Asked()).groups


def read(data: Path, chip: str, dtype: Dtype) -> Calls | None:
    """The calls of a dtype's commonest kernel; None where the table has none."""
    file = data / "silicon" / "aiconfigurator" / dtype.folders[chip] / "gemm_perf.parquet"
    calls = next((group.calls for group in groups(file, chip) if group.entry == dtype.entry), None)
    if not isinstance(calls, Products):
        return None
    chosen = shapes_for_fit(calls.shapes, LEAST)
    return Calls(chip, dtype, calls, np.array([shape in chosen for shape in calls.shapes]))


def fitted(*tables: Calls) -> GemmConstants:
    """Constants of the first chip, of the matrices that are for it; chips weigh the same."""
    typical, parts = tables[0].dtype.typical, [calls.of(calls.fit) for calls in tables]
    names = [
        field.name
        for field in fields(GemmConstants)
        if field.name != "spread" and 0 < getattr(typical, field.name) < math.inf
    ]

    def log_errors(constants: GemmConstants) -> list[Array]:
        return [np.log(part.seconds(carried(constants, parts[0].facts, part.facts)) / part.time_s) for part in parts]

    return fit(typical, names, log_errors, limits=LIMITS)


@dataclass(frozen=True)
class Roofline:
    """The larger of arithmetic and memory at a share of their peaks, after a launch."""

    compute: float = 0.7
    memory: float = 0.8
    launch_s: float = 3e-6

    def seconds(self, calls: Calls) -> Array:
        """Its time of calls."""
        facts, of = calls.facts, calls.products
        arithmetic, memory = of.flops / (facts.peak * self.compute), of.bytes / (facts.bandwidth * self.memory)
        return np.asarray(np.maximum(arithmetic, memory) + self.launch_s)


def fitted_roofline(calls: Calls) -> Roofline:
    """The three constants that meet the same matrices best."""
    part, limits = calls.of(calls.fit), {"compute": (0.0, 1.0), "memory": (0.0, 1.0)}
    names = ["compute", "memory", "launch_s"]
    return fit(Roofline(), names, lambda c: [np.log(c.seconds(part) / part.time_s)], limits=limits, pull=0.0)


def held_out(calls: Calls, constants: GemmConstants) -> Scores:
    """Errors of calls that nothing was fitted on."""
    part = calls.of(~calls.fit)
    return scores(part.seconds(constants), part.time_s)


def held_out_corrected(calls: Calls, constants: GemmConstants) -> Scores:
    """The same with the learned correction, fitted on the same matrices as the constants."""
    part, rest, cores = calls.of(calls.fit), calls.of(~calls.fit), calls.facts.cores
    log_error = np.log(part.time_s / part.seconds(constants))
    few, others = part.products, rest.products
    residual = fit_residual(few.m, few.n, few.k, cores, log_error)
    correction = residual.correction(others.m, others.n, others.k, cores)
    return scores(rest.seconds(constants) * np.exp(correction), rest.time_s)


def write_corrections(tables: dict[str, dict[str, Calls]]) -> None:
    """What is learned on top of the constants in the chips' files, one JSON a chip, from the matrices for the fit."""
    chips: dict[str, dict[str, Any]] = {}
    for calls_of in tables.values():
        for chip, calls in calls_of.items():
            entry, part = calls.dtype.entry, calls.of(calls.fit)
            constants = load_machine(chip).kernels.gemm[entry]
            log_error = np.log(part.time_s / part.seconds(constants))
            few = part.products
            residual = fit_residual(few.m, few.n, few.k, calls.facts.cores, log_error)
            chips.setdefault(chip, {})[f"gemm.{entry}"] = residual.to_json()
            rest = calls.of(~calls.fit)
            others = rest.products
            factor = np.exp(residual.correction(others.m, others.n, others.k, calls.facts.cores))
            print(f"{chip} {entry}: {scores(rest.seconds(constants) * factor, rest.time_s)}")
    folder = Path(dovetail.cost.__file__).parent / "corrections"
    folder.mkdir(exist_ok=True)
    for chip, learned in chips.items():
        (folder / f"{chip}.json").write_text(json.dumps(learned) + "\n", encoding="utf-8")


def line(constants: GemmConstants) -> str:
    """The constants in readable units."""
    found = []
    for field in fields(constants):
        value, seconds = getattr(constants, field.name), field.name.endswith("_s")
        if value and value < math.inf:
            found.append(f"{field.name[:-2]} {value * 1e6:.3g}us" if seconds else f"{field.name} {value:.3g}")
    return ", ".join(found)


def show(title: str, calls: Calls, constants: GemmConstants) -> None:
    """One line: our errors beside those of the two rooflines."""
    part = calls.of(~calls.fit)
    beside = [scores(roof.seconds(part), part.time_s) for roof in (fitted_roofline(calls), Roofline(1.0, 1.0, 0.0))]
    ours = (held_out(calls, constants), held_out_corrected(calls, constants))
    cells = "".join(f"{found!s:>25}" for found in (*ours, *beside))
    print(f"{title:<26}{calls.dtype.name:<10}{len(part.time_s):>7}{cells}")


def show_transfers(tables: dict[str, Calls], found: dict[str, GemmConstants]) -> None:
    """Constants of one chip on another and of two on the third, carried by clocks; nothing fitted on the target."""
    for target, calls in tables.items():
        sources = {name: [other] for name, other in tables.items() if other is not calls}
        if len(sources) > 1:
            sources["both others"] = [other for other in tables.values() if other is not calls]
        for name, others in sources.items():
            constants = found[name] if name in found else fitted(*others)
            here = carried(constants, others[0].facts, calls.facts)
            cells = "".join(f"{held_out(calls, given)!s:>25}" for given in (here, constants))
            print(f"{f'{name} -> {target}':<34}{cells}")


def main() -> None:
    """Print constants, held-out errors, and transfer between chips."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description="Fit the model of matrix products to measured kernels and score it.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DOVETAIL_DATA", beside)))
    parser.add_argument("--write", action="store_true", help="write the corrections of the constants that ship")
    options = parser.parse_args()
    data = options.data
    if not (data / "silicon").is_dir():
        raise SystemExit(f"no measured kernels in {data}: set DOVETAIL_DATA")
    tables = {dtype.name: {c: t for c in dtype.folders if (t := read(data, c, dtype))} for dtype in DTYPES}
    if options.write:
        write_corrections(tables)
        return
    found = {name: {chip: fitted(calls) for chip, calls in chips.items()} for name, chips in tables.items()}
    for name, chips in found.items():
        for chip, constants in chips.items():
            print(f"{chip} {name}: {line(constants)}")
    columns = "".join(f"{title:>25}" for title in ("ours", "with correction", "three constants", "plain roofline"))
    print(f"\n{'held out, MAPE/>20us/sum':<36}{'rows':>7}{columns}")
    for name, chips in tables.items():
        for chip, calls in chips.items():
            show(chip, calls, found[name][chip])
    for name, chips in tables.items():
        if len(chips) > 1:
            print(f"\n{f'transfer, {name}':<34}{'by clocks':>25}{'as they are':>25}")
            show_transfers(chips, found[name])


if __name__ == "__main__":
    main()
