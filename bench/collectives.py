"""How close the time of a collective is to measured ones, beside bandwidth alone; and the fit of its constants.

Data under ``$DOVETAIL_DATA``, all over NVLink inside a node: aiconfigurator's tables of NCCL and of vLLM's all-reduce
in CUDA graphs (A100 and H100 SXM, commit 095f58a, Apache-2.0), and, only scored, vidur's (A100, commit 7d47513, MIT)
and LLMCompass's (4 A100s, commit 2e015fd, BSD-3). A row is a call: kind, ways, bytes (the tables count elements),
seconds.

Split: the shapes "kind,ways,bytes" of each library in the order of their sha1; the first 5 % of them (both chips, all
dtypes) go to the fit, all others are scored. Rows of vLLM's eager mode are left out: they measure a host's launches.

Constants of a library (`reached`, `own`, `fill`) are shared by its chips, `launch` and `hop` are each chip's. So few
rows leave them loose, so the fit is held, as by a prior of half an e-fold, to `START`: launch and hop of NCCL's own
table (src/graph/tuning.cc, ring, LL: 6.6 and 0.6 us), the `fill` of the best pipeline (2), 0.9 of a link, the speed of
a copy in memory over that of a link (3.5); round guesses for vLLM's kernels and NCCL's start in the network.

Run: python bench/collectives.py [--fit] [--percent 5] [--salt TEXT]    (needs pyarrow)
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dovetail.cost.collectives import collective_s, phases
from dovetail.design.kernel_fit import search
from dovetail.hardware import Machine, Transport, load_machine

Array = npt.NDArray[np.float64]
Shape = tuple[str, int, int]
CHIPS = {"a100-sxm": "a100_sxm", "h100-sxm": "h100_sxm"}
KINDS = {"alltoall": "all_to_all"}
WIDTH = {"half": 2, "bfloat16": 2, "int8": 1}
MIB = 2.0**20
OLD_LAUNCH = {"a100-sxm": 5.17e-6, "h100-sxm": 2.92e-6}


@dataclass(frozen=True)
class Rows:
    """Calls of one library on one chip."""

    library: str
    chip: str
    shapes: tuple[Shape, ...]
    time_s: Array

    def pick(self, keep: npt.NDArray[np.bool_]) -> Rows:
        return replace(
            self, shapes=tuple(s for s, k in zip(self.shapes, keep, strict=True) if k), time_s=self.time_s[keep]
        )

    def predict(self, price: Callable[[str, Array, int], Array]) -> Array:
        """Seconds of every row by ``price(kind, bytes, ways)``, called once for each kind and number of ways."""
        out = np.empty(len(self.shapes))
        for group in sorted({shape[:2] for shape in self.shapes}):
            rows = np.array([shape[:2] == group for shape in self.shapes])
            out[rows] = price(group[0], np.array([s[2] for s in self.shapes if s[:2] == group], float), group[1])
        return out


def read(data: Path, chip: str) -> Iterator[Rows]:
    """The two tables of a chip."""
    import pyarrow.parquet as parquet

    folder = data / "silicon" / "aiconfigurator" / CHIPS[chip] / "comm"
    for library, dtype in (("nccl", "nccl_dtype"), ("vllm", "allreduce_dtype")):
        table = parquet.read_table(next((folder / library).glob("*/*.parquet"))).to_pydict()
        keep = [i for i, source in enumerate(table["kernel_source"]) if not source.endswith("eager")]
        shapes = tuple(
            (KINDS.get(table["op_name"][i], table["op_name"][i]), int(table["num_gpus"][i]),
             int(table["message_size"][i]) * WIDTH[table[dtype][i]]) for i in keep
        )  # fmt: skip
        yield Rows(library, chip, shapes, np.array([table["latency"][i] for i in keep]) / 1e3)


def others(data: Path) -> Iterator[tuple[str, Rows]]:
    """Tables that nothing is fitted to, each with its name."""
    for file, name, kind in (("all_reduce", "all_reduce", "all_reduce"), ("send_recv", "send_recv", "p2p")):
        with gzip.open(data / "silicon" / "vidur" / "network_a100_dgx" / f"{file}.csv.gz", "rt") as text:
            rows = [r for r in csv.DictReader(text) if r["num_workers"] == r["devices_per_node"]]
        shapes = tuple((kind, int(r["num_workers"]), int(r["size"])) for r in rows)
        yield (
            "vidur",
            Rows("nccl", "a100-sxm", shapes, np.array([float(r[f"time_stats.{name}.median"]) for r in rows]) / 1e3),
        )
    with open(data / "silicon" / "llmcompass" / "allreduce_A100x4_nvlink3.csv") as text:
        rows = list(csv.DictReader(text))
    shapes = tuple(("all_reduce", 4, int(r["size_bytes"])) for r in rows)
    yield "llmcompass", Rows("nccl", "a100-sxm", shapes, np.array([float(r["latency_us"]) for r in rows]) / 1e6)


def drawn(tables: list[Rows], percent: float, salt: str = "") -> set[tuple[str, Shape]]:
    """The shapes that the constants are fitted to, by library."""
    chosen: set[tuple[str, Shape]] = set()
    for library in sorted({rows.library for rows in tables}):
        shapes = {shape for rows in tables if rows.library == library for shape in rows.shapes}
        order = sorted(shapes, key=lambda s: hashlib.sha1(f"{salt}{s[0]},{s[1]},{s[2]}".encode()).hexdigest())
        chosen |= {(library, shape) for shape in order[: math.ceil(len(order) * percent / 100)]}
    return chosen


def fabric(x: Array, chip: str) -> tuple[Transport, ...]:
    """Transports from the vector that the fit moves."""
    place = 8 + 4 * list(CHIPS).index(chip)
    reached, own, fill, switch, switch_s, shot, multi, multi_s = x[:8]
    launch, hop, shot_launch, barrier = x[place : place + 4]
    found = [
        Transport("nccl", "ring", launch, hop, min(reached, 1.0), own, fill),
        Transport("vllm", "one_shot", shot_launch, 0.0, min(shot, 1.0), most=8 * MIB - 1, stack="vllm"),
        Transport("vllm", "two_shot", shot_launch, barrier, min(shot, 1.0), most=8 * MIB - 1, stack="vllm"),
    ]
    if chip == "h100-sxm":
        found += [
            Transport("nccl", "in_network", switch_s, 0.0, min(switch, 1.0), fill=fill),
            Transport("vllm", "in_network", multi_s, 0.0, min(multi, 1.0), most=64 * MIB, stack="vllm"),
        ]
    return tuple(found)


def constants(transport: Transport) -> list[tuple[str, float]]:
    names = ("launch_s", "hop_s", "reached", "own", "fill", "most")
    return [(name, float(getattr(transport, name))) for name in names]


START = np.array([0.9, 3.5, 2.0, 0.9, 20e-6, 0.9, 0.9, 6.6e-6, *(6.6e-6, 0.6e-6, 5e-6, 3e-6) * 2])


def node(chip: str, library: str) -> Machine:
    """Eight chips; under a stack that calls NCCL alone, or vLLM's."""
    machine = load_machine(f"8 x {chip}")
    return replace(machine, stack=replace(machine.stack, name=library))


def fit(tables: list[Rows], chosen: set[tuple[str, Shape]]) -> Array:
    """Constants by least squares of the logarithm, robust (errors above 10 % count linearly), with the prior."""
    parts = [r.pick(np.array([(r.library, s) in chosen for s in r.shapes])) for r in tables]
    machines = {(r.chip, r.library): node(r.chip, r.library) for r in tables}

    def loss(x: Array) -> float:
        total = float(np.sum((np.log(x / START) / 0.5) ** 2))
        for rows in parts:
            machine = replace(machines[rows.chip, rows.library], fabric=fabric(x, rows.chip))
            error = np.log(rows.predict(lambda k, b, w, m=machine: collective_s(k, b, w, m)) / rows.time_s) / 0.1
            total += float(np.sum(2 * (np.sqrt(1 + error**2) - 1)))
        return total

    return search(loss, START)


def bandwidth_only(machine: Machine, kind: str, size: Array, ways: int) -> Array:
    """The model of before: bytes of a ring over the link, and the launch of an operator."""
    return sum(p.sent / p.bandwidth for p in phases(kind, size, ways, machine)) + OLD_LAUNCH[machine.name]  # type: ignore[return-value]


def score(found: Array, time_s: Array) -> tuple[float, float, float]:
    """MAPE, MAPE above 20 us, and sum of errors over sum of times."""
    error, long = np.abs(found / time_s - 1), time_s > 20e-6
    return float(error.mean()), float(error[long].mean()), float(np.abs(found - time_s).sum() / time_s.sum())


def line(name: str, rows: Rows, machine: Machine) -> str:
    new = rows.predict(lambda k, b, w: np.asarray(collective_s(k, b, w, machine)))
    old = rows.predict(lambda k, b, w: bandwidth_only(machine, k, b, w))
    figures = " | ".join(" / ".join(f"{100 * value:.1f}" for value in score(f, rows.time_s)) for f in (new, old))
    return f"| {name} | {len(rows.shapes)} | {figures} |"


def report(tables: list[Rows], chosen: set[tuple[str, Shape]], x: Array | None) -> Iterator[str]:
    """One line a table and kind, held-out rows; with `x`, of those constants instead of the files'."""
    yield "| chip, library, collective | rows | % error: all / above 20 us / sum | bandwidth alone |"
    yield "|---|---|---|---|"
    for rows in tables:
        machine = node(rows.chip, rows.library)
        machine = machine if x is None else replace(machine, fabric=fabric(x, rows.chip))
        held = rows.pick(np.array([(rows.library, s) not in chosen for s in rows.shapes]))
        for kind in sorted({shape[0] for shape in rows.shapes}):
            part = held.pick(np.array([shape[0] == kind for shape in held.shapes]))
            yield line(f"{rows.chip}, {rows.library}, {kind}", part, machine)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--fit", action="store_true", help="fit, print the constants and score with them")
    ask.add_argument("--percent", type=float, default=5.0)
    ask.add_argument("--salt", default="", help="another draw of the shapes")
    given = ask.parse_args()
    data = Path(os.environ.get("DOVETAIL_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not data.is_dir():
        print(f"no data in {data}: set DOVETAIL_DATA")
        return
    tables = [rows for chip in CHIPS for rows in read(data, chip)]
    chosen = drawn(tables, given.percent, given.salt)
    x = fit(tables, chosen) if given.fit else None
    if x is not None:
        for chip in CHIPS:
            for transport in fabric(x, chip):
                print(f"{chip}: {transport.name}: " + ", ".join(f"{k} {v:.4g}" for k, v in constants(transport)))
    print("\n".join(report(tables, chosen, x)))
    for name, rows in others(data):
        machine = node(rows.chip, rows.library)
        machine = machine if x is None else replace(machine, fabric=fabric(x, rows.chip))
        print(line(f"{rows.chip}, {name}, {rows.shapes[0][0]}", rows, machine))


if __name__ == "__main__":
    main()
