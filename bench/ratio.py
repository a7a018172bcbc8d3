"""Predicted against measured speed of recipes over fp32 on this computer: every method, three batches, two models.

    OMP_NUM_THREADS=1 python bench/ratio.py [--rounds 7] [--seconds 0.4] [--on host.yaml]

One calibration comes first (`dovetail calibrate --host`), which sees random Llamas of other shapes and other groups; a
file that one wrote may stand for it. Then decode steps at a context of 128 of the embedded model and of a random Llama
of 109 million parameters: in fp32, and after each recipe with its weights packed, as `run` and `measure` execute it.
All methods of a model and batch go round together, and the median round of CPU time of one thread counts. The ratio
is fp32's time over the recipe's. Asked: a median error of the ratio of at most 15 %.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kernels import BATCHES, CONTEXT, decode, large_folder, timed

from dovetail.design.calibrate import calibrate_host
from dovetail.design.estimate import estimate
from dovetail.design.measure import as_run
from dovetail.design.resolve import weights_of
from dovetail.hardware import Machine, load_machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.load import Loaded, load
from dovetail.workload import Workload

METHODS: dict[str, list[dict[str, Any]] | str] = {
    "w8a16": "w8a16",
    "w8a16-head8": "w8a16-head8",
    "w4a16-rtn": "w4a16-rtn",
    "w4a16-rtn-head8": "w4a16-rtn-head8",
    "w3a16-rtn": "w3a16-rtn",
    "w2a16-rtn": "w2a16-rtn",
    "w8a8": [{"rtn": {"bits": 8, "group": 0, "act_bits": 8}}],
    "w4a8": [{"rtn": {"bits": 4, "group": 128, "act_bits": 8}}],
    "w4a16, zero points": [{"rtn": {"bits": 4, "group": 128, "symmetric": False}}],
    "head8 alone": [{"head": {}}],
}
ROUNDED = ("w8a16-head8", "w4a16-rtn-head8")  # with activations rounded too, which is `load(kernels="int8")`

Way = tuple[str, Recipe, str]


def ways() -> Iterator[Way]:
    """Name, recipe and kernels of everything that is compared with fp32."""
    for name, source in METHODS.items():
        yield name, Recipe.load(source), "auto"
        if name in ROUNDED:
            yield f"{name}, int8", Recipe.load(source), "int8"


def errors(model: Model, folder: Path, machine: Machine, given: argparse.Namespace) -> Iterator[tuple[str, int, float]]:
    """Method, batch and predicted over measured ratio, less one; prints a row for each method."""
    plain, loaded = load(folder), dict[str, Loaded]()
    with tempfile.TemporaryDirectory(prefix="dovetail-") as scratch:
        for index, (name, recipe, kernels) in enumerate(ways()):
            path = recipe.apply(folder, Path(scratch) / str(index)).path
            loaded[name] = load(path, kernels=kernels)
    print(f"\n{model.name}\n{'':<26}" + "".join(f"{f'batch {b}: predicted, measured':>38}" for b in BATCHES))
    times = {b: timed({n: decode(m, b) for n, m in [("fp32", plain), *loaded.items()]}, given.rounds, given.seconds)
             for b in BATCHES}  # fmt: skip
    base = {b: predicted(model, machine, Recipe.load("none"), b) for b in BATCHES}
    cells = "".join(f"{base[b] * 1e3:>14.2f} ms {times[b]['fp32'] * 1e3:>8.2f} ms {'':>8}" for b in BATCHES)
    print(f"{'fp32':<26}{cells}")
    for name, recipe, _ in ways():
        cells = ""
        for b in BATCHES:
            ratio = base[b] / predicted(model, as_run(machine, loaded[name].arithmetic), recipe, b)
            real = times[b]["fp32"] / times[b][name]
            cells += f"{ratio:>16.2f}x{real:>10.2f}x{ratio / real - 1:>+10.0%}"
            yield name, b, ratio / real - 1
        print(f"{name:<26}{cells}")


def predicted(model: Model, machine: Machine, recipe: Recipe, batch: int) -> float:
    """Seconds of one decode step."""
    work = Workload(prompt=CONTEXT, output=2, batch=batch)
    return float(estimate(model, machine, work, recipe).metrics.tpot_s)


def main() -> None:
    """Calibrate, then both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.4, help="CPU seconds for each figure")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--on", default="", help="a calibration's file instead of a new one")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: list[tuple[str, int, float]] = []
    with tempfile.TemporaryDirectory(prefix="dovetail-") as scratch:
        machine = load_machine(given.on) if given.on else calibrate_host(path=Path(scratch) / "host.yaml").machine
        embedded = Model.load("embedded")
        found += errors(embedded, weights_of(embedded), machine, given)
        folder = large_folder(Path(scratch) / "large")
        found += errors(replace(Model.load(str(folder)), name="random Llama, 109 M"), folder, machine, given)
    print()
    every = np.abs([error for _, _, error in found])
    for batch in BATCHES:
        print(f"median error, batch {batch:<3} {np.median([abs(e) for _, b, e in found if b == batch]):.1%}")
    print(f"median error of {len(found)} ratios {np.median(every):.1%} (asked: 15 %), at worst {every.max():.0%}")


if __name__ == "__main__":
    main()
