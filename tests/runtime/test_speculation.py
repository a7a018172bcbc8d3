"""Guesses of several sources, how many of them pay, trees from chances, text as it streams."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import transformers

from dovetail.core.errors import DovetailError
from dovetail.runtime.decoding.grown import grown
from dovetail.runtime.decoding.lookup import PromptLookup
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.medusa import Medusa, MedusaHeads, likely
from dovetail.runtime.decoding.modes import Given, speculation
from dovetail.runtime.decoding.proposal import Text
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Chooser, Sampling
from dovetail.runtime.decoding.sizing import PassTime, Sizing
from dovetail.runtime.decoding.speculation import Guess, Speculation, mean_chances, merged
from dovetail.runtime.decoding.streaming import TextStream
from dovetail.runtime.decoding.tree import Tree
from dovetail.runtime.load import Loaded

PROMPTS = ([5], [7, 9, 11, 13, 17, 19, 23, 29, 31, 37], [3, 4, 5], [50, 60, 70, 80, 90])


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    torch.manual_seed(2)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, head_dim=16, eos_token_id=None,
        bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    return Loaded(module, None, Path("tiny"))


def test_grown_trees_are_the_best_by_brute_force() -> None:
    source = random.Random(0)
    for _ in range(10):
        chances = [sorted((source.random() for _ in range(3)), reverse=True) for _ in range(3)]
        chances = [[c / 3 for c in row] for row in chances]
        every = {}
        for depth in range(1, 4):
            for path in itertools.product(range(3), repeat=depth):
                every[path] = torch.tensor([chances[h][r] for h, r in enumerate(path)]).prod().item()
        for nodes in (1, 4, 9):
            best = 1 + sum(sorted(every.values(), reverse=True)[:nodes])
            found = grown(chances, nodes)
            assert found.tokens_per_step == pytest.approx(best)
            assert len(found.tree) == nodes + 1
            depths = found.tree.depths[1:]
            assert [head for head, _ in found.guesses] == [depth - 1 for depth in depths]


def test_merged_guesses_keep_the_surest() -> None:
    heads = Guess(Tree((-1, 0, 1, 0)), [5, 6, 7], [0.6, 0.3, 0.2])
    chain = Guess(Tree.chain(3), [5, 8, 9], [0.5, 0.4, 0.1])
    found = merged([heads, chain])
    paths: list[tuple[int, ...]] = [()]
    for parent, token in zip(found.tree.parents[1:], found.tokens, strict=True):
        paths.append((*paths[parent], token))
    assert dict(zip(paths[1:], found.chances, strict=True)) == {
        (5,): 0.6, (5, 8): 0.4, (5, 6): 0.3, (7,): 0.2, (5, 8, 9): 0.1,
    }  # fmt: skip
    assert list(found.chances) == sorted(found.chances, reverse=True)
    assert len(found.first(2).tree) == 3
    assert len(merged([Guess(), Guess()]).tree) == 1
    assert mean_chances([[0.5, 0.3], [0.1]]) == pytest.approx([0.3, 0.15])


def test_sizing_takes_the_width_of_most_tokens_a_second() -> None:
    chances = [0.8, 0.5, 0.3, 0.2, 0.1, 0.05]
    for fixed, each, batch in ((1.0, 0.05, 1), (1.0, 0.3, 1), (1.0, 0.05, 8), (1.0, 0.0, 4), (0.1, 1.0, 1)):
        time = PassTime(fixed, each)
        rates = [(1 + sum(chances[:n])) / time.seconds(batch, n) for n in range(7)]
        assert Sizing(time).width(chances, batch) == rates.index(max(rates))
    assert Sizing(PassTime(0.1, 1.0), always=3).width(chances, 9) == 3


def driven(sizing: Sizing, steps: int, chances: list[float], right: float, *, batch: int = 1) -> list[int]:
    """Widths of steps whose time is as thought, in which the share `right` of what was expected was right."""
    widths = []
    for _ in range(steps):
        width = -1 if sizing.resting(batch) else sizing.width(chances, batch)
        made = 1 + right * sum(chances[: max(0, width)])
        first = (right * chances[0], chances[0]) if width >= 0 else (0.0, 0.0)
        sizing.learn(batch, [made] * batch, sizing.time.seconds(batch, max(0, width)), first)  # type: ignore[list-item]
        widths.append(width)
    return widths


def test_sizing_comes_back_after_bad_passages() -> None:
    sizing, chances = Sizing(PassTime(10e-3, 1.5e-3)), [0.95**at for at in range(1, 12)]
    assert statistics.median(driven(sizing, 300, chances, 1.0)) > 3
    bad = driven(sizing, 300, chances, 0.0)
    assert sum(width > 0 for width in bad[100:]) < 30
    good = driven(sizing, 1500, chances, 1.0)
    assert statistics.median(good[-100:]) > 3


def test_one_hiccup_does_not_condemn_a_width() -> None:
    sizing, chances = Sizing(PassTime(1.0, 0.02)), [0.9, 0.8, 0.7]
    for _ in range(3):
        assert sizing.resting(1)
        sizing.learn(1, [1], 1.02)
    assert not sizing.resting(1)
    width = sizing.width(chances, 1)
    sizing.learn(1, [1 + width], 6.0)
    widths = driven(sizing, 40, chances, 1.0)
    assert max(widths[-3:]) == 3


def test_the_end_of_texts_says_nothing_of_guesses() -> None:
    """Guesses that just pay go on where every other step ends a text: what was right behind its end is not known."""
    sizing, chances = Sizing(PassTime(0.2, 1.0)), [0.9]
    driven(sizing, 60, chances, 1.0)
    rests = 0
    for step in range(100):
        if sizing.resting(1):
            rests += 1
            sizing.learn(1, [1], sizing.time.seconds(1, 0))
        else:
            width = sizing.width(chances, 1)
            kept = [] if step % 2 else [1.0 + sum(chances[:width])]
            sizing.learn(1, kept, sizing.time.seconds(1, width), (0.9, 0.9))  # type: ignore[arg-type]
    assert rests < 10


def test_where_guesses_should_not_pay_they_are_tried_late() -> None:
    sizing = Sizing(PassTime(1e-3, 1e-3))
    assert driven(sizing, 32, [0.5], 1.0, batch=64) == [-1] * 32
    assert sizing.resting(63)  # a text less: nothing begins anew
    assert Sizing(PassTime(1.0, 0.0)).resting(64)


def test_speculation_that_does_not_pay_rests_ever_longer() -> None:
    sizing, tried = Sizing(PassTime(1.0, 0.0)), []
    for step in range(400):
        if not sizing.resting(4):
            tried.append(step)
            sizing.width([0.9], 4)
            sizing.learn(4, [1, 1, 1, 1], 2.0)  # slower than it seemed
        else:
            sizing.learn(4, [1, 1, 1, 1], 1.0)
    assert len(tried) < 40
    gaps = [b - a for a, b in itertools.pairwise(tried)]
    assert max(gaps) > 60


class Oracle(PromptLookup):
    """Knows what comes."""

    def __init__(self, made: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.made = made

    def guess(self, texts: Sequence[Text]) -> list[Guess]:
        rest = [list(self.made[text.index][len(text.made) :][:4]) for text in texts]
        return [Guess(Tree.chain(len(row)), row, [0.9**at for at in range(1, len(row) + 1)]) for row in rest]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, seed=1)], ids=["greedy", "sampled"])
def test_adaptive_speculation_changes_no_token(tiny: Loaded, sampling: Sampling) -> None:
    runner = runner_of(tiny)
    plain = Loop(runner, 60, sampling).run(PROMPTS)
    heads = MedusaHeads(torch.randn(3, 64, 128, generator=torch.Generator().manual_seed(0)) * 0.3)
    embedding = tiny.model.get_input_embeddings().weight
    for sources in (
        [Medusa(heads, runner, embedding)], [Medusa(heads, runner, embedding), PromptLookup()], [Oracle(plain.tokens)],
    ):  # fmt: skip
        for always in (0, 5):
            found = Loop(
                runner, 60, sampling, proposer=Speculation(sources, Sizing(PassTime(1e-3, 1e-6), always=always))
            ).run(PROMPTS)
            assert found.tokens == plain.tokens
    assert found.tokens_per_step > 3  # the oracle's


def test_heads_that_learned_nothing_guess_what_the_model_says(tiny: Loaded) -> None:
    heads = MedusaHeads.new(2, 64)
    hidden = torch.randn(3, 64)
    assert torch.equal(heads.states(hidden, torch.randn(3, 64)), hidden.unsqueeze(1).expand(-1, 2, -1))
    with pytest.raises(DovetailError, match="0 heads"):
        MedusaHeads.new(0, 64)


def test_states_of_heads_are_their_formula() -> None:
    weight, hidden, newest = torch.randn(2, 8, 16), torch.randn(5, 8), torch.randn(5, 8) * 3
    found = MedusaHeads(weight).states(hidden, newest)
    for n in range(5):
        for k in range(2):
            both = torch.cat((hidden[n], newest[n] / newest[n].double().pow(2).mean().sqrt().float()))
            turned = weight[k].double() @ both.double()
            expected = hidden[n].double() + turned * torch.sigmoid(turned)
            torch.testing.assert_close(found[n, k].double(), expected, rtol=1e-4, atol=1e-4)


def test_guesses_with_the_noise_to_come_are_right_when_the_chances_are() -> None:
    """A source that knows the model's chances draws the very token that the model will draw."""
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    for seed in range(20):
        sampling = Sampling(1.3, seed=seed)
        chances, tokens = likely(logits.unsqueeze(0), [Chooser(sampling, 4)])
        choose = Chooser(sampling, 4)
        assert [row[0] for row in tokens[0]] == [choose(one) for one in logits]
        assert all(row == sorted(row, reverse=True) for row in chances[0])


def test_modes_by_name(tiny: Loaded, tmp_path: Path) -> None:
    assert speculation(tiny, "none") is None
    assert speculation(tiny, "lookup") is not None
    with pytest.raises(DovetailError, match="no speculation 'lokup'") as caught:
        speculation(tiny, "lokup")
    assert "lookup" in str(caught.value)
    with pytest.raises(DovetailError, match="two of a kind"):
        speculation(tiny, "lookup+lookup")
    with pytest.raises(DovetailError, match="no medusa heads"):
        speculation(tiny, "medusa")
    with pytest.raises(DovetailError, match="speculator"):
        speculation(tiny, "medusa", Given(heads=tmp_path))


@pytest.mark.parametrize(
    ("mode", "given", "says"),
    [
        ("lookup:99", {}, "'lookup:99' has a parameter"),
        ("lookup+medusa:", {}, "'medusa:' has a parameter"),
        ("none:1", {}, "no speculation 'none'"),
        ("none", {"heads": Path("heads")}, "heads that nothing uses"),
        ("lookup+exit:1", {"heads": Path("heads")}, "heads that nothing uses"),
        ("medusa+eagle", {"heads": Path("heads")}, "one folder of heads for two kinds"),
        ("none", {"draft": Path("small")}, "a draft model that nothing uses"),
        ("exit:1", {"draft": Path("small")}, "a draft model that nothing uses"),
        ("draft", {}, "no draft model"),
        ("exit", {}, "no layer to leave after"),
    ],
)
def test_modes_and_what_is_given_with_them(tiny: Loaded, mode: str, given: dict[str, Path], says: str) -> None:
    with pytest.raises(DovetailError, match=says):
        speculation(tiny, mode, Given(**given))  # type: ignore[arg-type]


def test_each_kind_has_its_folder_beside_the_weights(tiny: Loaded, tmp_path: Path) -> None:
    """Not that of the model as a recipe left it, and none of another kind."""
    with pytest.raises(DovetailError, match="no medusa heads") as caught:
        speculation(tiny, "medusa+eagle", Given(beside=tmp_path))
    assert caught.value.where == str(tmp_path / "medusa")
    (tmp_path / "eagle").mkdir()
    with pytest.raises(DovetailError, match="no eagle heads") as caught:
        speculation(tiny, "eagle", Given(beside=tmp_path))
    assert caught.value.where == str(tmp_path / "eagle")


class Bytes:
    """A tokenizer of bytes."""

    def decode(self, tokens: list[int], skip_special_tokens: bool = True) -> str:
        return bytes(tokens).decode(errors="replace")


@pytest.mark.parametrize("text", ["plain", "ümlaut – “quotes” 漢字 🙂 end", "a\n  b"])
def test_streamed_text_is_whole_characters(text: str) -> None:
    pieces: list[str] = []
    stream = TextStream(Bytes(), sink=pieces.append)
    for token in text.encode():
        stream.add(token)
    assert stream.close() == text
    assert "".join(pieces) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_text_ends_before_a_stop_string() -> None:
    for text, stops, expected in (
        ("one two three", ["two"], "one "), ("one two three", ["xyz", "e t"], "on"), ("aab", ["ab"], "a"),
        ("abc", ["abcd"], "abc"), ("abc", ["abc"], ""),
    ):  # fmt: skip
        pieces: list[str] = []
        stream = TextStream(Bytes(), stops, pieces.append)
        for token in text.encode():
            stream.add(token)
        assert stream.close() == expected
        assert "".join(pieces) == expected
    with pytest.raises(DovetailError, match="empty"):
        TextStream(Bytes(), [""])


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, seed=1)], ids=["greedy", "sampled"])
def test_one_tree_for_all_steps_changes_no_token(tiny: Loaded, sampling: Sampling) -> None:
    """Grown from measured accuracies: its first guesses are those of the head that is right most often."""
    runner, accuracy = runner_of(tiny), ((0.6, 0.2, 0.1), (0.5, 0.1, 0.1))
    heads = MedusaHeads(torch.randn(2, 64, 128, generator=torch.Generator().manual_seed(0)) * 0.3, accuracy)
    source = Medusa(heads, runner, tiny.model.get_input_embeddings().weight, most=4, fixed=True)
    plain = Loop(runner, 40, sampling).run(PROMPTS)
    proposer = Speculation([source], Sizing(PassTime(1.0, 0.0), always=4))
    assert Loop(runner, 40, sampling, proposer=proposer).run(PROMPTS).tokens == plain.tokens
    text = Text(0, [5, 6], 1, Chooser(sampling, 0), torch.randn(64))
    [guess] = source.guess([text])
    assert guess.tree == grown(accuracy, 4).tree
    assert list(guess.chances) == pytest.approx([0.6, 0.3, 0.2, 0.1])
