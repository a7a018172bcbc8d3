"""How far predicted times per output token are from served requests, nothing fitted to them.

Data: 402 rows of public benchmark runs on H100s (aiconfigurator 095f58a, Apache-2.0), of which those count whose
precision is known. A row's batch is the number of clients that each keep one request in flight. Their requests start at
different times, so that while one request decodes its N tokens, each of the other c - 1 clients has one prefill, which
the engine runs between the same steps:

    time per output token = decode step at batch c + (c - 1) / N x prefill of one request alone

Weights are fp8 with scales of whole tensors. A plain roofline (peaks and bandwidth alone) answers the same question.

Run: python bench/served.py
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dovetail.design import estimate
from dovetail.design.resolve import Plan
from dovetail.hardware import Efficiency, Machine, load_machine
from dovetail.model import Model
from dovetail.workload import Workload

FP8 = {"quant_method": "fp8", "activation_scheme": "static"}


@dataclass(frozen=True)
class Served:
    """One row: what was asked, of how many chips and clients, and seconds per output token."""

    model: str
    backend: str
    prompt: int
    output: int
    clients: float
    tp: int
    tpot_s: float


def read(data: Path) -> list[Served]:
    """The rows whose precision is fp8 and whose layers share all chips."""
    with (data / "silicon" / "aiconfigurator" / "end_to_end_h100.csv").open(encoding="utf-8") as handle:
        return [
            Served(
                row["model_path"], row["backend"], int(row["isl"]), int(row["osl"]), float(row["batch_size"]),
                int(row["tp_size"]), float(row["silicon_tpot_ms"]) / 1e3,
            )
            for row in csv.DictReader(handle)
            if "fp8" in (row["precision"], row["gemm_quant_mode"]) and row["mode"] == "agg" and row["pp_size"] == "1"
        ]  # fmt: skip


def roofline(machine: Machine) -> Machine:
    """The chip at its peaks, with nothing that software takes."""
    stack = replace(machine.stack, launch_s=0.0, step_s=0.0)
    return replace(machine, kernels=None, efficiency=Efficiency(1.0, 1.0), stack=stack)


def predicted(row: Served, chip: Machine, models: dict[str, Model]) -> float:
    """Seconds per output token of one row."""
    if row.model not in models:
        models[row.model] = Model.load({**Model.load(row.model).config, "quantization_config": FP8})
    work = Workload(prompt=row.prompt, output=row.output, batch=row.clients)
    found = estimate(models[row.model], replace(chip, count=row.tp), work, plan=Plan(row.tp))
    alone = float(found.ttft_alone.value)
    return float(found.metrics.tpot_s) + (row.clients - 1) * alone / row.output


def groups(rows: Sequence[Served]) -> Iterator[tuple[str, list[int]]]:
    """Rows by model and backend, then by clients."""
    names: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        names[f"{row.model.rpartition('/')[2]}, {row.backend}"].append(place)
        names[f"{row.clients:4.0f} clients"].append(place)
    yield from sorted(names.items())


def main() -> None:
    """Print one table: errors of the time per output token, ours beside the roofline's."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description="Hold predicted times per output token against served requests.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DOVETAIL_DATA", beside)))
    data = parser.parse_args().data
    if not (data / "silicon").is_dir():
        raise SystemExit(f"no measured requests in {data}: set DOVETAIL_DATA")
    rows, chip, models = read(data), load_machine("h100-sxm"), dict[str, Model]()
    truth = np.array([row.tpot_s for row in rows])
    ours, plain = (np.array([predicted(row, on, models) for row in rows]) / truth - 1 for on in (chip, roofline(chip)))
    head = f"{'time per output token':<28}{'rows':>6}{'median |error|':>16}"
    print(f"{head}{'mean':>8}{'p90':>8}{'bias':>8}{'roofline':>10}")
    for name, places in [("all", list(range(len(rows)))), *groups(rows)]:
        e, p = np.abs(ours[places]), np.abs(plain[places])
        cells = f"{np.median(e):>16.1%}{e.mean():>8.1%}{np.quantile(e, 0.9):>8.1%}{np.median(ours[places]):>+8.1%}"
        print(f"{name:<28}{len(places):>6}{cells}{np.median(p):>10.1%}")


if __name__ == "__main__":
    main()
