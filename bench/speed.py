"""How fast an answer comes: whole commands, and full-model points per CPU second beside a peer in the same run.

    python bench/speed.py [--points 1048576]

Commands are timed as whole processes by the operating system's accounting (median of several). A point is one
(batch, context) of Llama-3.1-8B on an H100: every operator of prefill and decode, memory, energy and price; batch and
context are all distinct, so that nothing can be looked up. GenZ (``pip install genz-llm``) is run where it is
installed.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from dovetail.design.points import table
from dovetail.design.resolve import Plan
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.recipe import Recipe
from dovetail.workload import Workload

ESTIMATE = ["estimate", "Qwen/Qwen3-8B", "--on", "h200-sxm", "--batch", "32", "--prompt", "2048", "--output", "256"]


def command(arguments: list[str], runs: int = 7) -> tuple[float, float]:
    """Median CPU and wall seconds of one ``dovetail`` process, after a warm-up."""
    cpu, wall = [], []
    for _ in range(runs + 1):
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        script = "import sys; from dovetail.app.cli import main; main(sys.argv[1:])"
        subprocess.run([sys.executable, "-c", script, *arguments], stdout=subprocess.DEVNULL, check=True)
        wall.append(time.perf_counter() - begin)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(cpu[1:]), statistics.median(wall[1:])


def points_per_second(points: int) -> float:
    """Full-model points per CPU second of this thread."""
    model, machine, recipe = Model.load("meta-llama/Llama-3.1-8B"), load_machine("h100-sxm"), Recipe.load("none")
    order = np.random.default_rng(0)
    work = Workload(prompt=order.permutation(points) + 1, output=128, batch=order.permutation(points) + 1)
    table(model, machine, recipe, Plan(), Workload(prompt=512, output=128, batch=np.arange(1, 4097)))
    begin = time.process_time()
    found = table(model, machine, recipe, Plan(), work)
    seconds = time.process_time() - begin
    if not np.all(np.isfinite(found["tpot"])) or len(np.unique(found["tpot"])) < points // 2:
        raise SystemExit("the points are not what they should be")
    return points / seconds


def grid_points_per_second(side: int = 1024) -> float:
    """The same where every batch meets every prompt."""
    model, machine, recipe = Model.load("meta-llama/Llama-3.1-8B"), load_machine("h100-sxm"), Recipe.load("none")
    prompt, batch = np.meshgrid(np.arange(1, side + 1) * 8, np.arange(1, side + 1))
    begin = time.process_time()
    table(model, machine, recipe, Plan(), Workload(prompt=prompt.ravel(), output=128, batch=batch.ravel()))
    return side**2 / (time.process_time() - begin)


def genz_points_per_second() -> float | None:
    """The peer's points per CPU second for the same question; None where it is not installed."""
    try:
        from GenZ import decode_moddeling, prefill_moddeling
    except ImportError:
        return None
    question = {"model": "meta-llama/Llama-3.1-8B", "system_name": "H100_GPU", "bits": "bf16", "tensor_parallel": 1}
    rounds = 5
    begin = time.process_time()
    for i in range(rounds):
        prefill_moddeling(batch_size=i + 1, input_tokens=1000 + i, **question)
        decode_moddeling(batch_size=i + 1, input_tokens=1000 + i, output_tokens=128, Bb=1, **question)
    return rounds / (time.process_time() - begin)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1 << 20)
    points = parser.parse_args().points
    rows = [("what", "got", "asked")]
    commands = (
        ("dovetail --help", ["--help"], "0.2 s CPU"),
        ("dovetail estimate", ESTIMATE, "0.5 s CPU, 1 s wall"),
    )
    for name, arguments, asked in commands:
        cpu, wall = command(arguments)
        rows.append((name, f"{cpu:.2f} s CPU, {wall:.2f} s wall", asked))
    ours = points_per_second(points)
    rows.append((f"full-model points per CPU second ({points:,} distinct)", f"{ours:,.0f}", "100,000"))
    rows.append(("the same on a grid of 1,024 batches x 1,024 prompts", f"{grid_points_per_second():,.0f}", "500,000"))
    peer = genz_points_per_second()
    if peer is None:
        rows.append(("GenZ on the same question", "not installed: pip install genz-llm", ""))
    else:
        rows.append(("GenZ on the same question", f"{peer:,.1f} (ours {ours / peer:,.0f}x)", ""))
    width = max(len(r[0]) for r in rows) + 2
    print("\n".join(f"{a:<{width}}{b:<40}{c}" for a, b, c in rows))


if __name__ == "__main__":
    main()
