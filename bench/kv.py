"""Long contexts in a small cache: time, memory and quality of what policies and packing leave of it.

    OMP_NUM_THREADS=1 python bench/kv.py [--only kernel,speed,longest,recall,perplexity,composed,predicted,held-out]

- kernel: attention over 16,384 tokens by the kernel: floats, int8, int4, beside a plain read of as many floats.
- speed: a random Llama of SmolLM2-135M's shape; sequences of 16,384 tokens, as many as make the full cache eight times
  the weights, against 1,024 kept of each. Keys and values are random: what they are does not change the time.
- longest: the longest prompt of that model in the memory of a process, prefill included. Each run is a process of its
  own, and its peak the kernel's high-water mark; a prompt of 8.2 times the length
  is run in it, and the longest is extrapolated.
- recall: the recall model, 4,096 tokens in a cache of an eighth; the question inside the prompt, or after.
- perplexity: the embedded model on the first 8,192 tokens of held-out files: 4,096 read, cut to 1,024, the rest scored.
- composed: guesses, 8-bit weights and a cut cache together against the plain loop in fp32, prompts of 4,096 tokens.
- predicted: milliseconds a token and bytes as `dovetail.design.cached_pace` predicts them, against this computer.
- held-out: the same for policies, budgets, periods, batches and lengths by which it was never shaped.

Times are CPU seconds of the one thread (wall seconds with more); ways take turns within a round, medians count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dovetail.cost.memory import cache_bytes
from dovetail.design.cached_pace import CachedPace
from dovetail.design.resolve import weights_of
from dovetail.hardware.host import host_machine
from dovetail.model import Model
from dovetail.model.kv_groups import KVGroups
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.cache.attention import FIELDS, Seen, attended
from dovetail.runtime.cache.filled import filled
from dovetail.runtime.cache.packing import packed
from dovetail.runtime.cache.perplexity import cached_perplexity
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.corpus import documents
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.passes import clock_of
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.memory import resident_bytes

SMOL: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "intermediate_size": 1536,
    "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 65536,
    "tie_word_embeddings": True, "dtype": "float32", "rope_theta": 100000.0,
}  # fmt: skip
LONG, KEEP = 16_384, 1_024
POLICIES = ("snapkv", "pyramidkv", "adakv", "h2o", "observed-attention", "tova", "kv-window", "keynorm")
NONE: frozenset[int] = frozenset()  # texts do not end by themselves


def smol() -> Loaded:
    """A random Llama of 134.5 million parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**{k: v for k, v in SMOL.items() if k != "model_type"})
    return Loaded(LlamaForCausalLM(config).eval(), None, Path("random-135M"))


def embedded() -> Loaded:
    return load(weights_of(Model.load("embedded")))


def plan_of(recipe: str) -> CachePlan | None:
    return Recipe.load(recipe).on_cache()


def rounds_of(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, which take turns."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return found


# --- kernel


def kernel(rounds: int) -> None:
    batch, heads, group, channels = 6, 3, 3, 64
    source = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=source)

    keys, values = (random(batch, heads, LONG + 1, channels) for _ in range(2))
    asked = (
        random(batch, heads * group, 1, channels),
        random(batch, heads, 1, channels),
        random(batch, heads, 1, channels),
    )
    ways = {"fp32": None, "int8": KVGroups(8), "int4": KVGroups(4)}
    clock, memory, tables, sizes = clock_of(torch.device("cpu")), [], {}, {"plain read": keys.nbytes + values.nbytes}
    for name, groups in ways.items():
        table = np.zeros((batch, heads, len(FIELDS)), np.int64)
        for row, head in np.ndindex(batch, heads):
            pair = keys[row, head], values[row, head]
            table[row, head, :3] = pair[0].data_ptr(), pair[1].data_ptr(), 0 if groups else LONG
            if groups:
                codes = packed(*(x[:LONG].reshape(-1, groups.size, channels) for x in pair), groups)
                memory.append(codes)
                table[row, head, 3:] = codes.data_ptr(), len(codes)
        tables[name] = table
        sizes[name] = sum(m.nbytes for m in memory[-batch * heads :]) if groups else keys.nbytes + values.nbytes

    def timed(work: Callable[[], object]) -> float:
        began = clock()
        work()
        return clock() - began

    works: dict[str, Callable[[], float]] = {
        name: lambda name=name, groups=groups: timed(lambda: attended(tables[name], *asked, Seen(), groups))  # type: ignore[misc]
        for name, groups in ways.items()
    }
    works["plain read"] = lambda: timed(lambda: (keys.sum(), values.sum()))
    found = {name: statistics.median(times) for name, times in rounds_of(works, 5 * rounds).items()}
    print(f"\nkernel: {batch} sequences x {LONG:,} tokens, {heads} KV heads of {group} queries, {channels} channels\n")
    print(f"{'way':<12}{'MB':>7}{'ms':>8}{'GB/s':>8}{'against fp32':>14}")
    for name, seconds in found.items():
        rate = f"{sizes[name] / seconds / 1e9:>8.1f}{found['fp32'] / seconds:>13.2f}x"
        print(f"{name:<12}{sizes[name] / 1e6:>7.0f}{seconds * 1e3:>8.2f}{rate}", flush=True)


# --- speed


def step_seconds(loaded: Loaded, cache: KVCache, steps: int) -> Callable[[], float]:
    """Seconds of a token, of all sequences together: steps of the loop without what chooses among logits."""
    runner, clock, batch = runner_of(loaded), clock_of(loaded.device), len(cache.lengths)

    def run() -> float:
        ids = torch.zeros(batch, 1, dtype=torch.long)
        began = clock()
        with torch.inference_mode():
            for _ in range(steps):
                ids = runner.logits(runner.forward(ids, cache)).argmax(-1)
                cache.keep([1] * batch)
                cache.settle()
        return (clock() - began) / steps

    return run


def speed(rounds: int) -> None:
    loaded = smol()
    weights = sum(p.nbytes for p in loaded.model.parameters())
    per_token = 30 * 2 * 3 * 64 * 4
    batch = -(-8 * weights // (per_token * LONG))
    steps = 64  # a whole period of selections
    plans = {name: plan_of(name) for name in (f"snapkv:keep={KEEP}", f"kv-window:keep={KEEP - 4}", f"h2o:keep={KEEP}")}
    print(
        f"\nspeed: {batch} sequences of {LONG:,} tokens, random keys and values; {KEEP:,} kept; periods of 64 steps\n"
    )
    print(f"  full cache {batch * per_token * LONG / weights:.1f} times the weights of {weights / 1e6:.0f} MB")
    with torch.inference_mode():
        caches = {
            name: filled(runner_of(loaded), batch, plan or CachePlan(), LONG)
            for name, plan in {"full": None, **plans}.items()
        }
    before = {name: (cache.bytes, cache.allocated) for name, cache in caches.items()}
    works = {name: step_seconds(loaded, cache, 4 if name == "full" else steps) for name, cache in caches.items()}
    found = rounds_of(works, rounds)
    print(
        f"{'cache':<22}{'ms a token':>11}{'gain':>7}{'MB':>8}{'ratio':>8}{'allocated':>11}"
        f"{'ratio':>8}{'most':>8}{'ratio':>7}"
    )
    for name, cache in caches.items():
        seconds, (held, own) = statistics.median(found[name]), before[name]
        most = max(own, cache.allocated)
        gain = statistics.median(a / b for a, b in zip(found["full"], found[name], strict=True))
        print(
            f"{name:<22}{seconds * 1e3:>11.1f}{gain:>6.2f}x{held / 1e6:>8.0f}{before['full'][0] / held:>7.1f}x"
            f"{own / 1e6:>11.0f}{before['full'][1] / own:>7.1f}x{most / 1e6:>8.0f}{before['full'][1] / most:>6.1f}x",
            flush=True,
        )  # fmt: skip
    ratios = [a / b for a, b in zip(found["full"], found[f"snapkv:keep={KEEP}"], strict=True)]
    print(f"  rounds of the gain of snapkv: {', '.join(f'{one:.2f}' for one in ratios)}")


# --- longest


def peak(length: int, recipe: str) -> int:
    """Peak of a process that has loaded the model, while it reads a prompt of that length and makes two tokens."""
    code = f"import bench.kv as b; b.read_prompt({length}, {recipe!r})"
    returned = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=returned)
    return int(json.loads(done.stdout.splitlines()[-1]))


def read_prompt(length: int, recipe: str) -> None:
    loaded, source = smol(), torch.Generator().manual_seed(1)
    ids = torch.randint(49152, (length,), generator=source).tolist()
    runner = runner_of(loaded)
    Path("/proc/self/clear_refs").write_text("5")  # weights are joined once when a model is loaded: not the prompt's
    Loop(runner, 2, Sampling(), NONE, plan=plan_of(recipe)).run([ids])
    print(json.dumps(resident_bytes("VmHWM")))


def longest(full: int, keep: int = 64) -> None:
    recipe = f"snapkv:keep={keep},window=32"
    print(f"\nlongest: peaks of processes, random 135M in fp32, prompt and two tokens; {recipe}\n")
    lengths = (full // 2, full)
    peaks = {name: [peak(n, name) for n in lengths] for name in ("none", recipe)}
    slopes = {name: (two - one) / (full - full // 2) for name, (one, two) in peaks.items()}
    for name, (one, two) in peaks.items():
        print(f"  {name:<26}{one / 1e6:>7.0f} MB at {lengths[0]:,}, {two / 1e6:>7.0f} MB at {full:,}: ", end="")
        print(f"{slopes[name]:,.0f} bytes a token", flush=True)
    room, told = peaks["none"][1], int(8.2 * full)
    found = peak(told, recipe)
    print(f"  run: {told:,} tokens with {recipe}, 8.2 x {full:,}, peak at {found / 1e6:.0f} MB: ", end="")
    print(
        f"{'within' if found <= room else 'beyond'} the {room / 1e6:.0f} of {full:,} with the whole cache", flush=True
    )
    each, per = (found - peaks[recipe][1]) / (told - full), slopes["none"]
    for budget in (room, room + 2**30):
        plain, cut = full + (budget - room) / per, told + (budget - found) / each
        print(
            f"  in {budget / 1e6:,.0f} MB, by slope: {plain:,.0f} and {cut:,.0f} tokens, {cut / plain:.1f}x", flush=True
        )


# --- recall


def recalled(each: int, policies: Sequence[str], length: int = 4096) -> None:
    from dovetail.runtime.recall.measure import recall  # type: ignore[import-not-found, unused-ignore]

    loaded, keep = load(weights_of(Model.load("recall"))), length // 8
    print(f"\nrecall: {length:,} tokens, {keep} kept, {5 * each} prompts for each\n")
    print(f"{'cache':<28}{'question inside':>16}{'after':>8}{'bytes':>10}")
    ways = [
        "none",
        *(budgeted(name, keep) for name in policies),
        "kv-int8",
        "kv-int4",
        f"snapkv:keep={keep},slack=64+kv-int4",
    ]
    for recipe in ways:
        inside, after = (
            recall(loaded, length=length, each=each, question=q, plan=plan_of(recipe)) for q in ("inside", "after")
        )
        print(f"{recipe:<28}{inside.share:>16.1%}{after.share:>8.1%}{inside.cache_bytes:>10,}", flush=True)


def budgeted(name: str, keep: int) -> str:
    """A policy with so many tokens in all; a window's first tokens are beside its budget."""
    return f"{name}:keep={keep - 4 if name == 'kv-window' else keep}"


# --- perplexity


def perplexities(policies: Sequence[str], length: int = 8192) -> None:
    loaded, read = embedded(), length // 2
    texts = [one.text for one in documents("test")]
    print(f"\nperplexity: {length:,} tokens of held-out files, {read:,} read, {read // 4:,} kept, the others scored\n")
    print(f"{'cache':<30}{'perplexity':>11}{'of full':>9}")
    base = cached_perplexity(loaded, texts, None, length=length, most=1)
    print(
        f"{'full':<30}{base.perplexity:>11.3f}{1:>8.4f}x   {base.tokens:,} tokens of {len(base.documents)} files",
        flush=True,
    )
    packs = ["kv-int8", "kv-int4"]
    for recipe in [*(budgeted(name, read // 4) for name in policies), *packs, f"snapkv:keep={read // 4}+kv-int4"]:
        found = cached_perplexity(loaded, texts, plan_of(recipe), length=length, most=1)
        print(f"{recipe:<30}{found.perplexity:>11.3f}{found.perplexity / base.perplexity:>8.4f}x", flush=True)


# --- composed


def prompts(loaded: Loaded, count: int, length: int) -> list[list[int]]:
    """The first tokens of held-out files that are longer."""
    found = []
    for split in ("test", "validation"):
        for one in documents(split):  # type: ignore[arg-type]
            ids = loaded.tokenizer(one.text, add_special_tokens=False, verbose=False).input_ids
            found += [ids[at : at + length] for at in range(0, len(ids) - length + 1, length)]
    return found[:count]


COMPOSED = (
    "none", "w8a16-head8", "snapkv:keep=256", "medusa", "w8a16-head8+snapkv:keep=256",
    "w8a16-head8+snapkv:keep=256+medusa", "w8a16-head8+snapkv:keep=256+kv-int4+medusa",
)  # fmt: skip


@dataclass
class Way:
    """A recipe carried out on the embedded model: seconds a token while decoding."""

    recipe: str
    loaded: Loaded
    proposer: Any
    plan: CachePlan | None
    steps: float = 0.0
    prefill_s: float = 0.0

    def seconds(self, rows: Sequence[list[int]], new: int) -> float:
        clock, decoding, made, steps = clock_of(self.loaded.device), 0.0, 0, 0
        for row in rows:
            first: list[float] = []
            began = clock()
            loop = Loop(
                runner_of(self.loaded), new, Sampling(), NONE, proposer=self.proposer, plan=self.plan,
                on_token=lambda *_, first=first: None if first else first.append(clock()),  # type: ignore[misc]
            )  # fmt: skip
            found = loop.run([row])
            decoding, self.prefill_s = decoding + clock() - first[0], first[0] - began
            made, steps = made + len(found.tokens[0]) - 1, steps + found.steps[0]
        self.steps = made / steps
        return decoding / made


def ways_of(names: Sequence[str], scratch: Path) -> Iterator[Way]:
    source = weights_of(Model.load("embedded"))
    for number, name in enumerate(names):
        recipe, folder = Recipe.load(name), source
        if recipe.of_weights().methods:
            folder = recipe.of_weights().apply(folder, scratch / str(number)).path
        loaded = load(folder, kernels="auto")  # as `dovetail run` does
        yield Way(name, loaded, recipe.on_decoding(loaded, source), recipe.on_cache())


def composed(rounds: int, new: int = 256, length: int = 4096, count: int = 2) -> None:
    rows = prompts(embedded(), count, length)
    print(f"\ncomposed: embedded model, {len(rows)} prompts of {length:,} tokens, {new} new each, batch 1, greedy\n")
    with tempfile.TemporaryDirectory() as scratch:
        ways = list(ways_of(COMPOSED, Path(scratch)))
        found = rounds_of({way.recipe: lambda way=way: way.seconds(rows, new) for way in ways}, rounds)  # type: ignore[misc]
    print(f"{'recipe':<46}{'tok/s':>8}{'gain':>7}{'rounds':>14}{'tokens/step':>13}{'prefill s':>11}")
    for way in ways:
        own = found[way.recipe]
        ratios = [a / b for a, b in zip(found["none"], own, strict=True)]
        spread = f"{min(ratios):.2f} – {max(ratios):.2f}"
        print(
            f"{way.recipe:<46}{1 / statistics.median(own):>8.0f}{statistics.median(ratios):>6.2f}x{spread:>14}", end=""
        )
        print(f"{way.steps:>13.2f}{way.prefill_s:>11.2f}", flush=True)


# --- predicted


SHAPED = [
    "none", "kv-int8", "kv-int4",
    *(budgeted(name, keep) for keep in (128, 512) for name in ("snapkv", "kv-window", "tova", "pyramidkv", "h2o")),
    "snapkv:keep=512+kv-int4",
]  # fmt: skip
OTHERS = [
    "snapkv:keep=192", "adakv:keep=768", "keynorm:keep=320", "observed-attention:keep=192",
    "kv-window:keep=700,slack=96", "tova:keep=320,slack=32", "kv-int4:group=64",
    "snapkv:keep=320,window=16,slack=128+kv-int8",
]  # fmt: skip


def predicted(rounds: int) -> None:
    """The cells by which the prediction was shaped: one length, the usual recipes."""
    told("predicted", SHAPED, (1, 4, 16), (4096,), rounds)


def held_out(rounds: int) -> None:
    """Cells that were never looked at while it was shaped: other policies, budgets, periods, batches and lengths."""
    told("held out", OTHERS, (2, 6, 24), (1500, 6100), rounds)


def told(title: str, recipes: Sequence[str], batches: Sequence[int], lengths: Sequence[int], rounds: int) -> None:
    """Steps of a period, one kind of cache after the other; bytes of the graph that `estimate` prices."""
    model, machine, runner = Model.load("embedded"), host_machine(), runner_of(loaded := embedded())
    pace, errors, same = CachedPace.of(runner), [], True
    print(f"\n{title}: embedded model, milliseconds of a step\n")
    print(
        f"{'cache':<40}{'tokens':>7}{'batch':>6}{'predicted':>10}{'measured':>9}{'error':>7}{'bytes':>13}{'equal':>7}"
    )
    for recipe, length, batch in product(recipes, lengths, batches):
        plan = plan_of(recipe) or CachePlan()
        cache = filled(runner, batch, plan, length)
        graph = Recipe.load(recipe).rewrite(model.graph(batch=batch, tokens=length, context=0))
        equal, held = sum(float(cache_bytes(one, machine)) for one in graph.caches) == cache.bytes, cache.bytes
        expected = pace.seconds(batch, plan, length)
        run = step_seconds(loaded, cache, 64)
        found = statistics.median(run() for _ in range(1 + rounds))
        errors.append(expected / found - 1)
        same = same and equal
        row = f"{recipe:<40}{length:>7,}{batch:>6}{expected * 1e3:>10.2f}{found * 1e3:>9.2f}{errors[-1]:>+7.0%}"
        print(f"{row}{held:>13,}{equal!s:>7}", flush=True)
    print(
        f"median error {statistics.median(map(abs, errors)):.1%} of {len(errors)}, asked 12 %; "
        f"90th percentile {np.quantile(np.abs(errors), 0.9):.0%}; bytes {'equal' if same else 'NOT equal'} in all"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--full", type=int, default=2048, help="tokens of the prompt that sets the budget of longest")
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--only", default="kernel,speed,longest,recall,perplexity,composed,predicted,held-out")
    given = parser.parse_args(argv)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    sections: dict[str, Callable[[], None]] = {
        "kernel": lambda: kernel(given.rounds), "speed": lambda: speed(given.rounds),
        "longest": lambda: longest(given.full),
        "recall": lambda: recalled(given.each, given.policies.split(",")),
        "perplexity": lambda: perplexities(given.policies.split(",")), "composed": lambda: composed(given.rounds),
        "predicted": lambda: predicted(given.rounds), "held-out": lambda: held_out(given.rounds),
    }  # fmt: skip
    for name in given.only.split(","):
        sections[name]()


if __name__ == "__main__":
    main()
