"""Crossbars: is the simulator right and how fast is it, what do group scales and ADC bits do, by our own numbers.

    python bench/crossbar.py [--only simulator|slices|adc|device] [--fresh]

- simulator: against a triple loop over plain integers (0 difference asked), noise against its moments, and vectors per
  CPU second on one thread (512 x 512 and 1,024 x 1,024, 64 vectors, 8-bit weights in 2-bit slices, two signs, 8 input
  bits, arrays of 128 x 128, converters on); results and speed beside aihwkit where it is installed
  (`crossbar_aihwkit.py`). CrossSim 3.2 is not on PyPI, hence not run here: its figures were measured on another day on
  a machine of this kind.
- slices: cells that hold a digit when Gaussian weights share a scale by layer, by row, by group.
- adc: energy of conversions of 8, 8, 8, 8 bits over that of 5, 5, 5, 4, by each model of the converters.
- device: a net of 70 k parameters on handwritten digits (MNIST of $DOVETAIL_DATA, else scikit-learn's), on cells that
  are stuck and that vary, as written and repaired; ten chips each.

Each part is kept in .bench/crossbar.json when it ends; a second run prints it from there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import crossbar_aihwkit
import numpy as np

from dovetail.crossbar.adc import Adc
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import Codes, FixedPoint
from dovetail.crossbar.columns import Arrays, statistics
from dovetail.crossbar.device import Device
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.folded import lossless
from dovetail.crossbar.inputs import Inputs
from dovetail.crossbar.kernels.library import find
from dovetail.crossbar.layer import Layer, Setup, write
from dovetail.crossbar.network import on_crossbars
from dovetail.crossbar.repair import repaired
from dovetail.hardware.adc import MODELS

KEPT = Path(__file__).parents[1] / ".bench" / "crossbar.json"
DATA = Path(os.environ.get("DOVETAIL_DATA", Path(__file__).parents[2] / "shared" / "data"))
ROUNDS, VECTORS = 7, 64


def main() -> None:
    """Print every part, running what is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--fresh", action="store_true", help="measure again what is kept")
    given = parser.parse_args()
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    for name, part in PARTS.items():
        if given.only in (None, name):
            if given.fresh or name not in kept:
                kept[name] = part()
                KEPT.parent.mkdir(exist_ok=True)
                KEPT.write_text(json.dumps(kept, indent=1))
            table(name, kept[name])


def table(name: str, rows: list[list[str]]) -> None:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    print(f"\n{name}")
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def simulator() -> list[list[str]]:
    return [["figure", "asked", "got"], *exactness(), *noise(), *speeds(), *crossbar_aihwkit.rows()]


def exactness() -> list[list[str]]:
    """Differences from loops that know nothing but integers."""
    worst, compared = 0, 0
    rng = np.random.default_rng(0)
    for cap in (1, 3, 5, 8):
        for encoding in ("differential", "offset", "sign-magnitude"):
            setup = Setup(Cells(2, encoding), Arrays(32, 32), Adc("saturating", cap), Inputs(8, True))
            layer = write(FixedPoint(8).codes(rng.normal(size=(12, 80))), setup)
            x = rng.integers(-128, 128, (6, 80))
            got = Engine.of(layer).multiply(x) / layer.codes.steps[0, 0]
            for v, o in np.ndindex(got.shape):
                worst = max(worst, abs(int(got[v, o]) - one(layer, x[v].tolist(), o, cap)))
                compared += 1
    return [[f"largest difference from a triple loop, {compared} outputs", "0", str(worst)]]


def one(layer: Layer, x: list[int], output: int, cap: int) -> int:
    """One output by plain integers: tiles, cycles, slices, cells, a converter of `cap` bits."""
    cells, total = layer.setup.cells, 0
    shift = 256 if cells.encoding == "offset" else 0
    codes = [int(c) + shift for c in layer.codes.values[output]]
    low, high = (-(1 << cap - 1), (1 << cap - 1) - 1) if cells.signed else (0, (1 << cap) - 1)
    for first in range(0, len(x), 32):
        for cycle in range(8):
            on = [i for i in range(first, min(first + 32, len(x))) if x[i] % 256 >> cycle & 1]
            place = -128 if cycle == 7 else 1 << cycle
            for k in range(5 if shift else 4):
                for sign in (1, -1) if cells.encoding == "differential" else (1,):
                    held = [max(sign * codes[i], 0) if cells.encoding == "differential" else codes[i] for i in on]
                    digits = ((abs(code) >> 2 * k & 3) * (-1 if code < 0 else 1) for code in held)
                    total += place * sign * 4**k * min(max(sum(digits), low), high)
            total -= place * shift * len(on)
    return total


def noise() -> list[list[str]]:
    setup = Setup(arrays=Arrays(128, 128), adc=Adc("ideal"), device=Device(read_sigma=0.2))
    layer = write(FixedPoint(8).codes(np.random.default_rng(0).normal(size=(256, 256))), setup)
    x = np.random.default_rng(1).integers(0, 256, (400, 256))
    noisy = Engine.of(layer).multiply(x) - x @ layer.codes.weights().T
    on = np.stack([sum(4**i * (x[:, rows] >> i & 1).sum(axis=1) for i in range(8)) for rows in layer.tiles], axis=1)
    live = layer.statistics.highest > 0  # empty bitlines are not read
    scaled = noisy / (0.2 * layer.codes.steps[0, 0] * np.sqrt(on @ np.einsum("ps,psto->to", layer.worth**2.0, live)))
    errors = [scaled.mean() * np.sqrt(scaled.size), (scaled.var() - 1) * np.sqrt(scaled.size / 2)]
    return [["noise: mean and variance off, in standard errors of the sample", "< 3",
             ", ".join(f"{error:+.2f}" for error in errors)]]  # fmt: skip


def speeds() -> list[list[str]]:
    rng = np.random.default_rng(0)
    wide = Adc("saturating", 9)
    codes = rng.integers(-255, 256, (1024, 1024))
    mixed = codes.copy()
    mixed[205:] *= rng.random((819, 1024)) < 0.02  # so few cells that no bitline of these outputs can clip at 5 bits
    cases = [
        ("1,024: provably lossless", "15,000", codes, wide, Device()),
        ("1,024: 20 % of columns clip", "1,000", mixed, Adc("saturating", 5), Device()),
        ("1,024: all clip", "400", codes, Adc("saturating", 3), Device()),
        ("1,024: all rounded (uniform, 6 bits)", "–", codes, Adc("uniform", 6), Device()),
        ("512: all clip", "–", codes[:512, :512], Adc("saturating", 3), Device()),
        ("512: read noise", "50", codes[:512, :512], Adc("saturating", 8), Device(read_sigma=0.1)),
        ("512: cells that vary", "–", codes[:512, :512], Adc("saturating", 8), Device(program_sigma=0.1)),
    ]
    rows = []
    for name, asked, values, adc, device in cases:
        layer = write(Codes(values.astype(np.int32), np.ones((1, 1)), FixedPoint(8)), Setup(adc=adc, device=device))
        x, engine = rng.integers(0, 256, (VECTORS, values.shape[1])), Engine.of(layer)
        clip = (~lossless(layer)).any(axis=(0, 1, 2)).mean()
        best = VECTORS / cpu_seconds(lambda engine=engine, x=x: engine.multiply(x))
        others = ""
        if "clip" in name and find():
            others = "; " + ", ".join(
                f"{v} {VECTORS / cpu_seconds(lambda engine=engine, x=x, v=v: engine.multiply(x, variant=v)):,.0f}"
                for v in list(find())[:-1]
            )
        rows.append([f"vectors/s, {name} ({clip:.0%} of columns may clip)", asked, f"{best:,.0f}{others}"])
    rows.append(["  beside CrossSim 3.2: 85 at 1,024, 393 at 512, 1.0 with read noise", "", ""])
    return rows


def cpu_seconds(run: Callable[[], object]) -> float:
    """Median CPU seconds of several calls, after one that warms up."""
    run()
    found = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        run()
        found.append(time.process_time() - begin)
    return median(found)


def slices() -> list[list[str]]:
    weights = np.random.default_rng(0).normal(size=(1024, 4096))
    rows = [["Gaussian weights, one scale a", "slice 0", "1", "2", "3 (top)", "largest sum by slice"]]
    for grid in (FixedPoint(8), FixedPoint(8, "row"), FixedPoint(8, "group", 128)):
        found = statistics(grid.codes(weights))
        name = f"{grid.per} of 128" if grid.per == "group" else grid.per
        sums = found.highest.max(axis=(0, 2, 3))
        rows.append([name, *(f"{share:.1%}" for share in found.nonzero_slices), ", ".join(map(str, sums))])
    return rows


def adc() -> list[list[str]]:
    rows = [["model", "8 bits", "5", "4", "3", "1", "8,8,8,8 / 5,5,5,4", "8,8,8,8 / 3,3,3,1"]]
    for model in MODELS.values():
        energy = model.energy_j(np.arange(13))
        saved = [4 * energy[8] / energy[list(bits)].sum() for bits in ((5, 5, 5, 4), (3, 3, 3, 1))]
        rows.append(
            [model.title, *(f"{energy[b] * 1e12:.3f} pJ" for b in (8, 5, 4, 3, 1)), *(f"{s:.2f}x" for s in saved)]
        )
    return rows


def device() -> list[list[str]]:
    """Accuracy of one net on ten chips, as written and repaired."""
    import torch

    torch.manual_seed(0)
    (x, y), (test_x, test_y), name = digits()
    net = trained(x, y)
    rows = [[f"{name}, test of {len(test_y):,}", "accuracy", "as written", "repaired", "lost", "recovered", "asked"]]
    cases = {
        "1 % stuck": Device(stuck_low=0.005, stuck_high=0.005), "variation 10 %": Device(program_sigma=0.1),
        "1 % stuck, variation 10 %": Device(stuck_low=0.005, stuck_high=0.005, program_sigma=0.1),
        "5 % stuck, variation 20 %": Device(stuck_low=0.025, stuck_high=0.025, program_sigma=0.2),
    }  # fmt: skip
    adc = Adc("saturating", 9)
    whole = accuracy(net, test_x, test_y, Setup(adc=adc), None)
    for words, made in cases.items():
        found = np.array([[accuracy(net, test_x, test_y, Setup(adc=adc, device=made, seed=100 * seed), change)
                           for change in (None, repaired)] for seed in range(10)])  # fmt: skip
        lost, left = whole - found.mean(axis=0)
        share = "–" if lost < 2e-4 else f"{1 - left / lost:.0%}"
        both = (f"{m:.2%} ± {s:.2%}" for m, s in zip(found.mean(axis=0), found.std(axis=0, ddof=1)))
        rows.append([words, f"{whole:.2%}", *both, f"{lost * 100:.2f}, {left * 100:.2f} points", share, "70%"])
    return rows


def digits() -> tuple[tuple[Any, Any], tuple[Any, Any], str]:
    """10,000 digits to train on and others to judge by, as (pixels from 0 to 1, label)."""
    import torch

    folder = DATA / "corpora" / "mnist"
    if folder.is_dir():

        def read(name: str, skip: int) -> Any:
            return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=skip)

        def both(part: str, some: slice) -> tuple[Any, Any]:
            x = read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 784)[some]
            y = read(f"{part}-labels-idx1-ubyte.gz", 8)[some]
            return torch.from_numpy(x.astype(np.float32) / 255), torch.from_numpy(y.astype(np.int64))

        return both("train", slice(10_000)), both("t10k", slice(None, None, 5)), "MNIST, 784-80-10"
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    return (x[:1200], y[:1200]), (x[1200:], y[1200:]), "scikit-learn digits, 64-80-10"


def trained(x: Any, y: Any) -> Any:
    """A net of one hidden layer, 20 epochs of Adam."""
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 80), torch.nn.ReLU(), torch.nn.Linear(80, 10))
    optimiser = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-5)
    for _ in range(20):
        for batch in torch.randperm(len(x)).split(100):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimiser.step()
    return net.eval()


def accuracy(net: Any, x: Any, y: Any, setup: Setup, change: Callable[[Layer], Layer] | None) -> float:
    import torch

    written = {} if change is None else {"change": lambda name, layer: change(layer)}
    with torch.inference_mode(), on_crossbars(net, setup, unsigned=["*"], **written):
        return float((net(x).argmax(dim=1) == y).float().mean())


PARTS: dict[str, Callable[[], list[list[str]]]] = {
    "simulator": simulator,
    "slices": slices,
    "adc": adc,
    "device": device,
}

if __name__ == "__main__":
    main()
