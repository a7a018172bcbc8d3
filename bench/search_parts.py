"""More of the search: free hardware parameters, guided search, kill -9, joint against sequential tuning."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.search import Result, Space, search
from dovetail.search.codesign import evaluator
from dovetail.search.guided import guided
from dovetail.search.hypervolume import together

ROOT = Path(__file__).parents[1]
Row = tuple[str, str]


def gpu(steps: int, likes: list[str], objectives: list[str], capacities: int = 0) -> Space:
    """A GPU-like template over cores, bandwidth, cache and capacity for three recipes of an 8B model."""
    return Space.of(
        models=["meta-llama/Llama-3.1-8B"], recipes=["none", "w8a8", "w4a16-rtn"],
        machines=[{
            "template": "gpu-like", "like": likes, "sms": {"from": 32, "to": 256, "steps": steps},
            "bandwidth": {"from": "0.5 TB/s", "to": "8 TB/s", "steps": steps}, "l2": ["20 MB", "50 MB", "100 MB"],
            "capacity": {"from": "16 GB", "to": "192 GB", "steps": capacities or steps}, "link": "0 B/s",
        }],
        workload={"batch": {"from": 1, "to": 256, "steps": "log2"}, "prompt": 1155, "output": 211},
        constraints=["tpot < 50 ms", "area < 900 mm2"], objectives=objectives,
    )  # fmt: skip


def costs(found: Result) -> np.ndarray:
    """Objectives of a front, less is better."""
    rows = [[float(o.cost(np.asarray(float(c[o.metric])))) for o in found.objectives] for c in found.front]
    return np.asarray(rows).reshape(-1, len(found.objectives))


def large() -> Iterator[Row]:
    """Ten million points of the cost model, four objectives."""
    space = gpu(50, ["h100-sxm"], ["tpot", "usd_per_mtok", "energy_per_token", "area"])
    wall, cpu = time.perf_counter(), time.process_time()
    found = search(space, evaluator(space))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    yield f"cost model, {space.size:,} points, 4 objectives: seconds", f"{wall:.1f} (CPU {cpu:.1f})"
    yield "peak memory, GiB; front; evaluated", f"{peak:.2f}; {len(found.front):,}; {found.evaluated:,}"


def first() -> Space:
    """The space that the guided search was made with."""
    return gpu(28, ["h100-sxm", "l40s"], ["tpot", "usd_per_mtok", "perplexity_ratio"], 8)


def edge() -> Space:
    """Another template, model, axes and objectives than those that the guided search was made with."""
    return Space.of(
        models=["Qwen/Qwen3-0.6B"], recipes=["none", "w8a8", "w4a16-rtn", "w4a8"],
        machines=[{
            "template": "overlay", "format": ["int8", "int4", "bf16"], "rows": {"from": 1, "to": 16, "by": 1},
            "columns": {"from": 8, "to": 128, "by": 8}, "sram": {"from": "0.5 MB", "to": "4 MB", "by": "0.5 MB"},
            "bandwidth": {"from": "8.5 GB/s", "to": "136 GB/s", "by": "8.5 GB/s"}, "capacity": ["2 GB", "4 GB", "8 GB"],
        }],
        workload={"batch": 1, "prompt": 512, "output": 128},
        constraints=["power < 10 W"], objectives=["tpot", "energy_per_token", "area"],
    )  # fmt: skip


def chat() -> Space:
    """The GPU-like template again with other cores, another model and a mix of lengths; a million points."""
    return Space.of(
        models=["mistralai/Mistral-7B-v0.1"], recipes=["none", "w8a16", "w4a16-rtn", "fp8"],
        machines=[{
            "template": "gpu-like", "like": ["a100-sxm", "rtx-4090"], "sms": {"from": 16, "to": 240, "by": 8},
            "bandwidth": {"from": "0.25 TB/s", "to": "6 TB/s", "by": "0.25 TB/s"}, "l2": ["30 MB", "60 MB", "90 MB"],
            "capacity": ["16 GB", "24 GB", "48 GB", "80 GB"], "link": "0 B/s",
        }],
        workload={"batch": [1, 2, 4, 8, 16, 32, 64, 128], "prompt": [128, 2048], "output": 128},
        constraints=["power < 600 W"], objectives=["tpot", "energy_per_token", "area"],
    )  # fmt: skip


def arrays() -> Space:
    """The crossbar template, its converters and cells free; made after the guided search was."""
    return Space.of(
        models=["meta-llama/Llama-3.2-1B"], recipes=["none", "w8a8", "w8a16"],
        machines=[{
            "template": "crossbar", "tiles": {"from": 64, "to": 8192, "steps": 40},
            "array_rows": [64, 128, 256, 512], "array_columns": [64, 128, 256, 512], "cell_bits": [1, 2, 3, 4],
            "adc_bits": {"from": 4, "to": 12, "by": 1},
        }],
        workload={"batch": [1, 2, 4, 8, 16], "prompt": [64, 256, 1024], "output": 64},
        constraints=[], objectives=["tpot", "energy_per_token", "area"],
    )  # fmt: skip


def server() -> Space:
    """A 32B model over several chips of free numbers, four objectives; made after the guided search was."""
    return Space.of(
        models=["Qwen/Qwen3-32B"], recipes=["none", "fp8", "w4a16-rtn"],
        machines=[{
            "template": "gpu-like", "like": ["h100-sxm", "l40s"], "sms": {"from": 40, "to": 240, "by": 8},
            "bandwidth": {"from": "0.5 TB/s", "to": "8 TB/s", "by": "0.5 TB/s"}, "l2": ["40 MB", "80 MB"],
            "capacity": {"from": "24 GB", "to": "192 GB", "by": "12 GB"},
        }],
        plan={"tp": [1, 2, 4]}, workload={"batch": [1, 4, 16, 64, 128], "prompt": 2048, "output": 512},
        constraints=["tpot < 60 ms"], objectives=["tpot", "usd_per_mtok", "energy_per_token", "area"],
    )  # fmt: skip


def guiding(space: Space, seeds: Iterator[int] | range, minutes: float = 1e9) -> Iterator[Row]:
    """Gap to the exact hypervolume after 500 evaluations; as many of the seeds, in turn, as the minutes allow."""
    ask, begin = evaluator(space), time.monotonic()
    exact = costs(search(space, ask))
    gaps: dict[str, list[float]] = {"tpe": [], "random": []}
    done = []
    for seed in seeds:
        if time.monotonic() - begin > 60 * minutes:
            break
        for name, kept in gaps.items():
            whole, part = together([exact, costs(guided(space, ask, 500, sampler=name, seed=seed))])
            kept.append(1 - part / whole)
        done.append(seed)
    means = {name: float(np.mean(kept)) for name, kept in gaps.items()}
    rows = np.random.default_rng(0).integers(0, len(done), (4000, len(done)))  # bootstrap over seeds
    ratios = [np.asarray(gaps["tpe"])[some].mean() / np.asarray(gaps["random"])[some].mean() for some in rows]
    low, high = np.quantile(ratios, (0.025, 0.975))
    shown = ", ".join(
        f"{name} {mean:.4f} ({min(gaps[name]):.4f} to {max(gaps[name]):.4f})" for name, mean in means.items()
    )
    front = f"exact front of {len(exact):,}"
    yield f"guided, {space.size:,} points, {front}, 500 evaluations, seeds {done[0]} to {done[-1]}: mean gap", shown
    yield "gap of guided over gap of random", f"{means['tpe'] / means['random']:.3f} ({low:.3f} to {high:.3f})"


def fresh() -> Iterator[Row]:
    """Spaces that the guided search was not made with, twenty seeds each."""
    yield from guiding(edge(), range(100, 120))
    yield from guiding(chat(), range(100, 120))
    yield from guiding(arrays(), range(200, 220))
    yield from guiding(server(), range(200, 220))


def killed(times: int) -> Iterator[Row]:
    """Kill -9 at random moments of a search into a study, then resume: how often the result differs."""
    toy, different, chance = ROOT / "tests" / "search" / "toy.py", 0, random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(toy)]
        expected = _run([*command, f"{folder}/whole", "0"])
        for i in range(times):
            path = f"{folder}/{i}"
            process = subprocess.Popen([*command, path, "0.01"], stdout=subprocess.DEVNULL)
            time.sleep(0.3 + chance.random() * 1.2)
            process.send_signal(signal.SIGKILL)
            process.wait()
            different += _run([*command, path, "0"]) != expected
    yield f"kill -9 at {times} random moments, resumed: results that differ", str(different)


def _run(command: list[str]) -> Any:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def speed() -> Iterator[Row]:
    """Milliseconds a point of one question, in one call, beside what LLM-Viewer was measured at on this kind of CPU."""
    from dovetail.search import Structure

    space = gpu(4, ["h100-sxm"], ["tpot", "usd_per_mtok"])
    ask, rng, count = evaluator(space), np.random.default_rng(0), 200_000
    columns = {"batch": rng.integers(1, 256, count), "prompt": rng.integers(1, 4000, count),
               "output": rng.integers(1, 400, count)}  # fmt: skip
    numbers = {name: values.astype(float) for name, values in columns.items()}
    free = {"sms": rng.integers(32, 256, count).astype(float), "bandwidth": rng.uniform(5e11, 8e12, count)}
    for name, machine, given in (("h100-sxm", "h100-sxm", numbers), ("free parameters", "gpu-like", numbers | free)):
        ask(Structure("meta-llama/Llama-3.1-8B", "none", machine), {n: v[:9] for n, v in given.items()})
        begin = time.process_time()
        ask(Structure("meta-llama/Llama-3.1-8B", "none", machine), given)
        each = (time.process_time() - begin) / count * 1e3
        yield f"CPU ms a point, prefill and decode, {name}", f"{each:.5f} ({0.12 / each:.0f}x LLM-Viewer's 0.12)"
    yield from genz()


def genz(calls: int = 20) -> Iterator[Row]:
    """The same question one point at a time by GenZ (PyPI genz-llm), in this process; it takes no columns."""
    what = "CPU ms a point, prefill and decode, GenZ, h100-sxm"
    try:
        from GenZ import decode_moddeling, prefill_moddeling  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        yield what, f"skipped: {error}"
        return
    rng = np.random.default_rng(0)
    batch, prompt, output = (rng.integers(1, most, calls + 1).tolist() for most in (33, 4000, 400))
    begin = 0.0
    for i, (b, p, o) in enumerate(zip(batch, prompt, output, strict=True)):
        if i == 1:  # the first one warms up
            begin = time.process_time()
        told = {"model": "llama3_8b", "batch_size": b, "input_tokens": p, "system_name": "H100_GPU"}
        prefill_moddeling(**told)
        decode_moddeling(**told, output_tokens=o, Bb=1)
    yield what, f"{(time.process_time() - begin) / calls * 1e3:.1f}"


def joint() -> Iterator[Row]:
    """Hypervolume of joint search against sequential tuning, in both orders, for studies 1 and 2.

    Two kinds of sequential tuning: the first step hands its knee to the second, or its whole front.
    """
    for name, path in (("study 1, 8B", "study-precision-8b"), ("study 2", "study-edge")):
        space = Space.load(ROOT / "examples" / f"{path}.yaml")
        ask = evaluator(space)
        whole = search(space, ask)
        for handed, keep in (("knee", False), ("front", True)):
            pairs = [sequential(space, recipe_first=order, keep=keep) for order in (True, False)]
            budget = max(count for _, count in pairs)
            same = guided(space, ask, budget) if budget < space.size else whole
            shares = together([costs(r) for r in (whole, same, *(found for found, _ in pairs))])
            words = (
                f"joint, exact ({whole.evaluated:,} evaluations)",
                f"joint, {budget:,} evaluations",
                f"recipe, then hardware ({pairs[0][1]:,})",
                f"hardware, then recipe ({pairs[1][1]:,})",
            )
            shown = "; ".join(f"{w} {s:.4f}" for w, s in zip(words, shares, strict=True))
            yield f"{name}, the first step hands on its {handed}: hypervolume", shown
            best = max(shares[2:])
            over = f"{shares[0] / best - 1:+.1%} exact, {shares[1] / best - 1:+.1%} equal"
            yield f"{name}, {handed}: joint over the better order", over


def sequential(space: Space, *, recipe_first: bool, keep: bool) -> tuple[Result, int]:
    """The front of tuning one after the other, and the evaluations of both steps.

    The first step holds the other side as it is (the middle of each free parameter of the first machine; the model
    unchanged); the second searches the other side for its knee, or with `keep` for all that its front chose.
    """
    source: Mapping[str, Any] = space.source
    first = {**source, "machines": [_middle(space)]} if recipe_first else {**source, "recipes": ["none"]}
    found = _exact(first)
    if found.winner is None:
        return found, found.evaluated
    kept = list(found.front) if keep else [found.pick("knee")]
    if recipe_first:
        rest = {**source, "recipes": list(dict.fromkeys(c.structure.recipe for c in kept))}
    else:
        rest = {**source, "machines": _distinct([_fixed(space, c) for c in kept])}
    second = _exact(rest)
    return second, found.evaluated + second.evaluated


def _exact(source: Mapping[str, Any]) -> Result:
    space = Space.of(**source)
    return search(space, evaluator(space))


def _middle(space: Space) -> Any:
    """The first machine of a space, its free parameters at the middle of their values."""
    from dovetail.hardware.templates.template import TEMPLATES

    machine = space.source["machines"][0]
    if isinstance(machine, str):
        return machine
    kind, chosen = TEMPLATES[machine["template"]], {}
    axes = {a.name: a.values for a in space.free[0].axes}
    for p in (p for p in kind.parameters if p.name in machine):
        middle = axes[p.name][len(axes[p.name]) // 2] if p.name in axes else None
        chosen[p.name] = machine[p.name] if middle is None else f"{float(middle)!r} {_unit(p)}".strip()
    return {"template": machine["template"], **chosen}


def _distinct(machines: list[Any]) -> list[Any]:
    """Machines of a space, each once; templates have names of their own."""
    once = [m for i, m in enumerate(machines) if m not in machines[:i]]
    return [m if isinstance(m, str) else {**m, "name": f"chip {i}"} for i, m in enumerate(once)]


def _unit(parameter: Any) -> str:
    return {"byte": "B", "byte/s": "B/s", "Hz": "Hz", "": ""}[parameter.dimension]


def _fixed(space: Space, knee: Any) -> Any:
    """The machine of a candidate as an entry of a space."""
    from dovetail.hardware.templates.template import TEMPLATES

    free = next((f for f in space.free if f.variant.name == knee.structure.machine), None)
    if free is None:
        return knee.structure.machine
    numbers = {**free.variant.fixed, **{a.name: float(knee.point[a.name]) for a in free.axes}}
    known = {p.name: p for p in TEMPLATES[free.variant.template].parameters}
    shown = {n: f"{float(v)!r} {_unit(known[n])}".strip() for n, v in numbers.items()}
    return {"template": free.variant.template, **free.variant.chosen, **shown}


PARTS: Mapping[str, Any] = {
    "cost": large, "guided": lambda: guiding(first(), range(20)),
    "fresh": fresh, "kill": lambda: killed(20), "speed": speed, "joint": joint,
}  # fmt: skip
