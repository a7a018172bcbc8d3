"""The zoo's chips against three tables made by others: every figure that differs by more than a fiftieth.

    python bench/machine_facts.py

The tables are read from ``$DOVETAIL_DATA/hardware`` (or ``../shared/data/hardware``): Epoch AI's table of machine
learning hardware, the system files of aiconfigurator, and a short list of small and unusual machines whose rows say
which figures were seen. `docs/machines.md` decides each difference.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dovetail.hardware import load_machine
from dovetail.hardware.machine import Machine

EPOCH_ROWS = {
    "a10": "NVIDIA A10 PCIe", "a100-pcie": "NVIDIA A100 PCIe", "a100-sxm": "NVIDIA A100 SXM4 80 GB",
    "a100-sxm-40gb": "NVIDIA A100 SXM4 40 GB", "b200-sxm": "NVIDIA B200", "b300-sxm": "NVIDIA B300 (Blackwell Ultra)",
    "gaudi2": "Intel Habana Gaudi2", "gaudi3": "Intel Habana Gaudi3", "gb200": "NVIDIA GB200",
    "gb300": "NVIDIA GB300 (Blackwell Ultra)", "gh200": "NVIDIA GH200", "groq-lpu": "GroqChip LPU v1",
    "h100-nvl": "NVIDIA H100 NVL", "h100-pcie": "NVIDIA H100 PCIe", "h100-sxm": "NVIDIA H100 SXM5 80GB",
    "h200-sxm": "NVIDIA H200 SXM", "l4": "NVIDIA L4", "mi250x": "AMD Radeon Instinct MI250X",
    "mi300x": "AMD Instinct MI300X", "mi325x": "AMD Instinct MI325X", "mi355x": "AMD Instinct MI355X",
    "rtx-3090": "NVIDIA GeForce RTX 3090", "rtx-4090": "NVIDIA GeForce RTX 4090", "tpu-v4": "Google TPU v4",
    "tpu-v5e": "Google TPU v5e", "tpu-v5p": "Google TPU v5p", "tpu-v6e": "Google TPU v6e Trillium",
    "tpu-v7": "Google TPU v7 Ironwood", "trainium2": "Amazon Trainium2", "v100-sxm": "NVIDIA Tesla V100 SXM2 32 GB",
    "v100-sxm-16gb": "NVIDIA Tesla V100 SXM2",
}  # fmt: skip
# Columns to fields; theirs are divided by the factor. Epoch counts both directions of a link together.
EPOCH_COLUMNS = {
    "Tensor-FP16/BF16 performance (FLOP/s)": ("bf16", 1), "FP8 performance (FLOP/s)": ("fp8", 1),
    "FP4 performance (FLOP/s)": ("fp4", 1), "FP32 (single precision) performance (FLOP/s)": ("fp32", 1),
    "TF32 (TensorFloat-32) performance (FLOP/s)": ("tf32", 1), "INT8 performance (OP/s)": ("int8", 1),
    "INT4 performance (OP/s)": ("int4", 1), "Memory (bytes)": ("capacity", 1),
    "Memory bandwidth (byte/s)": ("bandwidth", 1), "Intranode bandwidth (byte/s)": ("link", 2),
    "TDP (W)": ("tdp", 1), "Die Size (mm^2)": ("area", 1), "Process size (nm)": ("process", 1),
}  # fmt: skip
SYSTEMS = {
    "a100-pcie": "a100_pcie", "a100-sxm": "a100_sxm", "a30": "a30", "arc-b60": "b60", "b200-sxm": "b200_sxm",
    "b300-sxm": "b300_sxm", "gb200": "gb200", "gb300": "gb300", "h100-pcie": "h100_pcie", "h100-sxm": "h100_sxm",
    "h200-sxm": "h200_sxm", "l4": "l4", "l40s": "l40s", "rtx-pro-6000-server": "rtx_pro_6000_server",
}  # fmt: skip
SYSTEM_KEYS = {
    "bfloat16_tc_flops": "bf16", "int8_tc_flops": "int8", "fp8_tc_flops": "fp8", "fp4_tc_flops": "fp4",
    "float32_tc_flops": "fp32", "mem_capacity": "capacity", "mem_bw": "bandwidth", "power": "tdp",
    "intra_node_bw": "link",
}  # fmt: skip
LISTED = {
    "groq-lpu": "GroqChip LPU v1", "jetson-orin": "Jetson AGX Orin 64GB", "m4-max": "Apple M4 Max (40c)",
    "mi210": "AMD MI210", "mi250x": "AMD MI250X", "raspberry-pi-5": "Raspberry Pi 5", "u280": "Alveo U280",
    "wse-3": "Cerebras WSE-3 / CS-3",
}  # fmt: skip
LISTED_COLUMNS = {
    "peak_int8_tops": ("int8", 1e-12), "peak_fp16_bf16_tflops": ("bf16", 1e-12), "peak_fp32_tflops": ("fp32", 1e-12),
    "mem_bytes": ("capacity", 1), "mem_bw_Bps": ("bandwidth", 1), "tdp_w": ("tdp", 1), "process_nm": ("process", 1),
    "die_mm2": ("area", 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure of ours beside the same figure of another table, in SI."""

    machine: str
    field: str
    table: str
    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs

    @property
    def apart(self) -> float:
        """How far the larger is above the smaller, as a fraction."""
        return max(self.ratio, 1 / self.ratio) - 1


def figures(machine: Machine) -> dict[str, float]:
    """The comparable figures of a chip by field, unknown ones left out."""
    peak = dict(machine.peak)
    named = {
        **peak, "bf16": peak.get("bf16", peak.get("fp16")), "fp4": peak.get("nvfp4", peak.get("mxfp4")),
        "capacity": machine.memory.capacity, "bandwidth": machine.memory.bandwidth, "link": machine.link,
        "tdp": machine.tdp_w, "area": machine.area_mm2, "process": machine.process_nm,
    }  # fmt: skip
    return {field: float(value) for field, value in named.items() if value and value == value}


def _facts(name: str, table: str, theirs: Mapping[str, float]) -> Iterator[Fact]:
    ours = figures(load_machine(name))
    yield from (Fact(name, field, table, ours[field], value) for field, value in theirs.items() if field in ours)


def epoch(folder: Path) -> Iterator[Fact]:
    """Against Epoch AI's table. Raises KeyError where a row is gone."""
    with (folder / "epoch" / "ml_hardware.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["Hardware name"]: row for row in csv.DictReader(file)}
    for name, row in EPOCH_ROWS.items():
        cells = {field: (rows[row][column], factor) for column, (field, factor) in EPOCH_COLUMNS.items()}
        yield from _facts(name, "Epoch", {f: float(text) / factor for f, (text, factor) in cells.items() if text})


def aiconfigurator(folder: Path) -> Iterator[Fact]:
    """Against the system files of aiconfigurator."""
    for name, file in SYSTEMS.items():
        data: dict[str, Any] = yaml.safe_load((folder / "aiconfigurator" / f"{file}.yaml").read_text(encoding="utf-8"))
        both = {**data["gpu"], **data["node"]}
        yield from _facts(name, "aiconfigurator", {f: float(both[k]) for k, f in SYSTEM_KEYS.items() if k in both})


def seen(text: str) -> float | None:
    """The figure of a cell of the list, the dense one of two; None for a cell that is empty or quoted from memory."""
    if "from memory" in text:
        return None
    number = re.search(r"([\d.]+) dense", text) or re.match(r"([\d.]+(?:e\d+)?)", text)
    return float(number[1]) if number else None


def listed(folder: Path) -> Iterator[Fact]:
    """Against the figures that were seen, in the list of small and unusual machines."""
    with (folder / "edge_fpga_other.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    for name, row in LISTED.items():
        cells = {field: (seen(rows[row][column]), factor) for column, (field, factor) in LISTED_COLUMNS.items()}
        yield from _facts(name, "list", {f: value / factor for f, (value, factor) in cells.items() if value})


def facts(folder: Path) -> list[Fact]:
    """Every figure that one of the tables in `folder` (``…/hardware``) has as well."""
    return [*epoch(folder), *aiconfigurator(folder), *listed(folder)]


def main() -> None:
    """Print the disagreements and what was compared."""
    data = os.environ.get("DOVETAIL_DATA") or Path(__file__).parents[2] / "shared" / "data"
    if not (Path(data) / "hardware").is_dir():
        print(f"no tables in {data}/hardware: set DOVETAIL_DATA")
        return
    found = facts(Path(data) / "hardware")
    print(f"{'machine':15s} {'field':10s} {'table':15s} {'ours':>10s} {'theirs':>10s} {'ratio':>6s}")
    for fact in sorted((f for f in found if f.apart > 0.02), key=lambda f: (f.machine, f.field, f.table)):
        name = f"{fact.machine:15s} {fact.field:10s} {fact.table:15s}"
        print(f"{name} {fact.ours:10.4g} {fact.theirs:10.4g} {fact.ratio:6.3f}")
    above = {limit: sum(f.apart > limit for f in found) for limit in (0.0, 0.02, 0.05)}
    chips = len({f.machine for f in found})
    print(
        f"{len(found)} figures of {chips} chips: {len(found) - above[0.0]} equal, {above[0.02]} more than 2 % apart, "
        f"{above[0.05]} more than 5 %"
    )


if __name__ == "__main__":
    main()
