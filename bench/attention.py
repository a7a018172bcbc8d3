"""How far the attention model is from measured kernels, and whether one chip's constants serve another.

Data: vLLM's attention on A100, H100 and H200 (aiconfigurator 095f58a, Apache-2.0), rows of each table's commonest
kernel; a call is repeated, so keys and values that fit stay in the cache. Constants are fitted per chip and dtype on
the heads shapes whose sha1 of "heads,kv_heads" is below 5 modulo 100 - or, where fewer than two are, on the 5 % of
shapes (rounded up) of the lowest sha1 - and scored on all others; with --by-head-dim the key ends in ",head_dim". So
few shapes do not tell all constants apart, hence the fit is pulled, weakly, to the same typical constants everywhere.

Head dims above 256 have another kernel behind the same name: they are left out of fit and scores, and shown apart.
Needs pyarrow. Run: python bench/attention.py [--by-head-dim]
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet

from dovetail.cost.attention import AttentionCost, attention_cost, energy_j
from dovetail.design import kernel_fit
from dovetail.design.calls.attended import EVERY, LEAST, LIMITS, PULL, WIDEST
from dovetail.design.calls.split import shapes_for_fit
from dovetail.design.kernel_fit import scores, search
from dovetail.hardware import load_machine
from dovetail.hardware.chip_facts import chip_facts
from dovetail.hardware.kernels import (
    FLASH_2,
    FLASH_3,
    AttentionConstants,
    AttentionKernel,
    ChipFacts,
    EnergyConstants,
)
from dovetail.model.operators import Attention

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Chip:
    """A table's folder, the chip's kernel, and whether a call writes the cache too."""

    folder: str
    kernel: AttentionKernel
    appends: bool


# vLLM 0.22's calls do not write the cache.
CHIPS = {
    "a100-sxm": Chip("a100_sxm/attention/vllm/0.14.0", FLASH_2, True),
    "h100-sxm": Chip("h100_sxm/attention/vllm/0.24.0", FLASH_3, True),
    "h200-sxm": Chip("h200_sxm/attention/vllm/0.22.0", FLASH_3, False),
}
PHASES = {"prefill": "context", "decode": "generation"}
# Where every fit starts and what it is pulled to, for 16-bit and 8-bit products.
TYPICAL = {
    "bf16": AttentionConstants(
        launch_s=6e-6, pass_s=2.5e-6, tile_s=1.5e-6, pipeline_s=5e-7, sequence_s=1.5e-8, compute=0.75,
        score_clocks=0.04, core_bandwidth=5e10, memory=0.92, resident=0.45, append=0.5, append_token_s=1e-9,
    ),
    "fp8": AttentionConstants(
        launch_s=6e-6, pass_s=2.5e-6, tile_s=1.5e-6, pipeline_s=1e-6, sequence_s=1.5e-8, compute=0.35,
        score_clocks=0.02, core_bandwidth=2.5e10, memory=0.92, resident=0.45, append=0.5, append_token_s=1e-9,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Calls:
    """Measured calls of one chip and dtype, one a row: shapes, seconds, watts (empty where not measured)."""

    chip: str
    dtype: str
    attention: Attention
    time_s: Array
    power_w: Array
    prefill: Flags
    fit: Flags

    def of(self, rows: Flags) -> Calls:
        """Some of the rows."""
        names = ("batch", "tokens", "kv_len", "heads", "kv_heads", "head_dim", "window")
        shapes = replace(self.attention, **{name: getattr(self.attention, name)[rows] for name in names})
        power = self.power_w[rows] if self.power_w.size else self.power_w
        return replace(self, attention=shapes, time_s=self.time_s[rows], power_w=power, prefill=self.prefill[rows],
                       fit=self.fit[rows])  # fmt: skip

    def facts(self) -> ChipFacts:
        """The chip's numbers, with the peak of the dtype."""
        return chip_facts(load_machine(self.chip), self.dtype)

    def cost(self, constants: AttentionConstants, kernel: AttentionKernel | None = None) -> AttentionCost:
        """What the model says of these calls."""
        chip, width = CHIPS[self.chip], 1.0 if self.dtype == "fp8" else 2.0
        return attention_cost(
            self.attention, self.facts(), kernel or chip.kernel, constants,
            q_bytes=width, kv_bytes=width, appends=chip.appends, stays=True,
        )  # fmt: skip


def read(data: Path, name: str, by_head_dim: bool = False) -> list[Calls]:
    """The calls of a chip, one entry a dtype, prefill and decode together."""
    tables = [_table(data, name, phase, by_head_dim) for phase in PHASES.values()]
    column = {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}
    shapes = {key: column[key].astype(float) for key in ("batch", "tokens", "heads", "kv_heads", "head_dim")}
    attention = Attention("attention", kv_len=shapes["tokens"] + column["step"], window=column["window"], **shapes)
    power = column["power"].astype(float)
    calls = Calls(name, "bf16", attention, column["time_s"], power, column["prefill"], column["fit"])
    fp8 = column["fp8"].astype(bool)
    return [calls.of(~fp8), *([replace(calls, dtype="fp8").of(fp8)] if fp8.any() else [])]


def _table(data: Path, name: str, phase: str, by_head_dim: bool) -> dict[str, npt.NDArray[np.generic]]:
    file = data / "silicon" / "aiconfigurator" / CHIPS[name].folder / f"{phase}_attention_perf.parquet"
    raw = parquet.read_table(file).to_pydict()
    common = Counter(raw["kernel_source"]).most_common(1)[0][0]
    keep = np.array([source == common for source in raw["kernel_source"]])
    get = {key: np.asarray(values)[keep] for key, values in raw.items()}
    window = get.get("window_size", np.zeros(keep.sum()))
    parts = ["num_heads", "num_key_value_heads", *(["head_dim"] if by_head_dim else [])]
    keys = [",".join(str(value) for value in shape) for shape in zip(*(get[part].tolist() for part in parts))]
    used = get["head_dim"] <= WIDEST
    low = shapes_for_fit([key for key, use in zip(keys, used) if use], LEAST)
    return {
        "batch": get["batch_size"], "tokens": get["isl"], "step": get["step"], "heads": get["num_heads"],
        "kv_heads": get["num_key_value_heads"], "head_dim": get["head_dim"],
        "window": np.where(window > 0, window, EVERY).astype(float), "fp8": get["kv_cache_dtype"] == "fp8",
        "time_s": get["latency"].astype(float) / 1e3, "power": get.get("power", np.full(keep.sum(), np.nan)),
        "prefill": np.full(keep.sum(), phase == "context"), "fit": used & np.isin(keys, list(low)),
    }  # fmt: skip


def free(calls: Calls) -> list[str]:
    """The constants that these calls tell something about."""
    chip, names = CHIPS[calls.chip], [field.name for field in fields(AttentionConstants)]
    return [
        name for name in names
        if (chip.appends or not name.startswith("append")) and (chip.kernel.sequences or name != "sequence_s")
    ]  # fmt: skip


def fit(*tables: Calls) -> AttentionConstants:
    """Constants of the least mean |log error|, chips and phases weighing the same, with the pull to the typical."""
    typical, names = TYPICAL[tables[0].dtype], list(dict.fromkeys(name for calls in tables for name in free(calls)))
    parts = [calls.of(calls.fit & phase) for calls in tables for phase in (calls.prefill, ~calls.prefill)]

    def log_errors(constants: AttentionConstants) -> list[Array]:
        return [np.log(part.cost(constants).time_s / part.time_s) for part in parts]

    return kernel_fit.fit(typical, names, log_errors, limits=LIMITS, pull=PULL)


def roofline_s(calls: Calls) -> Array:
    """The larger of FLOPs over peak and bytes over bandwidth."""
    facts, cost = calls.facts(), calls.cost(TYPICAL[calls.dtype])
    return np.asarray(np.maximum(calls.attention.executed_flops / facts.peak, cost.read / facts.bandwidth))


def held_out(calls: Calls) -> Calls:
    """The rows that nothing was fitted on."""
    return calls.of(~calls.fit & (calls.attention.head_dim <= WIDEST))


def show(title: str, calls: Calls, constants: AttentionConstants) -> None:
    """One line a phase: our errors beside the roofline's."""
    for phase, rows in (("prefill", calls.prefill), ("decode", ~calls.prefill)):
        part = calls.of(rows)
        ours, plain = scores(part.cost(constants).time_s, part.time_s), scores(roofline_s(part), part.time_s)
        cells = "".join(f"{f'{a:.1%} / {b:.1%}':>17}" for a, b in zip(ours, plain, strict=True))
        print(f"{title:<26}{calls.dtype:<6}{phase:<9}{len(part.time_s):>7}{cells}")


def constants_line(constants: AttentionConstants, names: list[str]) -> str:
    """The fitted constants in readable units."""
    units = {"_s": (1e6, "us"), "bandwidth": (1e-9, "GB/s")}
    found = []
    for name in names:
        scale, unit = next((u for end, u in units.items() if name.endswith(end)), (1.0, ""))
        found.append(f"{name} {getattr(constants, name) * scale:.3g}{unit}")
    return ", ".join(found)


def fit_energy(calls: Calls) -> EnergyConstants:
    """Constants of the least mean |relative error| of measured power times measured time."""
    part = calls.of(calls.fit)
    cost, truth = part.cost(TYPICAL[calls.dtype]), part.power_w * part.time_s

    def loss(values: Array) -> float:
        predicted = energy_j(part.time_s, part.attention.executed_flops, cost.bytes, EnergyConstants(*values))
        return float(np.abs(predicted / truth - 1).mean())

    return EnergyConstants(*search(loss, np.array([200.0, 0.5e-12, 50e-12, 600.0])).tolist())


def noise(calls: Calls) -> float:
    """Mean |relative difference| of the watts of calls that do the same work: a window that cuts nothing, or none."""
    a, same = calls.attention, {}
    columns = (a.batch, a.tokens, a.kv_len, a.heads, a.kv_heads, a.head_dim)
    uncut = a.window >= a.kv_len
    for shape, power in zip(zip(*(column[uncut].tolist() for column in columns)), calls.power_w[uncut], strict=True):
        same.setdefault(shape, []).append(power)
    return float(np.mean([abs(pair[0] / pair[1] - 1) for pair in same.values() if len(pair) == 2]))


def show_energy(calls: Calls, constants: AttentionConstants) -> None:
    """Energy of held-out calls with measured and with predicted time, TDP times time, and what the meter repeats."""
    tdp = float(np.max(load_machine(calls.chip).tdp_w))
    for phase, rows in (("prefill", calls.prefill), ("decode", ~calls.prefill)):
        both = calls.of(rows)
        energy, part = fit_energy(both), held_out(both)
        truth, cost = part.power_w * part.time_s, part.cost(constants)
        by_time = [energy_j(t, part.attention.executed_flops, cost.bytes, energy) for t in (part.time_s, cost.time_s)]
        cells = "".join(f"{np.abs(j / truth - 1).mean():>10.1%}" for j in (*by_time, tdp * part.time_s))
        cells += f"{noise(both):>10.1%}   {energy.active_w:.0f} W, {energy.j_per_flop * 1e12:.2f} pJ/FLOP"
        cells += f", {energy.j_per_byte * 1e12:.0f} pJ/B, at most {energy.limit_w:.0f} W"
        print(f"{calls.chip:<10}{calls.dtype:<6}{phase:<9}{cells}")


def main() -> None:
    """Print constants, held-out errors, transfer between chips, and energy."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description="Fit the attention model to measured kernels and score it.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DOVETAIL_DATA", beside)))
    parser.add_argument("--by-head-dim", action="store_true", help="split by heads, KV heads and head dim")
    options = parser.parse_args()
    if not (options.data / "silicon").is_dir():
        raise SystemExit(f"no measured kernels in {options.data}: set DOVETAIL_DATA")
    tables = [calls for name in CHIPS for calls in read(options.data, name, options.by_head_dim)]
    found = {(calls.chip, calls.dtype): fit(calls) for calls in tables}
    for calls in tables:
        print(f"{calls.chip} {calls.dtype}: {constants_line(found[calls.chip, calls.dtype], free(calls))}")
    head = f"{'constants of -> calls of':<26}{'dtype':<6}{'phase':<9}{'rows':>7}"
    print(f"\n{head}{'MAPE':>17}{'> 20 us':>17}{'sum':>17}")
    for calls in tables:
        show(calls.chip, held_out(calls), found[calls.chip, calls.dtype])
    for source, target in (("a100-sxm", "h100-sxm"), ("h100-sxm", "h200-sxm"), ("h100-sxm", "a100-sxm")):
        for calls in tables:
            if calls.chip == target and (source, calls.dtype) in found:
                show(f"{source} -> {target}", held_out(calls), found[source, calls.dtype])
    for calls in tables:
        others = [other for other in tables if other.dtype == calls.dtype and other.chip != calls.chip]
        if len(others) > 1:
            show(f"both others -> {calls.chip}", held_out(calls), fit(*others))
    wide = next(calls for calls in tables if calls.chip == "h200-sxm")
    show("h200-sxm, head dim 512", wide.of(wide.attention.head_dim > WIDEST), found["h200-sxm", "bf16"])
    print("held-out errors, ours / plain roofline (peaks, no launch); a transfer has nothing fitted on its target")
    head = f"{'energy':<10}{'dtype':<6}{'phase':<9}"
    print(f"\n{head}{'meas. t':>10}{'pred. t':>10}{'TDP x t':>10}{'repeats':>10}   constants")
    for calls in tables:
        if not np.isnan(calls.power_w).any():
            show_energy(calls, found[calls.chip, calls.dtype])
    print("MAPE of held-out energy; repeats: mean |difference| of the watts of two calls that do the same work")


if __name__ == "__main__":
    main()
