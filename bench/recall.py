"""How far back the recall model remembers, and what cutting the middle out of a prompt costs it.

    OMP_NUM_THREADS=1 python bench/recall.py [LENGTHS …] [--each 8] [--seed 1000]

The shipped model `recall`, in fp32 from its bf16 weights, over prompts that training never drew: one note in 64 tokens,
several sharing each word of the key that is asked for. An answer counts where all three of its words are right; a guess
is right one time in 260,000. Asked: the whole cache at least 99 % at 4,096 tokens. Beside it the prompt cut to 1/8, its
first 16 tokens and its last ones, as StreamingLLM (arXiv 2309.17453) keeps them: what a policy has to beat.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dovetail.design.recall import share
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.load import load
from dovetail.runtime.recall.measure import QUESTIONS, Plan, recall
from dovetail.runtime.recall.prompts import DEPTHS

COMPRESSION = 8
SINK = 16  # tokens kept at the beginning: the note at depth 0 is among them


class Cut:
    """The first and the last tokens of a prompt alone; what lies between is never read."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def prefilled(self, runner: Any, ids: Tensor) -> tuple[KVCache, Tensor]:
        """The cache of what is left, and its hidden states."""
        left = torch.cat((ids[:SINK], ids[SINK - self.tokens :]))
        cache = KVCache(len(runner.layers), 1, len(left), runner.device)
        states = runner.forward(left.unsqueeze(0), cache)[0]
        cache.keep([len(left)])
        return cache, states


def cases(lengths: list[int]) -> Iterator[tuple[int, str, str, Plan | None]]:
    """Length, question, what is kept, and the plan that keeps it."""
    for length in lengths:
        for question in QUESTIONS:
            yield length, question, "all", None
            yield length, question, f"1/{COMPRESSION}, middle cut", Cut(length // COMPRESSION)


def main() -> None:
    """Print one row for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lengths", nargs="*", type=int, default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1000)
    given = parser.parse_args()
    loaded = load(weights_of(Model.load("recall")))
    print("| tokens | question | kept | " + " | ".join(f"{d:.0%}" for d in DEPTHS) + " | all | 95 % | CPU s a prompt |")
    print("|---:|---|---|" + "---:|" * (len(DEPTHS) + 3))
    for length, question, kept, plan in cases(given.lengths):
        began = time.process_time()
        seen = recall(loaded, length=length, each=given.each, question=question, plan=plan, seed=given.seed)
        spent, found = (time.process_time() - began) / seen.asked, share(seen)
        rows = " | ".join(f"{row.share:.0%}" for row in seen.depths)
        interval = f"{found.low:.1%} to {found.high:.1%}"
        print(
            f"| {length:,} | {question} | {kept} | {rows} | {found.value:.1%} | {interval} | {spent:.2f} |", flush=True
        )


if __name__ == "__main__":
    main()
