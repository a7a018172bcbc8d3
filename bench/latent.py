"""Fit the constants of the latent-attention model to measured kernels, and score them on head counts never seen.

Data: aiconfigurator's measurements (commit 095f58a, Apache-2.0) under ``$DOVETAIL_DATA``, of DeepSeek-V3's shape,
prefill and decode together: vLLM 0.14's attention calls, launched by the host, and vLLM 0.24's whole attention modules
with their projections, replayed from a CUDA graph (`projected`: there is no floor). The split is by the heads of a
chip: sha1("heads") mod 100 < 5 goes to the fit, or, where fewer than two do, the two with the lowest sha1. All others
are scored. Needs pyarrow.

Run: python bench/latent.py
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet
from mixture import column, for_fit, scores, search

from dovetail.cost.latent import Latent, decode_time, prefill_time, project_time
from dovetail.hardware import load_machine
from dovetail.hardware.chip_facts import chip_facts
from dovetail.hardware.kernels import LatentConstants

Array = npt.NDArray[np.float64]
LIMITS = {
    "compute": (0.3, 1.0), "project": (0.3, 1.0), "memory": (0.2, 1.0), "pointwise": (0.1, 1.0), "overlap": (0.0, 1.0),
    "tile_s": (1e-7, 1e-5), "tail": (0.01, 1.0), "short_bytes": (1.0, 1e4), "store_s": (5e-8, 5e-6),
    "kernels_s": (1e-6, 2e-4), "prefill_floor_s": (1e-6, 5e-4), "decode_floor_s": (1e-6, 5e-4),
}  # fmt: skip
HOST = ("kernels_s", "prefill_floor_s", "decode_floor_s")  # of the software and the computer around the chip
HOPPER = LatentConstants(short_tokens=512)
TRITON = LatentConstants(head_block=16, head_rows=16, splits=4, padded_values=True)
GRAPH = replace(HOPPER, prefill_floor_s=1e-6, decode_floor_s=1e-6)
HIDDEN, Q_RANK = 7168, 1536  # DeepSeek-V3


@dataclass(frozen=True)
class Table:
    """Where measurements lie, the dtype of the cache, and the kernels that ran."""

    chip: str
    cache: str
    start: LatentConstants
    projected: bool = False

    @property
    def name(self) -> str:
        return f"{self.chip}, {self.cache} cache" + (", whole module" if self.projected else "")


TABLES = (
    Table("h100-sxm", "bfloat16", HOPPER),
    Table("h100-sxm", "bfloat16", GRAPH, projected=True),
    Table("h100-sxm", "fp8", HOPPER),
    Table("a100-sxm", "bfloat16", TRITON),
)


@dataclass(frozen=True)
class Calls:
    """Measured calls, one per row: shapes and seconds (rows,), and which belong to the fit."""

    table: Table
    heads: Array
    batch: Array
    tokens: Array
    context: Array
    decode: npt.NDArray[np.bool_]
    time_s: Array
    fit: npt.NDArray[np.bool_]

    def only(self, rows: npt.NDArray[np.bool_]) -> Calls:
        """Some of the rows."""
        return replace(self, **{n: v[rows] for n, v in vars(self).items() if isinstance(v, np.ndarray)})


def read(data: Path, table: Table) -> Calls:
    """Both phases of a chip, for one dtype of the cache; products in bf16."""
    version, file = ("0.24.0", "mla_{}_module_perf") if table.projected else ("0.14.0", "{}_mla_perf")
    folder = data / "silicon" / "aiconfigurator" / table.chip.replace("-", "_") / "mla" / "vllm" / version
    rows = [
        {**row, "decode": name == "generation"}
        for name in ("context", "generation")
        for row in parquet.read_table(folder / f"{file.format(name)}.parquet").to_pylist()
        if row["kv_cache_dtype"] == table.cache and row.get("gemm_type", "bfloat16") == "bfloat16"
    ]
    heads = column(rows, "num_heads")
    chosen = [s[0] for s in for_fit({(int(h),) for h in heads})]
    return Calls(
        table, heads, column(rows, "batch_size"), column(rows, "isl"), column(rows, "step"),
        column(rows, "decode") > 0, column(rows, "latency") / 1e3, np.isin(heads, chosen),
    )  # fmt: skip


def predict(calls: Calls, constants: LatentConstants) -> Array:
    """Predicted seconds."""
    table, found = calls.table, np.empty_like(calls.time_s)
    chip, size = chip_facts(load_machine(table.chip), "bf16"), 1.0 if table.cache == "fp8" else 2.0
    for decode in (False, True):
        c = calls.only(calls.decode == decode)
        shape = Latent(c.heads, cache_bytes=size)
        if decode:
            time = decode_time(c.batch, c.context + 1, shape, chip, constants)
        else:
            time = prefill_time(c.batch, c.tokens, shape, chip, constants, c.context)
        if table.projected:
            time = time + project_time(c.batch * c.tokens, HIDDEN, Q_RANK, shape, chip, constants)
        found[calls.decode == decode] = time.time_s
    return found


def roofline_s(calls: Calls) -> Array:
    """A plain roofline of the attention and of the products around it."""
    chip, c, size = (
        chip_facts(load_machine(calls.table.chip), "bf16"),
        calls,
        1.0 if calls.table.cache == "fp8" else 2.0,
    )
    new, keys = c.batch * c.tokens, c.tokens + c.context
    pairs = np.where(c.decode, new * keys * (2 * 512 + 64), new * (keys + 1) / 2 * (192 + 128))
    flops = 2 * c.heads * (pairs + new * 512 * (128 + 128))
    moved = np.where(c.decode, c.batch * keys * 576 * size, new * c.heads * 2 * (192 + 128) * 2)
    weights = c.heads * 512 * 256
    if calls.table.projected:
        around = (Q_RANK + 576) * HIDDEN + c.heads * (192 * Q_RANK + 128 * HIDDEN)
        flops, weights = flops + 2 * new * around, weights + around
    return np.asarray(np.maximum(flops / chip.peak, (moved + weights * 2) / chip.bandwidth))


def fit(calls: Calls, weight: float = 0.01) -> LatentConstants:
    """Constants of least mean |log error| on the fit's heads, those they leave open held near the defaults."""
    chosen, start = calls.only(calls.fit), calls.table.start
    limits = {n: v for n, v in LIMITS.items() if not (calls.table.projected and n.endswith("floor_s"))}

    def loss(constants: LatentConstants) -> float:
        error = np.abs(np.log(predict(chosen, constants) / chosen.time_s)).mean()
        away = sum(np.log(getattr(constants, n) / getattr(start, n)) ** 2 for n in LIMITS)
        return float(error + weight * away / len(LIMITS))

    return search(loss, start, limits)


def main() -> None:
    """Fit every table, report it, and try one chip's constants on the other."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description="Fit the latent-attention model to measured kernels.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DOVETAIL_DATA", beside)))
    data = parser.parse_args().data
    fitted = {}
    for table in TABLES:
        calls = read(data, table)
        constants = fit(calls)
        report(calls, constants)
        if table.cache == "bfloat16" and not table.projected:
            fitted[table.chip] = (calls, constants)
    print("\nconstants of one chip on the other, the other's kernels and host kept (bf16 cache, held out)")
    for here, there in (("a100-sxm", "h100-sxm"), ("h100-sxm", "a100-sxm")):
        (calls, own), moved = fitted[there], fitted[here][1]
        moved = replace(own, **{n: getattr(moved, n) for n in LIMITS if n not in HOST})
        print(f"   {here + ' on ' + there:<28}{scores(predict(calls, moved)[~calls.fit], calls.time_s[~calls.fit])}")


def report(calls: Calls, constants: LatentConstants) -> None:
    """One table's figures: held-out, plain roofline, then by phase and length."""
    held, predicted = ~calls.fit, predict(calls, constants)
    heads = ", ".join(f"{h:.0f}" for h in np.unique(calls.heads[calls.fit]))
    print(f"\n{calls.table.name}: {len(held)} calls, {calls.fit.sum()} to fit (heads {heads})")
    print("   " + ", ".join(f"{n} {getattr(constants, n):.3g}" for n in LIMITS))
    print(f"   {'':<28}{'MAPE':>7}{'>20 us':>8}{'sum':>8}")
    print(f"   {'model':<28}{scores(predicted[held], calls.time_s[held])}")
    print(f"   {'plain roofline':<28}{scores(roofline_s(calls)[held], calls.time_s[held])}")
    for decode in (False, True):
        for launch in (True, False):
            floor = constants.decode_floor_s if decode else constants.prefill_floor_s
            rows = held & (calls.decode == decode) & ((predicted <= floor) == launch)
            label = ("decode" if decode else "prefill") + (", launch-bound" if launch else ", beyond launch")
            if rows.any():
                print(f"   {label:<28}{scores(predicted[rows], calls.time_s[rows])}")


if __name__ == "__main__":
    main()
