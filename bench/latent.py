"""Fit the constants of the latent-attention model to measured kernels, and score them on head counts never seen.

Data: aiconfigurator's measurements (commit 095f58a, Apache-2.0) under ``$DOVETAIL_DATA``, of DeepSeek-V3's shape,
prefill and decode together: vLLM 0.24's whole attention modules on the H100, with their projections, replayed from a
CUDA graph; and vLLM 0.14's attention calls on the A100 and H100, without projections, launched by a host. A module is
predicted as a step of a model is: the sum of what `dovetail.cost` says of its operators, of which only attention's
constants are fitted here. A call is attention and the product that expands or absorbs, and no shorter than the host
takes to launch it: a time for each phase, fitted beside and left out of what ships, since a captured step has none.

The split is by the heads of a chip: sha1("heads") mod 100 < 5 goes to the fit, or, where fewer than two do, the two
with the lowest sha1. All others are scored. An fp8 cache is expanded by the same kernels as a bf16 one, so only the
constants of absorbed attention are fitted to it. Needs pyarrow.

Run: python bench/latent.py
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet
from mixture import column, for_fit, scores

from dovetail.cost.evaluate import evaluate
from dovetail.cost.gpu import latent_cost
from dovetail.cost.traffic import traffic
from dovetail.hardware import Machine, load_machine
from dovetail.hardware.kernels import LatentConstants
from dovetail.model import Model
from dovetail.model.config import read_fields
from dovetail.model.find import locate
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Collective, Operator
from dovetail.system.tensor_parallel import tensor_parallel

Array = npt.NDArray[np.float64]
MODEL, HEADS = "deepseek-ai/DeepSeek-V3", 128
MODULE = ("q_a", "q_a_norm", "q_b", "kv_a", "kv_a_norm", "rotary", "kv_b", "attention", "o")
CALL = ("kv_b", "attention")
LIMITS = {
    "expanded": (0.3, 0.9), "absorbed": (0.2, 0.9), "memory": (0.2, 1.0), "pointwise": (0.1, 1.0),
    "overlap": (0.01, 1.0), "tile_s": (1e-7, 1e-5), "tail": (0.01, 1.0), "store_s": (5e-8, 5e-6),
    "expanded_gaps_s": (1e-6, 2e-4), "absorbed_gaps_s": (1e-6, 2e-4),
}  # fmt: skip
ABSORBED = ("absorbed", "memory", "overlap", "absorbed_gaps_s")  # of the kernel that reads the cache
HOST = (1e-5, 5e-4)  # s
HOPPER = LatentConstants(short_tokens=512)
TRITON = LatentConstants(head_block=16, head_rows=16, splits=4, padded_values=True)


@dataclass(frozen=True)
class Table:
    """Where measurements lie, the dtypes of the cache and of the products, and which constants are fitted to them."""

    chip: str
    cache: str
    module: bool
    products: str = "bfloat16"
    fitted: tuple[str, ...] = ()
    start: LatentConstants = HOPPER
    host: tuple[float, float] = (0.0, 0.0)  # s that launching takes in prefill and decode, as `fit` finds it

    @property
    def entry(self) -> str:
        """Of the chip's constants."""
        return self.cache.replace("bfloat16", "bf16")

    @property
    def name(self) -> str:
        """Operator and dtypes, as rows of the table are named."""
        products = f", {self.products}" if self.products != "bfloat16" else ""
        return f"latent {'module' if self.module else 'call'} {self.entry}{products}"


TABLES = (
    Table("h100-sxm", "bfloat16", True, fitted=tuple(LIMITS)),
    Table("h100-sxm", "fp8", True, fitted=ABSORBED, start=replace(HOPPER, short_tokens=128)),
    Table("h100-sxm", "bfloat16", True, "fp8_block"),
    Table("h100-sxm", "fp8", True, "fp8_block"),
    Table("h100-sxm", "bfloat16", False, host=(164e-6, 166e-6)),
    Table("h100-sxm", "fp8", False, host=(203e-6, 211e-6)),
    Table("a100-sxm", "bfloat16", False, fitted=tuple(LIMITS), start=TRITON, host=(295e-6, 339e-6)),
)


@dataclass(frozen=True)
class Group:
    """Calls of one graph: its operators, of which attention is priced again and again, and the rows they stand for."""

    rows: npt.NDArray[np.intp]
    operators: tuple[Operator, ...]
    attention: Attention
    rest_s: Array

    def attention_s(self, machine: Machine, constants: LatentConstants) -> Array:
        """Seconds of the attention operator with these constants, shape (rows,)."""
        found = latent_cost(self.attention, machine, constants)
        return np.broadcast_to(np.asarray(found.time_s), self.rows.shape)


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
    groups: tuple[Group, ...]


def read(data: Path, table: Table) -> Calls:
    """Both phases of a chip, for one dtype of the cache and one of the products."""
    version, file = ("0.24.0", "mla_{}_module_perf") if table.module else ("0.14.0", "{}_mla_perf")
    folder = data / "silicon" / "aiconfigurator" / table.chip.replace("-", "_") / "mla" / "vllm" / version
    rows = [
        {**row, "decode": name == "generation"}
        for name in ("context", "generation")
        for row in parquet.read_table(folder / f"{file.format(name)}.parquet").to_pylist()
        if row["kv_cache_dtype"] == table.cache and row.get("gemm_type", table.products) == table.products
    ]
    heads, decode = column(rows, "num_heads"), column(rows, "decode") > 0
    chosen = [s[0] for s in for_fit({(int(h),) for h in heads})]
    calls = Calls(
        table, heads, column(rows, "batch_size"), column(rows, "isl"), column(rows, "step"), decode,
        column(rows, "latency") / 1e3, np.isin(heads, chosen), (),
    )  # fmt: skip
    return replace(calls, groups=tuple(groups(calls)))


def groups(calls: Calls) -> Iterator[Group]:
    """The graph of each number of heads and each phase, attention apart, the rest priced with what ships."""
    machine = load_machine(calls.table.chip)
    for heads in np.unique(calls.heads):
        for decode in np.unique(calls.decode):
            rows = np.flatnonzero((calls.heads == heads) & (calls.decode == decode))
            operators = of_module(calls, rows, int(heads), bool(decode))
            attention = next(o for o in operators if isinstance(o, Attention))
            rest = tuple(o for o in operators if o is not attention)
            cost = evaluate(Graph(rest, (), 1, 1, 0, 1), machine)
            rest_s = sum((np.broadcast_to(o.time_s, rows.shape) for o in cost.operators), np.zeros(len(rows)))
            yield Group(rows, operators, attention, rest_s)


def of_module(calls: Calls, rows: npt.NDArray[np.intp], heads: int, decode: bool) -> tuple[Operator, ...]:
    """One layer's operators of the attention module, or of the call."""
    tokens = 1 if decode else calls.tokens[rows]
    kv_dtype = calls.table.cache.replace("bfloat16", "bf16")
    step = model(calls.table.products).graph(calls.batch[rows], tokens, calls.context[rows], kv_dtype=kv_dtype)
    chosen = MODULE if calls.table.module else CALL
    return tuple(
        replace(o, layers=(0,))
        for o in tensor_parallel(step, HEADS // heads).operators
        if 0 in o.layers and o.name.partition("@")[0] in chosen and not isinstance(o, Collective)
    )


@cache
def model(products: str) -> Model:
    """The measured model, with its weights as they are stored (fp8 in blocks) or in bf16."""
    fields = read_fields(locate(MODEL)[1])
    return Model.load({k: v for k, v in fields.items() if k != "quantization_config" or products == "fp8_block"})


def predict(calls: Calls, constants: LatentConstants, only: npt.NDArray[np.bool_] | None = None) -> Array:
    """Predicted seconds, the host left out; of groups without a row of `only`, no number."""
    machine, found = load_machine(calls.table.chip), np.full_like(calls.time_s, np.nan)
    for group in calls.groups:
        if only is None or only[group.rows].any():
            found[group.rows] = group.rest_s + group.attention_s(machine, constants)
    return found


def roofline_s(calls: Calls) -> Array:
    """A plain roofline of the whole: FLOPs over their peaks, or bytes over the bandwidth."""
    machine, found = load_machine(calls.table.chip), np.empty_like(calls.time_s)
    for group in calls.groups:
        works = [traffic(operator, machine) for operator in group.operators]
        compute = sum(work.flops / machine.peak_of(work.dtype) for work in works)
        moved = sum(work.streamed + work.activations for work in works)
        found[group.rows] = np.maximum(compute, moved / machine.memory.bandwidth)
    return found


def fit(calls: Calls, start: LatentConstants, weight: float = 0.01) -> tuple[LatentConstants, tuple[float, float]]:
    """Constants of least mean |log error| on the fit's heads, and seconds of the host in prefill and decode.

    Constants that these heads leave open are held near `start`.
    """
    chosen, names = calls.fit, calls.table.fitted

    def loss(constants: LatentConstants, host: tuple[float, float]) -> float:
        found = hosted(calls, predict(calls, constants, chosen), host)[chosen]
        away = sum(np.log(getattr(constants, n) / getattr(start, n)) ** 2 for n in names)
        return float(np.abs(np.log(found / calls.time_s[chosen])).mean() + weight * away / max(len(names), 1))

    limits = {n: LIMITS[n] for n in names}
    return search(loss, start, limits, not calls.table.module)


def search(
    loss: Callable[[LatentConstants, tuple[float, float]], float], start: LatentConstants,
    limits: dict[str, tuple[float, float]], hosts: bool,
) -> tuple[LatentConstants, tuple[float, float]]:  # fmt: skip
    """Coordinate search within limits, on logarithms; the step is halved when no coordinate helps."""
    best = {n: float(getattr(start, n)) for n in limits} | ({"prefill": 1.6e-4, "decode": 1.6e-4} if hosts else {})
    bounds = limits | ({"prefill": HOST, "decode": HOST} if hosts else {})

    def made(values: dict[str, float]) -> tuple[LatentConstants, tuple[float, float]]:
        constants = replace(start, **{n: values[n] for n in limits})
        return constants, (values.get("prefill", 0.0), values.get("decode", 0.0))

    value, step = loss(*made(best)), 0.4
    while step > 0.01:
        improved = False
        for name, (low, high) in bounds.items():
            for factor in (np.exp(step), np.exp(-step)):
                trial = best | {name: float(np.clip(best[name] * factor, low, high))}
                if (found := loss(*made(trial))) < value - 1e-9:
                    best, value, improved = trial, found, True
        step = step if improved else step / 2
    return made(best)


def hosted(calls: Calls, found: Array, host: tuple[float, float]) -> Array:
    """Calls, none shorter than the host takes to launch it."""
    return np.maximum(found, np.where(calls.decode, host[1], host[0]))


def fitted(data: Path) -> Iterator[tuple[Calls, LatentConstants, tuple[float, float]]]:
    """Every table, its constants (the ones before of the same cache and chip where none are fitted), and its host."""
    known: dict[tuple[str, str], LatentConstants] = {}
    for table in TABLES:
        calls = read(data, table)
        start = known.get((table.chip, table.cache), table.start)
        if table.cache == "fp8" and len(table.fitted) == len(ABSORBED):
            start = replace(known[table.chip, "bfloat16"], short_tokens=table.start.short_tokens)
        constants, host = fit(calls, start)
        if table.fitted:
            known[table.chip, table.cache] = constants
        yield calls, constants, host


def main() -> None:
    """Fit every table, report it, and try one chip's constants on the other."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description="Fit the latent-attention model to measured kernels.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DOVETAIL_DATA", beside)))
    data, known = parser.parse_args().data, {}
    for calls, constants, host in fitted(data):
        report(calls, constants, host)
        known[calls.table] = (calls, constants, host)
    print("\nconstants of one chip on the other, the other's kernels kept (bf16 cache, held out)")
    first, last = TABLES[0], TABLES[-1]
    for here, there in ((last, first), (first, last)):
        (calls, own, host), moved = known[there], known[here][1]
        found = hosted(calls, predict(calls, carried(moved, own)), host)[~calls.fit]
        print(f"   {here.chip + ' on ' + there.chip:<28}{scores(found, calls.time_s[~calls.fit])}")


def carried(constants: LatentConstants, own: LatentConstants) -> LatentConstants:
    """Constants of one chip with the kernels of another: theirs differ between the two, which no rule carries."""
    return replace(own, **{n: getattr(constants, n) for n in (*LIMITS, "spread")})


def report(calls: Calls, constants: LatentConstants, host: tuple[float, float]) -> None:
    """One table's figures: held-out, plain roofline, then by phase."""
    held, predicted = ~calls.fit, hosted(calls, predict(calls, constants), host)
    heads = ", ".join(f"{h:.0f}" for h in np.unique(calls.heads[calls.fit]))
    print(f"\n{calls.table.chip}, {calls.table.name}: {len(held)} calls, {calls.fit.sum()} to fit (heads {heads})")
    print("   " + ", ".join(f"{n} {getattr(constants, n):.3g}" for n in LIMITS if n in calls.table.fitted))
    if not calls.table.module:
        print(f"   host: prefill {host[0]:.3g} s, decode {host[1]:.3g} s")
    print(f"   {'':<28}{'MAPE':>7}{'>20 us':>8}{'sum':>8}")
    print(f"   {'model':<28}{scores(predicted[held], calls.time_s[held])}")
    print(f"   {'plain roofline':<28}{scores(roofline_s(calls)[held], calls.time_s[held])}")
    for decode in (False, True):
        rows = held & (calls.decode == decode)
        print(f"   {'decode' if decode else 'prefill':<28}{scores(predicted[rows], calls.time_s[rows])}")


if __name__ == "__main__":
    main()
