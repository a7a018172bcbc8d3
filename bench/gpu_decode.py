"""The embedded model decoded on a device: texts with guesses against plain ones, cut caches, and what is refused there.

A part of `bench/gpu.py`. Prompts are windows of 64 tokens of the test split. A pass over a tree of guesses adds up its
products in another order than a pass over one token, so where the two likeliest logits are nearly equal another token
may be the likelier: the gap between them is printed for every text that differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from dovetail.core.errors import DovetailError
from dovetail.cost.memory import cache_bytes
from dovetail.design.resolve import weights_of
from dovetail.hardware.host import host_machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.cache import forecast
from dovetail.runtime.cache.fallback import fallbacks
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.corpus import documents
from dovetail.runtime.decoding.llama import LlamaRunner
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.modes import Given, speculation
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.perplexity import perplexity
from dovetail.runtime.speed import decode_speed

if TYPE_CHECKING:
    from gpu import Place

GIVEN, NEW, TEXTS, ALWAYS = 64, 64, 50, 6
MODES = {1: ("lookup", "medusa", "medusa+lookup"), TEXTS: ("lookup", "medusa", "medusa+lookup")}
CACHES = ("none", "kv-window:keep=252", "snapkv:keep=256", "h2o:keep=256", "adakv:keep=256", "kv-int4", "kv-int8",
          "snapkv:keep=256+kv-int4")  # fmt: skip
LONG = 1024  # tokens of the prompts of cut caches
NONE: frozenset[int] = frozenset()
Texts = list[tuple[int, ...]]


def decode(place: Place) -> dict[str, Any]:
    """All of it; the figures by what they are."""
    model, found = Model.load("embedded"), {}
    texts, new = (4, 16) if place.quick else (TEXTS, NEW)
    cpu = load(weights_of(model))
    loaded = load(weights_of(model), device=place.device)
    found["caches"] = caches(place, model, loaded, cpu)
    found["whole"] = whole(place, loaded, cpu)
    refused(place, model)
    print(f"\ndecode: {texts} prompts x {new} tokens, greedy, embedded model; guesses in every step: {ALWAYS}\n")
    heads = f"{'tokens that differ':>19}{'texts':>7}{'tok/s':>8}{'tok/step':>9}  gaps"
    print(f"{'dtype':<6}{'batch':>6}  {'against':<20}{heads}")
    for dtype in ("fp32", "bf16"):
        loaded = load(weights_of(model), dtype, device=place.device)
        print(f"  {dtype} is executed by {type(runner_of(loaded)).__name__}")
        found[dtype] = lossless(place, loaded, cpu if dtype == "fp32" else None, dtype, texts, new)
    return found


def windows(loaded: Loaded, count: int, length: int) -> list[list[int]]:
    """The same number of windows from each file, evenly apart."""
    files = [loaded.tokenizer(one.text, add_special_tokens=False, verbose=False).input_ids for one in documents("test")]
    long = [ids for ids in files if len(ids) > 2 * length]
    each = -(-count // len(long))
    found = [ids[at : at + length] for ids in long for at in range(0, len(ids) - length, (len(ids) - length) // each)]
    return found[:: max(1, len(found) // count)][:count]


@dataclass(frozen=True)
class Made:
    """Texts, seconds of the steps, tokens a step, and bytes of the cache at the end."""

    texts: Texts
    seconds: float
    per_step: float
    cache_bytes: int

    @property
    def rate(self) -> float:
        """Tokens a second after the first of each text."""
        return sum(len(text) - 1 for text in self.texts) / self.seconds


def made(
    loaded: Loaded, rows: Sequence[list[int]], new: int, batch: int, mode: str = "none", plan: CachePlan | None = None
) -> Made:
    proposer = speculation(loaded, mode, Given(always=ALWAYS))
    texts: Texts = []
    seconds, steps, held = 0.0, 0, 0
    for at in range(0, len(rows), batch):
        loop = Loop(runner_of(loaded), new, Sampling(), NONE, proposer=proposer, plan=plan)
        found = loop.run(rows[at : at + batch])
        texts += found.tokens
        seconds, steps, held = seconds + found.decode_s, steps + sum(found.steps), found.cache_bytes
    return Made(texts, seconds, sum(len(text) - 1 for text in texts) / steps, held)


def lossless(
    place: Place, loaded: Loaded, cpu: Loaded | None, dtype: str, count: int, new: int
) -> dict[str, dict[str, float]]:
    rows, found = windows(loaded, count, GIVEN), {}
    made(loaded, rows[:2], 8, 1, "medusa+lookup")  # warms up
    made(loaded, rows, 2, count)
    alone: Made | None = None
    for batch in (1, count):
        plain = made(loaded, rows, new, batch)
        works: dict[str, Callable[[], Made]] = {"plain again": lambda batch=batch: made(loaded, rows, new, batch)}  # type: ignore[misc]
        if cpu is not None and batch == 1:
            works["plain on the CPU"] = lambda: made(cpu, rows, new, 1)
        if alone is not None:
            works["plain at batch 1"] = lambda alone=alone: alone  # type: ignore[misc]
        alone = plain
        works |= {
            mode: lambda mode=mode, batch=batch: made(loaded, rows, new, batch, mode)
            for mode in MODES.get(batch, MODES[TEXTS])
        }  # type: ignore[misc]
        line(dtype, batch, "plain", plain, plain, [])
        for name, work in works.items():
            other = work()
            gaps = [
                gap(loaded, row, *pair)
                for row, *pair in zip(rows, plain.texts, other.texts, strict=True)
                if pair[0] != pair[1]
            ]
            line(dtype, batch, name, other, plain, gaps)
            found[f"{name}, {batch}"] = {"differ": differing(other.texts, plain.texts), "rate": other.rate}
    return found


def line(dtype: str, batch: int, name: str, other: Made, plain: Made, gaps: Sequence[float]) -> None:
    differ, total = differing(other.texts, plain.texts), sum(map(len, plain.texts))
    texts = sum(a != b for a, b in zip(other.texts, plain.texts, strict=True))
    far = f"largest {max(gaps):.1e} of {len(gaps)}" if gaps else ""
    counts = f"{f'{differ} of {total:,}':>19}{texts:>7}"
    print(f"{dtype:<6}{batch:>6}  {name:<20}{counts}{other.rate:>8,.0f}{other.per_step:>9.2f}  {far}", flush=True)


def differing(one: Texts, other: Texts) -> int:
    """Tokens that differ, place by place: all that follow another token may."""
    return sum(a != b for mine, theirs in zip(one, other, strict=True) for a, b in zip(mine, theirs, strict=True))


def gap(loaded: Loaded, prompt: list[int], mine: Sequence[int], theirs: Sequence[int]) -> float:
    """Between the logits of the two tokens where a text first differs, over the largest logit there."""
    at = next(place for place, pair in enumerate(zip(mine, theirs, strict=True)) if pair[0] != pair[1])
    with torch.inference_mode():
        ids = torch.tensor([[*prompt, *mine[:at]]], device=loaded.device)
        logits = loaded.model(ids).logits[0, -1].float()
    return float((logits[mine[at]] - logits[theirs[at]]).abs() / logits.abs().max())


# --- caches


def caches(place: Place, model: Model, loaded: Loaded, cpu: Loaded) -> dict[str, Any]:
    """Bytes held against those forecast: once the prompt is read, and at the end; texts against those of the CPU."""
    count, new = (1, 8) if place.quick else (8, NEW)
    rows, found = windows(loaded, count, LONG), {}
    print(f"\ncaches: {count} prompts of {LONG:,} tokens read, {new} made, fp32; bytes of one text\n")
    heads = (
        f"{'graph':>11}{'forecast':>11}{'held':>11}{'equal':>7}{'at the end':>12}{'differ':>8}{'tok/s':>7}{'at 8':>8}"
    )
    print(f"{'recipe':<26}{heads}")
    for recipe in CACHES:
        plan = Recipe.load(recipe).on_cache() or CachePlan()
        runner = runner_of(loaded)
        assert isinstance(runner, LlamaRunner)
        graph = Recipe.load(recipe).rewrite(model.graph(batch=1, tokens=LONG, context=0))
        told = int(sum(float(cache_bytes(one, host_machine())) for one in graph.caches))
        ahead = int(forecast.held_bytes(runner, plan, LONG))
        with torch.inference_mode():
            held = plan.prefilled(runner, torch.tensor(rows[0], device=loaded.device))[0]
        mine, together = made(loaded, rows[:2], new, 1, plan=plan), made(loaded, rows, new, len(rows), plan=plan)
        differ = differing(mine.texts, made(cpu, rows[:2], new, 1, plan=plan).texts)
        equal = told == ahead == held.bytes
        print(
            f"{recipe:<26}{told:>11,}{ahead:>11,}{held.bytes:>11,}{equal!s:>7}{mine.cache_bytes:>12,}"
            f"{differ:>8}{mine.rate:>7,.0f}{together.rate:>8,.0f}",
            flush=True,
        )
        found[recipe] = {"forecast": ahead, "held": held.bytes, "equal": equal, "differ": differ, "rate": mine.rate}
        for said in fallbacks(runner, plan):
            if said not in found:
                print(f"    {said}")
                found[said] = True
    return found


# --- the rest


def whole(place: Place, loaded: Loaded, cpu: Loaded) -> dict[str, float]:
    """Perplexity against the CPU's, and what the meters say of decode steps."""
    texts = [one.text[:4000] for one in documents("test")[: 2 if place.quick else 6]]
    here, there = (perplexity(one, texts, context=512).perplexity for one in (loaded, cpu))
    print(f"\nperplexity in fp32, {len(texts)} texts: {here:.6f} on {place.device}, {there:.6f} on the CPU")
    found: dict[str, float] = {"perplexity": here, "perplexity_cpu": there}
    for batch in (1,) if place.quick else (1, 64):
        speed = decode_speed(loaded, 256, batch=batch, budget_s=0.3 if place.quick else 2.0)
        joules = "no counter" if speed.j_per_token is None else f"{speed.j_per_token:.3g} J/token"
        peak = "–" if speed.peak_bytes is None else f"{speed.peak_bytes / 1e6:,.1f} MB more at the peak"
        print(f"transformers, eager, batch {batch}: {speed.tokens_per_s:,.0f} tok/s, {joules}, {peak}", flush=True)
        found[f"transformers, {batch}"] = speed.tokens_per_s
    return found


def refused(place: Place, model: Model) -> None:
    """What has no kernels on a GPU says so."""
    print()
    works: Mapping[str, Callable[[], object]] = {
        "kernels='exact'": lambda: load(weights_of(model), kernels="exact", device=place.device),
        "head_bits=8": lambda: load(weights_of(model), head_bits=8, device=place.device),
        "device='cuda:99'": lambda: load(weights_of(model), device="cuda:99"),
        "4 texts of 2^33 tokens": lambda: forecast.check_texts(
            runner_of(load(weights_of(model), device=place.device)), None, [2**33] * 4,
            forecast.free_on(torch.device(place.device)),
        ),
    }  # fmt: skip
    for name, work in works.items():
        try:
            work()
            print(f"{name}: works")
        except DovetailError as error:
            print(f"{name}: {' '.join(str(error).split())}")
