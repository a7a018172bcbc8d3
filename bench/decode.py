"""Decoding with guesses against plain decoding: is it lossless, and how much faster is it.

    OMP_NUM_THREADS=1 python bench/decode.py [--prompts 200] [--rounds 5] [--only gain,…] [--modes medusa,…]

The embedded model in fp32 with its own Medusa heads; prompts of 64 tokens from the test split, which neither the model
nor the heads were trained on. Baselines in the same process: `transformers.generate` and our own loop without guesses.

- products: those of a pass with few tokens, by torch and by our kernels.
- lossless: greedy texts that differ from plain decoding, batch 1 and 4; the gap of the two likeliest logits there.
- sampling: at temperature 0.8, four tokens in 25,000 texts of each mode against as many plain ones of other seeds:
  chi-square at each place, tokens seen fewer than ten times taken together; asked of the least of four: p > 0.01 / 4.
- plain: our loop against `transformers.generate`, batch 1.
- gain: against our plain loop, on all texts, and on those in which at most 20 % of 4-grams repeat.
- larger: the gain where a step is bound by memory, as those of large models are: layers that add nothing are put into
  the model, so that its texts stay the same.
- predicted: tokens a step, and steps without a guess, counted on other prompts; steps rehearsed with known texts,
  asking timed by itself; against the measured gain.

No smaller model of these tokens exists: `draft` is a copy of the model's own first two layers, with its norm and head,
in a folder of its own. The layer of `eagle` is that of `--eagle DIR`, or one trained here, shortly.

Times are CPU seconds of the one thread (wall seconds with more), prefill left out; modes take turns within a round and
the median round counts.
"""

from __future__ import annotations

import argparse
import copy
import random
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from widened import widened

from dovetail.design.resolve import weights_of
from dovetail.design.speculation import batch_gain
from dovetail.model import Model
from dovetail.recipe.speculation.learner import Schedule
from dovetail.recipe.speculation.text import SelfText, repetition
from dovetail.recipe.speculation.train import Training, train_speculator, usual_rate
from dovetail.runtime.corpus import documents
from dovetail.runtime.decoding.loop import Decoded, Loop
from dovetail.runtime.decoding.modes import Given, speculation
from dovetail.runtime.decoding.passes import TimedPass, clock_of
from dovetail.runtime.decoding.proposal import Proposal, Text
from dovetail.runtime.decoding.rehearsal import TimedStep
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.decoding.speculation import Speculation
from dovetail.runtime.kernels.dense import DenseProduct
from dovetail.runtime.load import Loaded, load

MODES = ("lookup", "medusa", "medusa+lookup", "exit:2", "draft", "eagle")
FIXED = (("lookup", 4), ("medusa", 4), ("medusa", 10), ("medusa+lookup", 6), ("exit:2", 2), ("draft", 2), ("eagle", 3))
GIVEN, NEW = 64, 128  # tokens of a prompt, and made of it
RELAXED = "medusa:relaxed"  # not lossless: beside the others where tokens are drawn, for its gain alone
SHORT = 64  # made of it where gains are predicted
DRAFT = 2  # layers of the model that are copied as the model that drafts
BATCHES = (1, 4, 16, 64)
REPEATED = 0.2
ALWAYS = 6  # guesses in every step where losslessness is tried
LARGER = (20, 6144)  # layers more, and the width of all feed-forward parts: 119 M parameters
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


def lossless(loaded: Loaded, count: int, modes: Mapping[str, Given]) -> None:
    rows = prompts(loaded, count)
    print(f"\nlossless: {count} prompts x {NEW} tokens, greedy, {ALWAYS} guesses in every step\n")
    print(f"{'mode':<16}{'batch':>6}{'tokens':>9}{'different texts':>17}{'gaps there':>12}{'tokens/step':>13}")
    plain = {size: decoded(loaded, rows, size, Sampling(), None)[0] for size in (1, 4)}
    for mode, given in modes.items():
        for size in (1, 4):
            proposer = speculation(loaded, mode, replace(given, always=ALWAYS))
            made, _, tokens = decoded(loaded, rows, size, Sampling(), proposer)
            gaps = []
            for prompt, mine, theirs in zip(rows, made, plain[size], strict=True):
                if mine != theirs:
                    at = next(i for i, pair in enumerate(zip(mine, theirs, strict=True)) if pair[0] != pair[1])
                    gaps.append(gap(loaded, prompt, theirs, at))
            words = ", ".join(f"{one:.0e}" for one in gaps) or "–"
            print(f"{mode:<16}{size:>6}{sum(map(len, made)):>9,}{len(gaps):>17}{words:>12}{tokens:>13.2f}", flush=True)


def sampled(loaded: Loaded, modes: Mapping[str, Given]) -> None:
    from scipy.stats import chi2_contingency

    prompt, size = prompts(loaded, 1, seed=5)[0][:12], 500
    print(f"\nsampling: temperature 0.8, the four tokens after the first of {TEXTS:,} texts, {4 * TEXTS:,} draws\n")
    print(f"{'mode':<16}{'kinds of token':>15}{'smallest p of four':>20}{'asked':>9}{'tokens/step':>13}")
    plain = drawn(loaded, prompt, size, None, 10**6)[0]
    for number, (mode, given) in enumerate(modes.items(), 1):
        mine, tokens = drawn(loaded, prompt, size, speculation(loaded, mode, replace(given, always=3)), number)
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


def gains(loaded: Loaded, rounds: int, modes: Mapping[str, Given]) -> None:
    print("\ngain: against our plain loop; guesses as many as pay\n")
    print(f"{'texts':<22}{'batch':>6}  {'mode':<16}{'tokens/step':>12}{'gain':>8}{'rounds':>16}")
    for name, temperature in (("greedy", 0.0), ("T = 0.8", 0.8)):
        sampling = Sampling(temperature)
        every = prompts(loaded, 2560 if temperature == 0 else 128, seed=2)
        tried = {**modes, **({RELAXED: Given()} if temperature and "medusa" in modes else {})}
        made = decoded(loaded, every, 64, sampling, None)[0]
        varied = [row for row, text in zip(every, made, strict=True) if repetition(text) <= REPEATED]
        print(f"  {name}: {len(varied)} of {len(every)} texts repeat at most {REPEATED:.0%} of 4-grams")
        for size in BATCHES:
            for kind, rows in (("varied", varied[:32]), ("all", every[:64])):
                if len(rows) >= size and (kind == "varied" or size != 4):
                    gain_rows(loaded, f"{name}, {kind}", rows[: max(size, 16)], size, sampling, rounds, tried)


def gain_rows(
    loaded: Loaded,
    name: str,
    rows: Sequence[list[int]],
    size: int,
    sampling: Sampling,
    rounds: int,
    modes: Mapping[str, Given],
) -> None:
    proposers = {mode: speculation(loaded, mode, given) for mode, given in modes.items()}
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


def larger(loaded: Loaded, rounds: int, modes: Mapping[str, Given]) -> None:
    """The same texts by a model whose steps are bound by memory."""
    large = widened(loaded, *LARGER)
    parameters = sum(part.numel() for part in large.model.parameters())
    print(f"\nlarger: the same texts by {parameters / 1e6:.0f} M parameters, most of which add nothing\n")
    print(f"{'texts':<22}{'batch':>6}  {'mode':<16}{'tokens/step':>12}{'gain':>8}{'rounds':>16}")
    for name, temperature, count in (("greedy", 0.0, 2560), ("T = 0.8", 0.8, 128)):
        sampling, every = Sampling(temperature), prompts(loaded, count, seed=2)
        made = decoded(loaded, every, 64, sampling, None)[0]
        varied = [row for row, text in zip(every, made, strict=True) if repetition(text) <= REPEATED]
        tried = {**modes, **({RELAXED: Given()} if temperature and "medusa" in modes else {})}
        for size in (1, 4, 16):
            for kind, rows in (("varied", varied[: max(8, size)]), ("all", every[: max(8, size)])):
                if len(rows) >= size:
                    gain_rows(large, f"{name}, {kind}", rows, size, sampling, rounds, tried)


def predicted(loaded: Loaded, rounds: int, modes: Mapping[str, Given]) -> None:
    """Paces counted on other prompts, one at a time; steps rehearsed, and sources asked, at each batch."""
    print(f"\npredicted: fixed numbers of guesses, greedy, {SHORT} tokens\n")
    print(
        f"{'mode':<16}{'guesses':>8}{'batch':>6}{'tokens/step':>13}{'(other text)':>13}{'predicted':>11}"
        f"{'measured':>10}{'error':>8}{'without asking':>16}{'pass alone':>12}"
    )
    known, rows = prompts(loaded, 64, seed=7), prompts(loaded, 64, seed=8)
    errors: dict[str, list[float]] = {"": [], "asking": [], "pass": []}
    for mode, always in ((mode, always) for mode, always in FIXED if mode in modes):
        given = replace(modes[mode], always=always)
        steps = TimedStep(runner_of(loaded), known, SHORT)  # anew: computers drift
        passes = TimedPass(runner_of(loaded), GIVEN + SHORT // 2)
        paces, guessed = counted(loaded, known, mode, given)
        asked = [steps.asking(size, always, speculation(loaded, mode, given)) for size in BATCHES]

        def asking(batch: int, asked: Sequence[float] = asked) -> float:
            return float(np.interp(batch, BATCHES, asked))

        for size in BATCHES:
            told = [
                batch_gain(steps, paces, size, always, asking, guessed),
                batch_gain(steps, paces, size, always, guessed=guessed),
                batch_gain(passes, paces, size, always, asking, guessed),
            ]
            measured, tokens = fixed_gain(loaded, rows[: max(size, 32)], size, mode, given, rounds)
            for found, one in zip(errors.values(), told, strict=True):
                found.append(one / measured - 1)
            expected = len(paces) / sum(1 / pace for pace in paces)
            print(
                f"{mode:<16}{always:>8}{size:>6}{tokens:>13.2f}{expected:>13.2f}{told[0]:>10.2f}x{measured:>9.2f}x"
                f"{errors[''][-1]:>+8.0%}{told[1]:>15.2f}x{told[2]:>11.2f}x", flush=True,
            )  # fmt: skip
    whole, silent, alone = (statistics.median(map(abs, found)) for found in errors.values())
    print(f"median error {whole:.1%}, asked 12 %; without what asking takes {silent:.1%}, by passes alone {alone:.1%}")


def counted(loaded: Loaded, rows: Sequence[list[int]], mode: str, given: Given) -> tuple[list[float], float]:
    """Tokens a step of each text by itself, and the share of steps that had guesses."""
    proposer = speculation(loaded, mode, given)
    assert proposer is not None
    told = Counted(proposer.sources, proposer.sizing)
    paces = [decoded(loaded, [row], 1, Sampling(), told, SHORT)[2] for row in rows]
    return paces, told.guessed / told.steps


@dataclass(slots=True)
class Counted(Speculation):
    """Counts steps, and those with guesses."""

    steps: int = 0
    guessed: int = 0

    def propose(self, texts: Sequence[Text]) -> list[Proposal]:
        found = Speculation.propose(self, texts)
        self.steps += len(found)
        self.guessed += sum(bool(one.tokens) for one in found)
        return found


def fixed_gain(
    loaded: Loaded, rows: Sequence[list[int]], size: int, mode: str, given: Given, rounds: int
) -> tuple[float, float]:  # fmt: skip
    """Measured, and tokens a step."""
    ratios, tokens, proposer = [], 0.0, speculation(loaded, mode, given)
    for _ in range(rounds):
        plain_s = decoded(loaded, rows, size, Sampling(), None, SHORT)[1]
        _, seconds, tokens = decoded(loaded, rows, size, Sampling(), proposer, SHORT)
        ratios.append(plain_s / seconds)
    return statistics.median(ratios), tokens


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


def ways(loaded: Loaded, names: Sequence[str], eagle: Path | None, scratch: Path) -> dict[str, Given]:
    """Modes with what they need beside the model."""
    found = {name: Given() for name in names}
    if "draft" in found:
        found["draft"] = Given(draft=shallow_copy(loaded, scratch / "draft"))
    if "eagle" in found:
        found["eagle"] = Given(heads=eagle or briefly_trained(loaded, scratch / "eagle"))
    return found


def shallow_copy(loaded: Loaded, folder: Path) -> Path:
    """The first layers of a model with its norm and head, as a model of its own."""
    config = copy.deepcopy(loaded.model.config)
    config.num_hidden_layers = DRAFT
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:DRAFT]
    draft = type(loaded.model)(config)
    draft.load_state_dict(loaded.model.state_dict(), strict=False)
    draft.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(loaded.folder / name, folder / name)
    return folder


def briefly_trained(loaded: Loaded, folder: Path) -> Path:
    """A draft layer of 512 texts and 400 steps."""
    how = Training("eagle", written=SelfText(rows=512), schedule=Schedule(400, 8, usual_rate("eagle")))
    found = train_speculator(loaded.folder, folder, how, lambda line: print(line, file=sys.stderr))
    rows = ", ".join(f"{row[0]:.0%}" for row in found["accuracy"])
    print(f"eagle: trained here in 400 steps; right at once, one to four tokens ahead: {rows}")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="products,lossless,sampling,plain,gain,larger,predicted")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--eagle", type=Path)
    given = parser.parse_args()
    loaded = load(weights_of(Model.load("embedded")))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; embedded model, fp32")
    only = given.only.split(",")
    with tempfile.TemporaryDirectory() as scratch:
        guessing = {"lossless", "sampling", "gain", "larger", "predicted"} & set(only)
        modes = ways(loaded, given.modes.split(",") if guessing else (), given.eagle, Path(scratch))
        if "products" in only:
            products(loaded)
        if "lossless" in only:
            lossless(loaded, given.prompts, modes)
        if "sampling" in only:
            sampled(loaded, modes)
        if "plain" in only:
            plain(loaded, given.rounds)
        if "gain" in only:
            gains(loaded, given.rounds, modes)
        if "larger" in only:
            larger(loaded, given.rounds, modes)
        if "predicted" in only:
            predicted(loaded, given.rounds, modes)


if __name__ == "__main__":
    main()
