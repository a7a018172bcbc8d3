"""Fit the constants of the mixture-of-experts model to measured kernels, and score them on shapes the fit never saw.

Data: aiconfigurator's kernel measurements (commit 095f58a, Apache-2.0) under ``$DOVETAIL_DATA``: the commonest
kernel of each table and dtype. The split is by shape: sha1("hidden,inner,topk,experts") mod 100 < 5 goes to the fit,
or, where fewer than two shapes do, those with the lowest sha1, about 5 % and at least two. All others are scored.
Needs pyarrow.

Run: python bench/mixture.py
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet

from dovetail.cost.mixture import Experts, Mixture, mixture_time
from dovetail.cost.routing import Balanced, PowerLaw, Routing
from dovetail.hardware import load_machine
from dovetail.hardware.chip_facts import chip_facts
from dovetail.hardware.kernels import EXPERT_TILES, MARLIN_TILES, ROW_TILES, MixtureConstants

Array = npt.NDArray[np.float64]
A100, H100 = "a100_sxm/moe/vllm/0.14.0", "h100_sxm/moe/vllm/0.24.0"
# Nemotron's experts have no gate. The older table's collector measured gated ones whatever the model.
UNGATED = {(2688, 1856, 6, 128), (2048, 5120, 22, 512), (4096, 2688, 22, 512), (1024, 2688, 22, 512)}
TRITON, TRITON_OLD = MixtureConstants(), MixtureConstants(tiles=EXPERT_TILES, tiles_by="tokens_per_expert")
CUTLASS = MixtureConstants(whole_step=False)
MARLIN = MixtureConstants(tiles=MARLIN_TILES, tiles_by="rows_per_expert")
BY_ROWS = MixtureConstants(tiles=ROW_TILES, tiles_by="rows_per_expert")
LIMITS = {
    "compute": (0.3, 1.0), "ramp_rows": (0.1, 300.0), "memory": (0.2, 1.0), "scatter": (0.2, 1.0),
    "overlap": (0.0, 1.0), "regather": (1e-3, 1.0), "unaligned": (1.0, 10.0), "tile_s": (1e-8, 1e-5),
    "empty_tile_s": (1e-8, 4e-7), "launch_s": (5e-6, 6e-5), "remote_s": (1e-7, 3e-5),
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Where a dtype's measurements lie, and what its weights and activations take."""

    chip: str
    folder: str
    dtype: str
    arithmetic: str
    weight_bytes: float
    act_bytes: float
    stack: MixtureConstants


TABLES = (
    Table("h100-sxm", H100, "bfloat16", "bf16", 2.0, 2.0, TRITON),
    Table("h100-sxm", H100, "fp8", "fp8", 1.0, 1.0, CUTLASS),
    Table("h100-sxm", H100, "fp8_block", "fp8", 1.0 + 4 / 128**2, 1.0 + 4 / 128, CUTLASS),
    Table("h100-sxm", H100, "int4_wo", "bf16", 0.5 + 2 / 128, 2.0, MARLIN),
    Table("h100-sxm", H100, "w4a16_mxfp4", "bf16", 0.5 + 1 / 32, 2.0, BY_ROWS),
    Table("a100-sxm", A100, "bfloat16", "bf16", 2.0, 2.0, TRITON_OLD),
)


@dataclass(frozen=True)
class Calls:
    """Measured calls, one per row: shapes and seconds (rows,), and which belong to the fit."""

    table: Table
    tokens: Array
    hidden: Array
    inner: Array
    top_k: Array
    experts: Array
    split: Array
    ways: Array
    gated: npt.NDArray[np.bool_]
    exponent: Array  # of the power law; 0 for balanced
    time_s: Array
    fit: npt.NDArray[np.bool_]

    def only(self, rows: npt.NDArray[np.bool_]) -> Calls:
        """Some of the rows."""
        return replace(self, **{n: v[rows] for n, v in vars(self).items() if isinstance(v, np.ndarray)})


def digest(shape: tuple[int, ...]) -> int:
    """Hash that decides on which side of the split a shape lies."""
    return int(hashlib.sha1(",".join(map(str, shape)).encode()).hexdigest(), 16)


def for_fit(shapes: set[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """The shapes of the fit: about 5 %, at least two."""
    chosen = {s for s in shapes if digest(s) % 100 < 5}
    return chosen if len(chosen) > 1 else set(sorted(shapes, key=digest)[: max(2, round(0.05 * len(shapes)))])


def read(data: Path, table: Table) -> Calls:
    """The rows of a dtype's commonest kernel."""
    file = data / "silicon" / "aiconfigurator" / table.folder / "moe_perf.parquet"
    rows = parquet.read_table(file, filters=[("moe_dtype", "=", table.dtype)]).to_pylist()
    kernel = Counter(row["kernel_source"] for row in rows).most_common(1)[0][0]
    rows = [row for row in rows if row["kernel_source"] == kernel]
    shapes = [tuple(int(row[c]) for c in ("hidden_size", "inter_size", "topk", "num_experts")) for row in rows]
    chosen, always = for_fit(set(shapes)), table.folder == A100
    hidden, inner, top_k, experts = np.array(shapes, float).T
    laws = [row["distribution"] for row in rows]
    return Calls(
        table, column(rows, "num_tokens"), hidden, inner, top_k, experts, column(rows, "moe_tp_size"),
        column(rows, "moe_ep_size"), np.array([always or s not in UNGATED for s in shapes]),
        np.array([0.0 if law == "balanced" else float(law.rsplit("_", 1)[1]) for law in laws]),
        column(rows, "latency") / 1e3, np.array([s in chosen for s in shapes]),
    )  # fmt: skip


def column(rows: list[dict[str, object]], name: str) -> Array:
    """One column as floats."""
    return np.array([row[name] for row in rows], float)


def predict(calls: Calls, constants: MixtureConstants) -> Array:
    """Predicted seconds."""
    table, chip = calls.table, chip_facts(load_machine(calls.table.chip), calls.table.arithmetic)
    found = np.empty_like(calls.time_s)
    for exponent in np.unique(calls.exponent):
        law: Routing = PowerLaw(float(exponent)) if exponent else Balanced()
        rows = calls.exponent == exponent
        c = calls.only(rows)
        of = Experts(c.experts, c.top_k, c.ways, table.weight_bytes, table.act_bytes)
        shape = Mixture(c.hidden, c.inner / c.split, of, c.gated)
        found[rows] = mixture_time(c.tokens, shape, chip, constants, law).time_s
    return found


def roofline_s(calls: Calls) -> Array:
    """A plain roofline: FLOPs over the peak, or bytes of the experts reached over the bandwidth."""
    table, c = calls.table, calls
    chip = chip_facts(load_machine(table.chip), table.arithmetic)
    expert = (2 + c.gated) * c.hidden * c.inner / c.split
    rows, reached = c.tokens * c.top_k / c.ways, c.experts / c.ways * (1 - (1 - c.top_k / c.experts) ** c.tokens)
    return np.asarray(np.maximum(2 * rows * expert / chip.peak, reached * expert * table.weight_bytes / chip.bandwidth))


def search(
    loss: Callable[[MixtureConstants], float], start: MixtureConstants, limits: dict[str, tuple[float, float]]
) -> MixtureConstants:
    """Coordinate search within limits, on logarithms; the step is halved when no coordinate helps."""
    best, value, step = start, loss(start), 0.4
    while step > 0.01:
        improved = False
        for name, (low, high) in limits.items():
            for factor in (np.exp(step), np.exp(-step)):
                trial = replace(best, **{name: float(np.clip(getattr(best, name) * factor, low, high))})
                if (found := loss(trial)) < value - 1e-9:
                    best, value, improved = trial, found, True
        step = step if improved else step / 2
    return best


def fit(calls: Calls, weight: float = 0.01) -> MixtureConstants:
    """Constants of least mean |log error| on the fit's shapes.

    A few shapes leave some constants undetermined: `weight` holds those near the defaults, which are rounded typical
    values of the two chips.
    """
    chosen, start = calls.only(calls.fit), calls.table.stack

    def loss(constants: MixtureConstants) -> float:
        error = np.abs(np.log(predict(chosen, constants) / chosen.time_s)).mean()
        away = sum(np.log(getattr(constants, n) / getattr(start, n)) ** 2 for n in LIMITS)
        return float(error + weight * away / len(LIMITS))

    return search(loss, start, LIMITS)


def scores(predicted: Array, truth: Array) -> str:
    """MAPE, MAPE above 20 us, and sum of |error| over sum of time."""
    relative = np.abs(predicted / truth - 1)
    total = np.abs(predicted - truth).sum() / truth.sum()
    return f"{relative.mean():7.1%}{relative[truth > 20e-6].mean():8.1%}{total:8.1%}"


def report(calls: Calls, constants: MixtureConstants) -> None:
    """One table's figures: held-out, plain roofline, then by law and token count."""
    held, predicted = ~calls.fit if not calls.fit.all() else calls.fit, predict(calls, constants)
    note = "held out" if not calls.fit.all() else "all shapes are the fit's"
    print(f"\n{calls.table.chip} {calls.table.dtype}: {len(held)} calls, {calls.fit.sum()} to fit; scored: {note}")
    print("   " + ", ".join(f"{n} {getattr(constants, n):.3g}" for n in LIMITS))
    print(f"   {'':<28}{'MAPE':>7}{'>20 us':>8}{'sum':>8}")
    print(f"   {'model':<28}{scores(predicted[held], calls.time_s[held])}")
    print(f"   {'plain roofline':<28}{scores(roofline_s(calls)[held], calls.time_s[held])}")
    for exponent in np.unique(calls.exponent):
        for few in (True, False):
            rows = held & (calls.exponent == exponent) & ((calls.tokens <= 128) == few)
            name = f"power law {exponent}" if exponent else "balanced"
            print(
                f"   {name + (', <= 128 tokens' if few else ', more'):<28}{scores(predicted[rows], calls.time_s[rows])}"
            )


def main() -> None:
    """Fit every table, report it, and try one chip's constants on the other."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description="Fit the mixture model to measured kernels.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DOVETAIL_DATA", beside)))
    data = parser.parse_args().data
    fitted = {}
    for table in TABLES:
        calls = read(data, table)
        constants = fit(calls)
        report(calls, constants)
        if table.dtype == "bfloat16":
            fitted[table.chip] = (calls, constants)
    print("\nconstants of one chip on the other, the other's tiles kept (bf16, held out)")
    for here, there in (("a100-sxm", "h100-sxm"), ("h100-sxm", "a100-sxm")):
        calls, own = fitted[there]
        moved = replace(fitted[here][1], tiles=own.tiles, tiles_by=own.tiles_by)
        print(f"   {here + ' on ' + there:<28}{scores(predict(calls, moved)[~calls.fit], calls.time_s[~calls.fit])}")


if __name__ == "__main__":
    main()
