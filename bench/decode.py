"""Decoding with guesses against plain decoding: is it lossless, and how much faster is it.

    OMP_NUM_THREADS=1 python bench/decode.py [--prompts 200] [--rounds 5] [--only lossless,sampling,…]

The embedded model in fp32 with its own Medusa heads; prompts of 64 tokens from the test split, which neither the model
nor the heads were trained on. Baselines in the same process: `transformers.generate` and our own loop without guesses.

- products: those of a pass with few tokens, by torch and by our kernels.
- lossless: greedy texts that differ from plain decoding, batch 1 and 4; the gap of the two likeliest logits there.
- sampling: at temperature 0.8, four tokens in 25,000 texts of each mode against as many plain ones of other seeds:
  chi-square at each place, tokens seen fewer than ten times taken together; asked of the least of four: p > 0.01 / 4.
- plain: our loop against `transformers.generate`, batch 1.
- gain: against our plain loop, on all texts, and on those in which at most 20 % of 4-grams repeat.
- predicted: tokens a step from guesses counted on other prompts, times from plain passes; against the measured gain.

Times are CPU seconds of the one thread (wall seconds with more), prefill left out; modes take turns within a round and
the median round counts.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.speculation.text import repetition
from dovetail.runtime.corpus import documents
from dovetail.runtime.decoding.drafting import DraftedPass
from dovetail.runtime.decoding.loop import Decoded, Loop
from dovetail.runtime.decoding.modes import Given, speculation
from dovetail.runtime.decoding.passes import TimedPass, clock_of
from dovetail.runtime.decoding.proposal import Text
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Chooser, Sampling
from dovetail.runtime.decoding.speculation import Speculation
from dovetail.runtime.kernels.dense import DenseProduct
from dovetail.runtime.load import Loaded, load

MODES = ("lookup", "medusa", "medusa+lookup", "exit:2")
GIVEN, NEW = 64, 128  # tokens of a prompt, and made of it
BATCHES = (1, 4, 16, 64)
REPEATED = 0.2
ALWAYS = 6  # guesses in every step where losslessness is tried
TEXTS = 25_000  # of which each mode draws four tokens with guesses
NONE: frozenset[int] = frozenset()  # texts do not end by themselves: all are of one length


def prompts(loaded: Loaded, count: int, split: str = "test", seed: int = 0) -> list[list[int]]:
    """Windows of documents, longer ones more often."""
    texts = (loaded.tokenizer(one.text, add_special_tokens=False).input_ids for one in documents(split))  # type: ignore[arg-type]
    found = [text for text in texts if len(text) > GIVEN]
    source = random.Random(seed)
    chosen = source.choices(found, [len(text) for text in found], k=count)
    starts = ((text, source.randrange(len(text) - GIVEN)) for text in chosen)
    return [text[begin : begin + GIVEN] for text, begin in starts]


def batches(rows: Sequence[list[int]], size: int) -> Iterator[Sequence[list[int]]]:
    return (rows[at : at + size] for at in range(0, len(rows), size))


def decoded(
    loaded: Loaded, rows: Sequence[list[int]], size: int, sampling: Sampling, proposer: Speculation | None,
    new: int = NEW,
) -> tuple[list[tuple[int, ...]], float, float]:  # fmt: skip
    """Texts, seconds of decoding (from the first token on), and tokens a step."""
    made, seconds, steps, clock = [], 0.0, 0, clock_of(loaded.device)
    for batch in batches(rows, size):
        first: list[float] = []
        loop = Loop(
            runner_of(loaded), new, sampling, NONE, proposer=proposer,
            on_token=lambda *_, first=first: None if first else first.append(clock()),  # type: ignore[misc]
        )  # fmt: skip
        found: Decoded = loop.run(batch)
        seconds += clock() - first[0]
        made += found.tokens
        steps += sum(found.steps)
    return made, seconds, sum(len(text) - 1 for text in made) / steps


def gap(loaded: Loaded, prompt: list[int], made: Sequence[int], at: int) -> float:
    """Between the two likeliest logits where token `at` of a text was chosen."""
    with torch.inference_mode():
        best = loaded.model(torch.tensor([[*prompt, *made[:at]]])).logits[0, -1].topk(2).values
    return float(best[0] - best[1])


def lossless(loaded: Loaded, count: int) -> None:
    rows = prompts(loaded, count)
    print(f"\nlossless: {count} prompts x {NEW} tokens, greedy, {ALWAYS} guesses in every step\n")
    print(f"{'mode':<16}{'batch':>6}{'tokens':>9}{'different texts':>17}{'gaps there':>12}{'tokens/step':>13}")
    plain = {size: decoded(loaded, rows, size, Sampling(), None)[0] for size in (1, 4)}
    for mode in MODES:
        for size in (1, 4):
            proposer = speculation(loaded, mode, Given(always=ALWAYS))
            made, _, tokens = decoded(loaded, rows, size, Sampling(), proposer)
            gaps = []
            for prompt, mine, theirs in zip(rows, made, plain[size], strict=True):
                if mine != theirs:
                    at = next(i for i, pair in enumerate(zip(mine, theirs, strict=True)) if pair[0] != pair[1])
                    gaps.append(gap(loaded, prompt, theirs, at))
            words = ", ".join(f"{one:.0e}" for one in gaps) or "–"
            print(f"{mode:<16}{size:>6}{sum(map(len, made)):>9,}{len(gaps):>17}{words:>12}{tokens:>13.2f}", flush=True)


def sampled(loaded: Loaded) -> None:
    from scipy.stats import chi2_contingency

    prompt, size = prompts(loaded, 1, seed=5)[0][:12], 500
    print(f"\nsampling: temperature 0.8, the four tokens after the first of {TEXTS:,} texts, {4 * TEXTS:,} draws\n")
    print(f"{'mode':<16}{'kinds of token':>15}{'smallest p of four':>20}{'asked':>9}{'tokens/step':>13}")
    plain = drawn(loaded, prompt, size, None, 10**6)[0]
    for number, mode in enumerate(MODES, 1):
        mine, tokens = drawn(loaded, prompt, size, speculation(loaded, mode, Given(always=3)), number)
        found, kinds = [], 0
        for ours, theirs in zip(mine, plain, strict=True):
            common = [token for token in ours | theirs if ours[token] + theirs[token] >= 10]
            table = [[count[token] for token in common] for count in (ours, theirs)]
            rare = [TEXTS - sum(row) for row in table]
            if min(rare) > 0:
                table = [[*row, rest] for row, rest in zip(table, rare, strict=True)]
            found.append(chi2_contingency(table).pvalue)
            kinds += len(common)
        print(f"{mode:<16}{kinds:>15}{min(found):>20.3f}{'> 0.0025':>9}{tokens:>13.2f}", flush=True)


def drawn(
    loaded: Loaded, prompt: list[int], size: int, proposer: Speculation | None, seed: int
) -> tuple[list[Counter[int]], float]:
    """How often each token was drawn, at each of four places; and tokens a step."""
    found: list[Counter[int]] = [Counter() for _ in range(4)]
    steps = 0
    for number in range(TEXTS // size):
        sampling = Sampling(0.8, seed=seed * 7_919 + number)
        made = Loop(runner_of(loaded), 5, sampling, NONE, proposer=proposer).run([prompt] * size)
        for text in made.tokens:
            for count, token in zip(found, text[1:], strict=True):
                count[token] += 1
        steps += sum(made.steps)
    return found, 4 * TEXTS / steps


def plain(loaded: Loaded, rounds: int) -> None:
    import time

    rows, new = prompts(loaded, 8, seed=1), 128
    ours, theirs = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        mine = [Loop(runner_of(loaded), new, Sampling(), NONE).run([row]).tokens[0] for row in rows]
        middle = time.perf_counter()
        with torch.inference_mode():
            made = [
                loaded.model.generate(
                    torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long), max_new_tokens=new,
                    min_new_tokens=new, do_sample=False, pad_token_id=0,
                )[0, len(row) :].tolist()
                for row in rows
            ]  # fmt: skip
        theirs.append(time.perf_counter() - middle)
        ours.append(middle - begin)
    same = sum(list(a) == b for a, b in zip(mine, made, strict=True))
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    print(f"\nplain: 8 prompts x {new} tokens, batch 1, prefill included: {ratio:.2f}x transformers.generate ", end="")
    print(f"({statistics.median(ours):.2f} against {statistics.median(theirs):.2f} s); {same} of 8 texts the same")


def gains(loaded: Loaded, rounds: int, modes: Sequence[str]) -> None:
    print("\ngain: against our plain loop; guesses as many as pay\n")
    print(f"{'texts':<22}{'batch':>6}  {'mode':<16}{'tokens/step':>12}{'gain':>8}{'rounds':>16}")
    for name, temperature in (("greedy", 0.0), ("T = 0.8", 0.8)):
        sampling = Sampling(temperature)
        every = prompts(loaded, 2560 if temperature == 0 else 128, seed=2)
        made = decoded(loaded, every, 64, sampling, None)[0]
        varied = [row for row, text in zip(every, made, strict=True) if repetition(text) <= REPEATED]
        print(f"  {name}: {len(varied)} of {len(every)} texts repeat at most {REPEATED:.0%} of 4-grams")
        for size in BATCHES:
            for kind, rows in (("varied", varied[:32]), ("all", every[:64])):
                if len(rows) >= size and (kind == "varied" or size != 4):
                    gain_rows(loaded, f"{name}, {kind}", rows[: max(size, 16)], size, sampling, rounds, modes)


def gain_rows(
    loaded: Loaded,
    name: str,
    rows: Sequence[list[int]],
    size: int,
    sampling: Sampling,
    rounds: int,
    modes: Sequence[str],
) -> None:
    proposers = {mode: speculation(loaded, mode) for mode in ("none", *modes)}
    ratios: dict[str, list[float]] = {mode: [] for mode in modes}
    tokens = {}
    for _ in range(rounds):
        base = decoded(loaded, rows, size, sampling, None)[1]
        for mode in modes:
            _, seconds, tokens[mode] = decoded(loaded, rows, size, sampling, proposers[mode])
            ratios[mode].append(base / seconds)
    for mode in modes:
        spread = f"{min(ratios[mode]):.2f} – {max(ratios[mode]):.2f}"
        middle = statistics.median(ratios[mode])
        print(f"{name:<22}{size:>6}  {mode:<16}{tokens[mode]:>12.2f}{middle:>7.2f}x{spread:>16}", flush=True)


def predicted(loaded: Loaded, rounds: int) -> None:
    """Tokens a step counted on other prompts, one at a time; passes and guesses timed by themselves at each batch.

    A batch needs the passes of its slowest text, and gets cheaper as texts end.
    """
    print("\npredicted: fixed numbers of guesses, greedy, 64 tokens\n")
    print(
        f"{'mode':<16}{'guesses':>8}{'batch':>6}{'tokens/step':>13}{'(other text)':>13}{'predicted':>11}"
        f"{'measured':>10}{'error':>8}"
    )
    passes, errors = TimedPass(runner_of(loaded), GIVEN + 32), []
    known, rows = prompts(loaded, 32, seed=7), prompts(loaded, 64, seed=8)
    for mode, always in (("lookup", 4), ("medusa", 4), ("medusa", 10), ("medusa+lookup", 6), ("exit:2", 2)):
        given = Given(always=always)
        paces = [decoded(loaded, [row], 1, Sampling(), speculation(loaded, mode, given), 64)[2] for row in known]
        expected = len(paces) / sum(1 / pace for pace in paces)
        for size in BATCHES:
            some, proposer = rows[: max(size, 16)], speculation(loaded, mode, given)
            base = statistics.median(step_s(loaded, some, size, None) for _ in range(rounds))
            step, alone = (passes.seconds(n, always) + guessing_s(loaded, mode, given, n, known) for n in (size, 1))
            step, alone = (base - passes.seconds(size, 0) + one for one in (step, alone))  # what the loop takes besides
            each = (step - alone) / max(1, size - 1)  # of a sequence more
            told = base / ((alone - each) / slowest(paces, size) + each * size / expected)
            ratios, tokens = [], 0.0
            for _ in range(rounds):
                plain_s = decoded(loaded, some, size, Sampling(), None, 64)[1]
                _, seconds, tokens = decoded(loaded, some, size, Sampling(), proposer, 64)
                ratios.append(plain_s / seconds)
            measured = statistics.median(ratios)
            errors.append(told / measured - 1)
            print(
                f"{mode:<16}{always:>8}{size:>6}{tokens:>13.2f}{expected:>13.2f}{told:>10.2f}x{measured:>9.2f}x"
                f"{errors[-1]:>+8.0%}", flush=True,
            )  # fmt: skip
    print(f"median error {statistics.median(map(abs, errors)):.1%}, asked 12 %")


def slowest(paces: Sequence[float], size: int) -> float:
    """Tokens a step of the slowest of `size` texts, expected: a batch has as many passes as that needs."""
    source = random.Random(0)
    most = [max(1 / pace for pace in source.choices(paces, k=size)) for _ in range(2000)]
    return len(most) / sum(most)


def step_s(loaded: Loaded, rows: Sequence[list[int]], size: int, proposer: Speculation | None) -> float:
    """Seconds of a step of the loop."""
    return decoded(loaded, rows[:size], size, Sampling(), proposer, 33)[1] / 32


def guessing_s(loaded: Loaded, mode: str, given: Given, size: int, rows: Sequence[list[int]]) -> float:
    """Seconds of asking all sources for guesses: once, or a pass of the draft for each guess."""
    proposer = speculation(loaded, mode, given)
    assert proposer is not None
    if isinstance(proposer.sizing.time, DraftedPass):
        return given.always * proposer.sizing.time.draft.seconds(size, 0)
    hidden = loaded.model.config.hidden_size
    texts = [
        Text(at, list(rows[at % len(rows)]), GIVEN, Chooser(Sampling(), at), torch.randn(hidden)) for at in range(size)
    ]
    clock, found = clock_of(runner_of(loaded).device), []
    with torch.inference_mode():
        for _ in range(15):
            began = clock()
            proposer.propose(texts)
            found.append(clock() - began)
    return statistics.median(found)


def products(loaded: Loaded) -> None:
    """All products of a pass, by torch and by the kernels for few tokens."""
    weights = [part.weight for part in loaded.model.modules() if type(part) is torch.nn.Linear]
    ours = [DenseProduct(weight) for weight in weights]
    clock = clock_of(loaded.device)
    print("\nproducts: all of a pass, one by one, milliseconds\n")
    print(f"{'tokens':>8}{'torch':>9}{'ours':>9}")
    for tokens in (1, 2, 3, 4, 6, 8, 16, 32, 64):
        inputs = [torch.randn(tokens, weight.shape[1]) for weight in weights]
        times: tuple[list[float], list[float]] = ([], [])
        with torch.inference_mode():
            for _ in range(100):
                marks = [clock()]
                for x, weight in zip(inputs, weights, strict=True):
                    torch.nn.functional.linear(x, weight)
                marks.append(clock())
                for x, product in zip(inputs, ours, strict=True):
                    product(x)
                marks.append(clock())
                for found, began, ended in zip(times, marks, marks[1:], strict=False):
                    found.append(ended - began)
        print(
            f"{tokens:>8}{statistics.median(times[0]) * 1e3:>9.3f}{statistics.median(times[1]) * 1e3:>9.3f}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="products,lossless,sampling,plain,gain,predicted")
    given = parser.parse_args()
    loaded = load(weights_of(Model.load("embedded")))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; embedded model, fp32")
    only = given.only.split(",")
    if "products" in only:
        products(loaded)
    if "lossless" in only:
        lossless(loaded, given.prompts)
    if "sampling" in only:
        sampled(loaded)
    if "plain" in only:
        plain(loaded, given.rounds)
    if "gain" in only:
        gains(loaded, given.rounds, MODES)
    if "predicted" in only:
        predicted(loaded, given.rounds)


if __name__ == "__main__":
    main()
