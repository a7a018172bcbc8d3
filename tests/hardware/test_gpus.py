"""GPUs by the names of their drivers, typed from public logs of nvidia-smi."""

import os
from pathlib import Path

import pytest

from dovetail.hardware import load_machine
from dovetail.hardware.gpus import _NAMES, gpus, machine_of

NAMES = {
    "NVIDIA H100 80GB HBM3": "h100-sxm", "NVIDIA H100 PCIe": "h100-pcie", "NVIDIA H100 NVL": "h100-nvl",
    "NVIDIA H200": "h200-sxm", "NVIDIA H200 NVL": "h200-nvl", "NVIDIA B200": "b200-sxm",
    "NVIDIA A100-SXM4-80GB": "a100-sxm", "NVIDIA A100-SXM4-40GB": "a100-sxm-40gb", "NVIDIA A100 80GB PCIe": "a100-pcie",
    "NVIDIA L40S": "l40s", "NVIDIA L4": "l4", "NVIDIA A10": "a10", "NVIDIA A30": "a30",
    "Tesla V100-SXM2-32GB": "v100-sxm", "Tesla V100-SXM2-16GB": "v100-sxm-16gb",
    "NVIDIA GeForce RTX 4090": "rtx-4090", "NVIDIA GH200 480GB": "gh200-96gb",
    # of other chips, whatever their names begin with
    "NVIDIA L40": "", "NVIDIA A10G": "", "NVIDIA A100-PCIE-40GB": "", "NVIDIA GeForce RTX 4090 Laptop GPU": "",
    "NVIDIA GeForce RTX 4090 D": "", "NVIDIA GeForce RTX 3090 Ti": "", "NVIDIA H100 80GB HBM3 MIG 1g.10gb": "",
    "Tesla T4": "", "NVIDIA H20": "",
}  # fmt: skip


@pytest.mark.parametrize(("name", "machine"), NAMES.items())
def test_a_name_is_one_machine_or_none(name: str, machine: str) -> None:
    assert machine_of(name) == machine


@pytest.mark.parametrize("machine", sorted({machine for _, machine in _NAMES}))
def test_every_machine_named_is_in_the_zoo(machine: str) -> None:
    assert load_machine(machine).vendor == "NVIDIA"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'NVIDIA H100 80GB HBM3, 81559 MiB, 580.1'; echo 'NVIDIA H20, 97871 MiB, 580.1'", ["h100-sxm", ""]),
        ("echo broken; exit 9", []), ("true", []), ("echo No devices were found", []),
    ],
)  # fmt: skip
def test_what_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: list[str]
) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    assert [gpu.machine for gpu in gpus()] == expected
