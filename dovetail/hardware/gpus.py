"""NVIDIA GPUs of this computer by the names that their driver gives, and the machines of the zoo that they are."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

_FIELDS = "--query-gpu=name,memory.total,driver_version"
# What a driver's name has in it, most particular first, and the machine. MiB where one name is sold in two sizes.
_NAMES: tuple[tuple[str, str], ...] = (
    (r"GH200 .*480GB|GH200 96GB", "gh200-96gb"), ("GH200", "gh200"), ("GB200", "gb200"), ("GB300", "gb300"),
    ("H200 NVL", "h200-nvl"), ("H200", "h200-sxm"), ("H100 NVL", "h100-nvl"), ("H100 PCIe", "h100-pcie"),
    ("H100 (80GB HBM3|SXM)", "h100-sxm"), ("B300", "b300-sxm"), ("B200", "b200-sxm"),
    ("A100-SXM4-80GB", "a100-sxm"), ("A100-SXM4-40GB", "a100-sxm-40gb"), ("A100 80GB PCIe", "a100-pcie"),
    ("A30", "a30"), ("A10", "a10"), ("L40S", "l40s"), ("L4", "l4"), ("V100-SXM[23]-32GB", "v100-sxm"),
    ("V100-SXM2-16GB", "v100-sxm-16gb"), ("RTX 3090", "rtx-3090"), ("RTX 4090", "rtx-4090"), ("RTX 5090", "rtx-5090"),
    ("RTX PRO 6000 .*Server", "rtx-pro-6000-server"), ("RTX PRO 6000", "rtx-pro-6000"),
)  # fmt: skip
_OTHERS = re.compile(r"RTX (3090 Ti|4090 (D|Laptop)|5090 (D|Laptop))|MIG ")  # of a like name, and not the same


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as its driver describes it: name, memory (``81559 MiB``) and driver; `machine` of the zoo, or "".

    The name alone decides about the machine: two cards of one name and other clocks are not told apart.
    """

    name: str
    memory: str
    driver: str

    @property
    def machine(self) -> str:
        return machine_of(self.name)


def machine_of(name: str) -> str:
    """The machine of the zoo that a driver calls `name` (``NVIDIA H100 80GB HBM3``: ``h100-sxm``); "" for others."""
    if _OTHERS.search(name):
        return ""
    return next((machine for said, machine in _NAMES if re.search(rf"\b(?:{said})\b", name)), "")


def gpus() -> tuple[Gpu, ...]:
    """Those that ``nvidia-smi`` lists; none where it is missing, fails, or takes more than ten seconds."""
    try:
        command = ["nvidia-smi", _FIELDS, "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return tuple(Gpu(*row) for row in rows if len(row) == 3)
