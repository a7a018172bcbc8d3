"""Co-design from Python: predict, sweep a million points, search, and build what the search picked.

python examples/codesign.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import dovetail as dt


def main(out: Path) -> None:
    """Print each answer in a line or two, and leave the built design in `out`."""
    one = dt.estimate("Qwen/Qwen3-8B", on="h100-sxm", workload=dt.Workload.chat(prompt=2048, output=256, batch=16))
    print(f"one design    {one.tpot} a token; {one.bottleneck()['decode']}")

    batches = np.arange(1, 257)
    many = dt.estimate("Qwen/Qwen3-8B", on="h100-sxm", workload=dt.Workload(prompt=2048, output=256, batch=batches))
    fits = batches[many.feasible]
    print(f"many designs  batches up to {fits.max()} fit; tpot from {many.metrics.tpot_s.min() * 1e3:.2f} ms")

    front = dt.search(Path(__file__).with_name("chat-8b.yaml"))
    print(f"search        {front.points:,} points, front of {len(front.front)}; winner {front.winner}")

    built = dt.build("embedded", "l4", dt.Workload(prompt=1024, output=128, batch=8), "w8a16", out)
    print(f"built         {built['path']}: {built['bytes_before']:,} -> {built['bytes_after']:,} bytes")
    print(f"serve         {built['serve']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/codesign"))
