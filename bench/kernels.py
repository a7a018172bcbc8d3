"""CPU decode with packed weights against fp32 torch, one thread: the asked speed-ups, and what the rounding costs.

    OMP_NUM_THREADS=1 python bench/kernels.py [--rounds 7] [--seconds 0.3]

Two models: a random Llama of 109 million parameters (the largest of `bench/host.py`) and the embedded one. Each runs in
fp32 by torch, by torch's own dynamic int8 (`torch.ao.quantization.quantize_dynamic`, all linear layers, head included),
and from checkpoints packed by round-to-nearest, int8 in groups of 32 and int4 in groups of 128, with
`dovetail.runtime.kernels`: `exact` (fp32 activations), `int8` (activations rounded to 8 bits too), `+ head` (the output
head rounded to 8 bits, as the recipes' method `head` does). Products alone come first, in groups of 128.

Times are CPU seconds of this thread; all figures of a table go round together and the median round counts. The errors:
logits over a text against fp32, relative in the Euclidean norm, and how often the likeliest token is the same (for the
random model over random tokens, which says little; for the embedded one over held-out text). Asked: int8 at least 2.5x
with a logit error of at most 3 %, int4 at least 3x; embedded model at least 1.3x with 99 % agreement for int8.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from host import LARGE

from dovetail.core.lazy import require
from dovetail.design.quality import SAMPLE_BYTES
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.corpus import held_out_text
from dovetail.runtime.decode import step
from dovetail.runtime.kernels.library import VARIANTS, library
from dovetail.runtime.kernels.linear import PackedLinear
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.speed import random_cache

BATCHES = (1, 8, 64)
CONTEXT = 128
PRODUCTS = ((768, 768), (2048, 768), (768, 2048), (32000, 768), (256, 256))  # rows, columns
TOKENS = (1, 8, 64, 512)
TEXT = 2048  # tokens that errors are measured on
GROUPS = {8: 32, 4: 128}  # of the bits of weights
WAYS = tuple((bits, how, head) for bits in GROUPS for how in ("exact", "int8") for head in (None, 8))


def timed(works: dict[str, Callable[[], object]], rounds: int, seconds: float) -> dict[str, float]:
    """CPU seconds of one call of each, median over rounds that all take turns in."""
    repeats = {}
    for name, work in works.items():
        work()
        begin = time.thread_time()
        work()
        repeats[name] = max(1, int(seconds / rounds / max(1e-6, time.thread_time() - begin)))
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            begin = time.thread_time()
            for _ in range(repeats[name]):
                work()
            found[name].append((time.thread_time() - begin) / repeats[name])
    return {name: statistics.median(times) for name, times in found.items()}


def products(rounds: int, seconds: float) -> None:
    """Products alone: microseconds by torch, and how many times as fast each other way is."""
    print(f"\n{'product':<14}{'tokens':>7}{'fp32 µs':>10}", *(f"{w:>11}" for w in ("torch int8", *_layer_names())))
    for rows, cols in PRODUCTS:
        weight = torch.randn(rows, cols)
        dense = torch.nn.Linear(cols, rows, bias=False)
        dense.weight.data = weight
        layers = {"fp32": dense, "torch int8": dynamic_int8(torch.nn.Sequential(dense)), **_layers(weight)}
        for tokens in TOKENS:
            x = torch.randn(tokens, cols)
            times = timed({n: lambda m=m, x=x: m(x) for n, m in layers.items()}, rounds, seconds)  # type: ignore[misc]
            base = times.pop("fp32")
            print(
                f"{rows:>6} x {cols:<5}{tokens:>7}{base * 1e6:>10.0f}", *(f"{base / t:>10.2f}x" for t in times.values())
            )


def _layer_names() -> list[str]:
    return [f"{bits} {how}" for bits in ("int8", "int4") for how in ("exact", "int8")]


def _layers(weight: torch.Tensor) -> dict[str, PackedLinear]:
    from dovetail.recipe.arithmetic.rounding import grid, quantise
    from dovetail.recipe.scheme import Scheme

    found = {}
    for name in _layer_names():
        scheme = Scheme(int(name[3]), 128)
        scale, zero = grid(weight, scheme)
        found[name] = PackedLinear(
            quantise(weight, scale, zero, scheme), scale, scheme.bits, 128, arithmetic=name.split()[1]
        )
    return found


def dynamic_int8(module: torch.nn.Module) -> torch.nn.Module:
    """The peer: torch's dynamic int8 of every linear layer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(module), {torch.nn.Linear}, dtype=torch.qint8)


def ways(folder: Path, scratch: Path) -> Iterator[tuple[str, Loaded]]:
    """The model in fp32 and every other way, by name."""
    plain = load(folder)
    yield "fp32", plain
    yield "torch int8", Loaded(dynamic_int8(plain.model), plain.tokenizer, folder, "torch int8")
    for bits, group in GROUPS.items():
        Recipe.load([{"rtn": {"bits": bits, "group": group}}]).apply(folder, scratch / str(bits))
    for bits, how, head in WAYS:
        found = load(scratch / str(bits), kernels=how, head_bits=head)
        yield f"int{bits} {found.arithmetic}", found


def model_table(title: str, folder: Path, ids: torch.Tensor, rounds: int, seconds: float) -> None:
    """Decode of every way at every batch, as times as fast as fp32; logit error and agreement."""
    with tempfile.TemporaryDirectory(prefix="dovetail-") as scratch:
        found = dict(ways(folder, Path(scratch)))
    logits = {name: whole_logits(loaded, ids) for name, loaded in found.items()}
    times = {batch: timed({n: decode(m, batch) for n, m in found.items()}, rounds, seconds) for batch in BATCHES}
    heads = "".join(f"{f'batch {b}':>19}" for b in BATCHES)
    print(f"\n{title}, context {CONTEXT}\n{'':<22}{heads}{'logit error':>13}{'agreement':>11}")
    for name in found:
        cells = "".join(f"{times[b][name] * 1e3:>9.2f} ms{times[b]['fp32'] / times[b][name]:>6.2f}x" for b in BATCHES)
        error = (logits[name] - logits["fp32"]).norm() / logits["fp32"].norm()
        same = (logits[name].argmax(-1) == logits["fp32"].argmax(-1)).float().mean()
        print(f"{name:<22} {cells}{float(error):>12.2%}{float(same):>11.2%}")


def whole_logits(loaded: Loaded, ids: torch.Tensor) -> torch.Tensor:
    """Logits of every token, read in windows of 256."""
    with torch.inference_mode():
        pieces = [loaded.model(input_ids=piece, use_cache=False).logits[0] for piece in torch.split(ids, 256, 1)]
    return torch.cat(pieces)


def decode(loaded: Loaded, batch: int) -> Callable[[], object]:
    """One decode step at a context that stays."""
    cache = random_cache(loaded, batch, CONTEXT)
    newest = torch.full((batch, 1), 5)

    def work() -> None:
        with torch.inference_mode():
            step(loaded, newest, cache)
            cache.crop(-1)

    return work


def large_folder(out: Path) -> Path:
    """A random Llama of 109 million parameters, saved."""
    transformers = require("transformers", "torch")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{k: v for k, v in LARGE.items() if k != "model_type"})
    transformers.LlamaForCausalLM(config).save_pretrained(out)
    return out


def main() -> None:
    """Products, then both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="CPU seconds for each figure")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = library()
    print(
        f"kernels: {VARIANTS[found.variant()]}; torch: {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    )
    products(given.rounds, given.seconds)
    embedded = weights_of(Model.load("embedded"))
    words = load(embedded).tokenizer(held_out_text(SAMPLE_BYTES)).input_ids[:TEXT]
    model_table("embedded model, 4.2 M parameters", embedded, torch.tensor([words]), given.rounds, given.seconds)
    with tempfile.TemporaryDirectory(prefix="dovetail-") as scratch:
        ids = torch.randint(LARGE["vocab_size"], (1, 256), generator=torch.Generator().manual_seed(0))
        folder = large_folder(Path(scratch) / "large")
        model_table("random Llama, 109 M parameters", folder, ids, given.rounds, given.seconds)


if __name__ == "__main__":
    main()
