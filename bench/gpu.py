"""What Dovetail says of a GPU, checked on one: products, decoding, crossbars, steps of a model, and what it finds.

    python bench/gpu.py [--only products,decode,crossbar,estimate,host] [--device cuda] [--machine h100-sxm]

- products: matrix products of two models at 1 to 8,192 rows, (n, k) that no constant was fitted on (by the rule of
  `bench/gemm.py`), against `dovetail.cost`: a captured graph over several copies of all operands, more than the cache
  holds, replayed; the median. fp8 has no kernel that quantises here, so it is compared with what a step pays.
- decode: `gpu_decode.py`, the embedded model by our own loop: with guesses against without, cut caches.
- crossbar: `TorchEngine` on the device against NumPy's, noise against its moments, vectors a second.
- estimate: `gpu_step.py`, decode steps of eight layers of Llama-3.1-8B with random weights, by plain torch and by
  `transformers`, against `dovetail.estimate`.
- host: what ``doctor``, ``estimate --on host`` and the meters of energy and memory say there.

Without a CUDA device each part says so in one sentence. ``--device cpu --quick`` runs small cases on a CPU, to try the
script: what it prints then says nothing of a GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from dovetail.core.formats import plain
from dovetail.cost import matmul
from dovetail.cost.evaluate import operator_cost
from dovetail.cost.traffic import traffic
from dovetail.crossbar.adc import Adc
from dovetail.crossbar.codes import Codes, FixedPoint
from dovetail.crossbar.columns import Arrays
from dovetail.crossbar.device import Device
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.inputs import Inputs
from dovetail.crossbar.layer import Setup, write
from dovetail.crossbar.torch_engine import TorchEngine
from dovetail.hardware import Machine, load_machine
from dovetail.hardware.gpus import machine_of
from dovetail.model.operators import Linear, Weight

PARTS = ("products", "decode", "crossbar", "estimate", "host")
MATRICES = {  # outputs, inputs: qkv, o, gate and up, down
    "Llama-3.1-8B": ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)),
    "Qwen3-32B": ((10240, 5120), (5120, 8192), (51200, 5120), (5120, 25600)),
}
ROWS = (1, 8, 16, 64, 256, 1024, 4096, 8192)
ENERGY = tuple((m, n, k) for n, k in ((28672, 4096), (4096, 14336)) for m in (1, 16, 64, 256, 1024, 8192))
ENERGY_S = 1.5  # of one product after the other, for the counter of energy to count
COLD_BYTES = 256e6  # of operands that a graph rotates among: several times the cache
LEAST, MOST_S = 5, 0.06  # replays, and seconds of them


@dataclass(frozen=True)
class Place:
    """Where it runs: a torch device, the machine that it is, and whether only to try the script."""

    device: str
    machine: Machine
    quick: bool

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, run: Callable[[], object]) -> float:
        """Of one call: a captured graph of it on a GPU, replayed; wall time elsewhere. The median, after a warm-up."""
        replay = captured(run) if self.cuda else run
        replay()
        self.wait()
        found: list[float] = []
        while len(found) < LEAST or (sum(found) < MOST_S and len(found) < 50):
            found.append(self._once(replay))
        return median(found)

    def _once(self, run: Callable[[], object]) -> float:
        if not self.cuda:
            began = time.perf_counter()
            run()
            return time.perf_counter() - began
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end)) * 1e-3


def captured(run: Callable[[], object]) -> Callable[[], object]:
    """A call as a CUDA graph: no launch waits for the host."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


# --- products


def products(place: Place) -> dict[str, Any]:
    """Predicted and measured microseconds of every product, and the errors of all of them together."""
    found: dict[str, Any] = {}
    makers: dict[str, Callable[..., Callable[[], object]]] = {"bf16": floats, "fp8": eighths}
    for dtype, make in makers.items():
        if dtype not in place.machine.peak or (dtype == "fp8" and not place.cuda):
            print(f"\nproducts: {dtype} is left out on {place.machine.name}")
            continue
        rows = [row(place, dtype, make, m, n, k) for m, n, k in shapes(place.quick)]
        told(place, dtype, rows)
        found[dtype] = rows
    if place.cuda:
        found["energy"] = energy(place)
    return found


def shapes(quick: bool) -> Iterator[tuple[int, int, int]]:
    for model, matrices in MATRICES.items():
        for n, k in matrices:
            if int(hashlib.sha1(f"{n},{k}".encode()).hexdigest(), 16) % 100 < 5:
                raise SystemExit(f"{model}: {n} x {k} is one of the shapes that constants are fitted on")
            for m in ROWS[:2] if quick else ROWS:
                yield m, n // (16 if quick else 1), k // (16 if quick else 1)


def floats(m: int, n: int, k: int, device: str) -> Callable[[], object]:
    x, w = (torch.randn(rows, k, device=device, dtype=torch.bfloat16) for rows in (m, n))
    out = torch.empty(m, n, device=device, dtype=torch.bfloat16)
    return lambda: torch.mm(x, w.t(), out=out)


def eighths(m: int, n: int, k: int, device: str) -> Callable[[], object]:
    x, w = (torch.randn(rows, k, device=device, dtype=torch.bfloat16).to(torch.float8_e4m3fn) for rows in (m, n))
    one = torch.ones((), device=device)
    return lambda: torch._scaled_mm(x, w.t(), one, one, out_dtype=torch.bfloat16, use_fast_accum=True)


def row(place: Place, dtype: str, make: Callable[..., Callable[[], object]], m: int, n: int, k: int) -> dict[str, Any]:
    """One product: every copy of its operands once in a graph."""
    size = (m * k + n * k) * (2 if dtype == "bf16" else 1) + 2 * m * n
    copies = 2 if place.quick else int(np.clip(np.ceil(COLD_BYTES / size), 2, 64))
    works = [make(m, n, k, place.device) for _ in range(copies)]
    measured = place.seconds(lambda: [work() for work in works]) / copies
    alone = matmul(m, n, k, machine=place.machine, weight=dtype, act=dtype)
    learned = matmul(m, n, k, machine=place.machine, weight=dtype, act=dtype, corrected=True)
    operator = Linear(name="product", weights=(Weight("w", n, k, plain(dtype)),), m=m, k=k, n=n, act=dtype)
    step = operator_cost(operator, traffic(operator, place.machine), 0.0, place.machine)
    spread = float(np.max(alone.high / alone.time_s))
    one = {name: float(np.max(value)) for name, value in
           (("alone_s", alone.time_s), ("learned_s", learned.time_s), ("step_s", step.time_s))}  # fmt: skip
    return {"m": m, "n": n, "k": k, "measured_s": measured, "spread": spread, **one}


def told(place: Place, dtype: str, rows: Sequence[dict[str, Any]]) -> None:
    """The parity of all products, then what is in it."""
    key = "alone_s" if dtype == "bf16" else "step_s"
    print(f"\nproducts {dtype} on {place.machine.name}, us: predicted / measured\n")
    sizes = sorted({one["m"] for one in rows})
    print(f"{'n x k':>14}" + "".join(f"{f'm = {m:,}':>17}" for m in sizes))
    for n, k in dict.fromkeys((one["n"], one["k"]) for one in rows):
        cells = (one for one in rows if (one["n"], one["k"]) == (n, k))
        print(f"{f'{n} x {k}':>14}" + "".join(f"{c[key] * 1e6:>8.1f} /{c['measured_s'] * 1e6:>7.1f}" for c in cells))
    for title, name in (("as predicted", key), ("learned correction", "learned_s")):
        if dtype != "bf16" and name == "learned_s":
            continue
        print(f"{title:<20}" + errors([one[name] / one["measured_s"] - 1 for one in rows]))
    for m in sizes:
        print(f"  m = {m:<6,}" + errors([one[key] / one["measured_s"] - 1 for one in rows if one["m"] == m]))
    inside = [1 / one["spread"] <= one[key] / one["measured_s"] <= one["spread"] for one in rows]
    print(f"in the stated range of {rows[0]['spread'] - 1:.0%} either way: {sum(inside)} of {len(rows)}", flush=True)


def errors(found: Sequence[float]) -> str:
    size = np.abs(found)
    return (
        f"error: median {np.median(size):6.1%}, 90th percentile {np.quantile(size, 0.9):6.1%}, mean {size.mean():6.1%};"
        f" signed median {np.median(found):+6.1%}"
    )


def energy(place: Place) -> dict[str, Any]:
    """Joules of one product, called for a second and more, by the board's counter; an idle board, and a copy."""
    print("\nenergy of a bf16 product, mJ, the whole board\n")
    print(f"{'m x n x k':>20}{'predicted':>11}{'measured':>10}{'error':>8}{'watts':>7}")
    found: dict[str, Any] = {}
    for m, n, k in ENERGY:
        works = [floats(m, n, k, place.device) for _ in range(4)]
        joules, seconds = drawn(place, lambda works=works: [work() for work in works])  # type: ignore[misc]
        predicted, measured = float(matmul(m, n, k, machine=place.machine).energy_j), joules / len(works)
        figures = f"{predicted * 1e3:>11.2f}{measured * 1e3:>10.2f}{predicted / measured - 1:>+8.0%}"
        print(f"{f'{m} x {n} x {k}':>20}{figures}{joules / seconds:>7.0f}", flush=True)
        found[f"{m} x {n} x {k}"] = {"predicted_j": predicted, "measured_j": measured, "watts": joules / seconds}
    error = [one["predicted_j"] / one["measured_j"] - 1 for one in found.values()]
    print(errors(error))
    source = torch.randn(2**28, device=place.device)
    target = torch.empty_like(source)
    joules, seconds = drawn(place, lambda: target.copy_(source))
    print(f"copy of 1 GiB: {joules / seconds:.0f} W at {2 * source.nbytes / seconds / 1e12:.2f} TB/s read and written")
    found["copy"] = {"watts": joules / seconds, "bytes_per_s": 2 * source.nbytes / seconds}
    time.sleep(1.0)
    idle, seconds = drawn(place, None)
    print(
        f"idle, a process on it: {idle / seconds:.0f} W; the machine's file says {float(place.machine.idle_w):.0f} W",
        flush=True,
    )
    return {**found, "idle_w": idle / seconds}


def drawn(place: Place, run: Callable[[], object] | None) -> tuple[float, float]:
    """Joules and seconds of one call, or of all of the waiting where there is none; NaN without a counter."""
    from dovetail.runtime.energy import EnergyMeter

    replay, calls = captured(run) if run else None, 0
    if replay:
        replay()
    place.wait()
    with EnergyMeter("cuda") as meter:
        began = time.perf_counter()
        while time.perf_counter() - began < ENERGY_S:
            if replay is None:
                time.sleep(ENERGY_S)
            for _ in range(20 if replay else 0):
                replay()  # type: ignore[misc]
                calls += 1
            place.wait()
        seconds = time.perf_counter() - began
    return (float("nan") if meter.joules is None else meter.joules) / max(calls, 1), seconds / max(calls, 1)


# --- crossbar


def crossbar(place: Place) -> dict[str, Any]:
    """Exactness, moments and speed of arrays on the device."""
    differences = {name: difference(place, *case) for name, case in exact_cases().items()}
    print(f"\ncrossbar on {place.device}: largest difference from NumPy's engine, 40 x 300, 64 vectors")
    for name, found in differences.items():
        print(f"  {name:<34}{found:g}")
    print(f"  with TF32 allowed: {with_tf32(place):g}")
    off = moments(place)
    print(f"noise of reads: mean and variance off, in standard errors: {off[0]:+.2f}, {off[1]:+.2f} (asked: < 3)")
    size, speeds = 128 if place.quick else 1024, {}
    print(f"\nvectors a second, {size} x {size}, 8-bit weights in 2-bit cells, 8 input bits, arrays of 128 x 128\n")
    print(f"{'cells and converters':<26}{'vectors':>8}{'device':>12}{'NumPy, one call':>17}")
    for name, engine in speed_cases(size).items():
        there, rng = TorchEngine.of(engine, place.device), np.random.default_rng(1)
        for vectors in (64, 256 if place.quick else 4096):
            x = rng.integers(0, 256, (vectors, size))
            given = torch.from_numpy(x).to(place.device)
            speeds[f"{name}, {vectors}"] = rate = vectors / wall(place, lambda e=there, g=given: e.multiply(g))
            here = "–"
            if vectors == 64:
                began = time.perf_counter()
                engine.multiply(x)
                here = f"{vectors / (time.perf_counter() - began):,.0f}"
            print(f"{name:<26}{vectors:>8,}{rate:>12,.0f}{here:>17}", flush=True)
    return {"differences": differences, "moments": off, "vectors_per_s": speeds}


def exact_cases() -> dict[str, tuple[str, Adc, Device]]:
    from itertools import product

    adcs = {"ideal": Adc("ideal"), "5 bits": Adc("saturating", 5), "3 bits": Adc("saturating", 3)}
    encodings = ("differential", "offset", "sign-magnitude")
    whole = {f"{one}, {name}": (one, adcs[name], Device()) for one, name in product(encodings, adcs)}
    stuck = Device(stuck_low=0.01, stuck_high=0.01)
    return {**whole, "differential, 5 bits, stuck": ("differential", adcs["5 bits"], stuck)}


def difference(place: Place, encoding: str, adc: Adc, device: Device) -> float:
    from dovetail.crossbar.cells import Cells

    rng = np.random.default_rng(0)
    setup = Setup(Cells(2, encoding), Arrays(128, 128), adc, Inputs(8, True), device)
    engine = Engine.of(write(FixedPoint(8, "row").codes(rng.normal(size=(40, 300))), setup))
    x = rng.integers(-128, 128, (64, 300))
    there = TorchEngine.of(engine, place.device).multiply(torch.from_numpy(x)).cpu().numpy()
    return float(np.abs(engine.multiply(x) - there).max())


def with_tf32(place: Place) -> float:
    """The same where a program lets products of floats lose ten bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    found = max(difference(place, *case) for case in exact_cases().values())
    torch.set_float32_matmul_precision(before)
    return found


def moments(place: Place) -> tuple[float, float]:
    """Of the noise over what it should be: every bit that is on adds variance to each cell's read."""
    setup = Setup(arrays=Arrays(128, 128), adc=Adc("ideal"), device=Device(read_sigma=0.2))
    layer = write(FixedPoint(8).codes(np.random.default_rng(0).normal(size=(256, 256))), setup)
    x = np.random.default_rng(1).integers(0, 256, (400, 256))
    there = TorchEngine.of(Engine.of(layer), place.device).multiply(torch.from_numpy(x)).cpu().numpy()
    on = np.stack([sum(4**i * (x[:, rows] >> i & 1).sum(axis=1) for i in range(8)) for rows in layer.tiles], axis=1)
    live = layer.statistics.highest > 0
    sigma = 0.2 * layer.codes.steps[0, 0] * np.sqrt(on @ np.einsum("ps,psto->to", layer.worth**2.0, live))
    scaled = (there - x @ layer.codes.weights().T) / sigma
    return float(scaled.mean() * np.sqrt(scaled.size)), float((scaled.var() - 1) * np.sqrt(scaled.size / 2))


def speed_cases(size: int) -> dict[str, Engine]:
    rng = np.random.default_rng(0)
    codes = rng.integers(-255, 256, (size, size))
    mixed = codes.copy()
    mixed[size // 5 :] *= rng.random((size - size // 5, size)) < 0.02  # so few cells that none of these can clip
    cases = {
        "provably lossless": (codes, Adc("saturating", 9), Device()),
        "20 % may clip": (mixed, Adc("saturating", 5), Device()),
        "all may clip": (codes, Adc("saturating", 3), Device()),
        "read noise": (codes, Adc("saturating", 8), Device(read_sigma=0.1)),
    }  # fmt: skip
    return {
        name: Engine.of(write(Codes(w.astype(np.int32), np.ones((1, 1)), FixedPoint(8)), Setup(adc=adc, device=device)))
        for name, (w, adc, device) in cases.items()
    }


def wall(place: Place, run: Callable[[], object]) -> float:
    """Seconds of a call as a program makes it, launches included: the median of five, after one that warms up."""
    found = []
    for _ in range(6):
        place.wait()
        began = time.perf_counter()
        run()
        place.wait()
        found.append(time.perf_counter() - began)
    return median(found[1:])


# --- host


def host(place: Place) -> dict[str, Any]:
    """What the commands say of this computer."""
    said = {}
    model = ("Qwen/Qwen3-0.6B", "--batch", "1", "--prompt", "512", "--output", "64", "--json")
    for name in ("host", place.machine.name):
        said[name] = json.loads(command("estimate", *model[:1], "--on", name, *model[1:]))
        tpot = said[name]["tpot"]
        print(
            f"\nestimate --on {name}: {tpot['value'] * 1e3:.2f} ms a token, {tpot['kind']}, as {said[name]['machine']}"
        )
    checkup = json.loads(command("doctor", "--json"))
    rows = {one["name"]: one for one in checkup["machine"]}
    for name in ("cores", "memory", "vector units", "kernels", "GPU", "energy meter"):
        print(f"doctor: {name:<14}{rows[name]['status']:<9}{rows[name]['found']}")
    if place.cuda:
        named = torch.cuda.get_device_name() in rows["GPU"]["found"]
        known = f"--on {place.machine.name}" in rows["GPU"]["found"]
        print(f"doctor names the GPU that torch has: {named}; and the machine it is: {known}", flush=True)
    return {"doctor": checkup, "estimate": said}


def command(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dovetail", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"dovetail {' '.join(words)}: {done.stderr[-600:]}")
    return done.stdout


# --- all


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--machine", help="of the zoo; by default the one that the driver names")
    parser.add_argument("--quick", action="store_true", help="small cases, to try the script")
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    given = parser.parse_args(argv)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print(f"left out: torch {torch.__version__} sees no CUDA device here")
        return 0
    place = Place(given.device, machine(given.machine, given.device), given.quick)
    described(place)
    found, failed = {}, []
    for name in given.only.split(","):
        began = time.perf_counter()
        try:
            found[name] = part(name)(place)
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"[{name}: {time.perf_counter() - began:.0f} s]", flush=True)
        if given.out:
            given.out.write_text(json.dumps(found, indent=1, default=str))
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def part(name: str) -> Callable[[Place], dict[str, Any]]:
    if name == "decode":
        from gpu_decode import decode

        return decode
    if name == "estimate":
        from gpu_step import steps

        return steps
    return {"products": products, "crossbar": crossbar, "host": host}[name]


def machine(named: str | None, device: str) -> Machine:
    """The machine asked for, or that of the zoo which the driver's name says."""
    if named or not device.startswith("cuda"):
        return load_machine(named or "host")
    name = torch.cuda.get_device_name()
    if not (known := machine_of(name)):
        raise SystemExit(f"the zoo has no '{name}': --machine FILE.yaml, or the nearest relative")
    return load_machine(known)


def described(place: Place) -> None:
    print(f"torch {torch.__version__}, {place.device}, predicted as {place.machine.name}, {time.strftime('%d %B %Y')}")
    if place.cuda:
        from dovetail.hardware.gpus import gpus

        print("; ".join(f"{one.name}, {one.memory}, driver {one.driver}" for one in gpus()))


if __name__ == "__main__":
    sys.exit(main())
