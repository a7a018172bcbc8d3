"""Typical acceptance: its rule by brute force, its label, and that nothing takes it unasked."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from dovetail.core.errors import DovetailError
from dovetail.design.estimate import estimate
from dovetail.design.resolve import weights_of
from dovetail.design.run import run
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.decoding.lookup import PromptLookup
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.medusa import Medusa, MedusaHeads
from dovetail.runtime.decoding.modes import Given, named, relaxes, speculation
from dovetail.runtime.decoding.proposal import Proposal
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Chooser, Sampling
from dovetail.runtime.decoding.sizing import PassTime, Sizing
from dovetail.runtime.decoding.speculation import Speculation
from dovetail.runtime.decoding.tree import Tree
from dovetail.runtime.decoding.typical import Typical
from dovetail.runtime.load import Loaded, load

PROMPTS = ([5], [7, 9, 11, 13, 17, 19, 23, 29, 31, 37], [3, 4, 5, 3, 4])


def numpy_chances(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Softmax at a temperature, the likeliest k of it, the fewest that sum to p of that."""
    scores = np.exp((logits - logits.max()) / sampling.temperature)
    order = np.argsort(-scores, kind="stable")
    if sampling.top_k:
        scores[order[sampling.top_k :]] = 0.0
    scores /= scores.sum()
    before = np.cumsum(scores[order]) - scores[order]
    scores[order[before >= sampling.top_p]] = 0.0
    return scores / scores.sum()


def best_path(
    parents: tuple[int, ...], tokens: list[int], logits: np.ndarray, sampling: Sampling, rule: Typical
) -> list[int]:
    """Of all paths from node 0 whose every guess is typical: the longest, and of those the likeliest."""
    found: list[tuple[int, float, list[int]]] = [(0, 0.0, [0])]
    for last in range(1, len(parents)):
        path = [last]
        while path[0]:
            path.insert(0, parents[path[0]])
        total = 0.0
        for parent, node in itertools.pairwise(path):
            p = numpy_chances(logits[parent].astype(np.float64), sampling)
            entropy = -sum(x * np.log(x) for x in p if x > 0)
            if not p[tokens[node - 1]] > min(rule.epsilon, rule.delta * np.exp(-entropy)):
                break
            total += np.log(p[tokens[node - 1]])
        else:
            found.append((len(path) - 1, total, path))
    return max(found, key=lambda one: one[:2])[2]


@pytest.mark.parametrize("rule", [Typical(), Typical(0.3, 0.9), Typical(0.02, 0.05)], ids=["usual", "strict", "lax"])
@pytest.mark.parametrize(
    "sampling", [Sampling(1.0), Sampling(0.7, seed=3), Sampling(1.0, top_k=4), Sampling(1.3, top_p=0.8)],
    ids=["plain", "cold", "top-k", "top-p"],
)  # fmt: skip
def test_the_path_is_that_of_brute_force(rule: Typical, sampling: Sampling) -> None:
    source, lengths = np.random.default_rng(0), set()
    for _ in range(60):
        nodes, spread = int(source.integers(1, 9)), source.choice([0.5, 2.0, 6.0])
        parents = (-1, *(int(source.integers(0, node)) for node in range(1, nodes)))
        tokens = [int(x) for x in source.integers(0, 12, nodes - 1)]
        logits = source.normal(size=(nodes + 2, 12)) * spread  # with rows of filling behind the tree
        path, made = Typical.accepted(rule, Proposal(Tree(parents), tokens), torch.tensor(logits), Chooser(sampling, 0))
        assert path == best_path(parents, tokens, logits, sampling, rule)
        assert made[:-1] == [tokens[node - 1] for node in path[1:]]
        assert len(made) == len(path)
        lengths.add(len(path))
    assert len(lengths) > 2


def test_the_last_token_is_the_models_own_with_its_own_noise() -> None:
    """It is the token of its place without guesses: the noise of the places before it is used up."""
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(1)) * 0.2  # flat: everything is typical
    for seed in range(20):
        sampling = Sampling(1.0, seed=seed)
        path, made = Typical().accepted(Proposal(Tree.chain(3), [1, 2, 3]), logits, Chooser(sampling, 5))
        plain = Chooser(sampling, 5)
        assert (path, made[:3]) == ([0, 1, 2, 3], [1, 2, 3])
        assert made[3] == [plain(row) for row in logits][3]


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


def relaxed(tiny: Loaded, always: int, rule: Typical | None) -> Speculation:
    heads = MedusaHeads(torch.randn(3, 64, 128, generator=torch.Generator().manual_seed(0)) * 0.3)
    medusa = Medusa(heads, runner_of(tiny), tiny.model.get_input_embeddings().weight)
    return Speculation([medusa, PromptLookup()], Sizing(PassTime(1e-3, 1e-6), always=always), rule)


def test_relaxed_texts_are_others_and_come_in_fewer_steps(tiny: Loaded) -> None:
    sampling = Sampling(0.8, seed=1)
    plain = Loop(runner_of(tiny), 60, sampling).run(PROMPTS)
    exact = Loop(runner_of(tiny), 60, sampling, proposer=relaxed(tiny, 5, None)).run(PROMPTS)
    found = Loop(runner_of(tiny), 60, sampling, proposer=relaxed(tiny, 5, Typical())).run(PROMPTS)
    again = Loop(runner_of(tiny), 60, sampling, proposer=relaxed(tiny, 5, Typical())).run(PROMPTS)
    assert exact.tokens == plain.tokens
    assert found.tokens == again.tokens != plain.tokens
    assert [row[0] for row in found.tokens] == [row[0] for row in plain.tokens]  # the first is always the model's
    assert found.tokens_per_step > exact.tokens_per_step
    assert all(len(row) == 60 for row in found.tokens)


def test_every_kept_guess_was_typical(tiny: Loaded) -> None:
    """By the module itself, over the whole text: a step's last token is drawn, all others pass the rule."""
    rule, sampling, kept = Typical(), Sampling(0.8, seed=4), []

    class Told(Speculation):
        def learn(self, texts, counts, seconds):  # type: ignore[no-untyped-def]
            kept.append(counts[0])
            Speculation.learn(self, texts, counts, seconds)

    base = relaxed(tiny, 5, rule)
    made = (
        Loop(runner_of(tiny), 60, sampling, proposer=Told(base.sources, base.sizing, rule)).run([PROMPTS[1]]).tokens[0]
    )
    with torch.inference_mode():
        scores = tiny.model(torch.tensor([[*PROMPTS[1], *made]])).logits[0].numpy().astype(np.float64)
    at, checked = 1, 0
    for count in kept:
        for place in range(at, min(at + count - 1, len(made))):
            p = numpy_chances(scores[len(PROMPTS[1]) + place - 1], sampling)
            entropy = -sum(x * np.log(x) for x in p if x > 0)
            assert p[made[place]] > min(rule.epsilon, rule.delta * np.exp(-entropy)) - 1e-6
            checked += 1
        at += count
    assert checked > 5


def test_relaxed_where_nothing_is_drawn_is_refused(tiny: Loaded, tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match="relaxed acceptance without drawing") as caught:
        Loop(runner_of(tiny), 5, Sampling(), proposer=relaxed(tiny, 5, Typical())).run(PROMPTS)
    assert "--temperature" in str(caught.value)
    (tmp_path / "text.txt").write_text("import json\n")
    for how in ({"speculate": "medusa:relaxed"}, {"recipe": "medusa:relaxed=true"}):
        with pytest.raises(DovetailError, match="relaxed acceptance without drawing"):
            run("embedded", tmp_path / "text.txt", max_new=4, **how)  # type: ignore[arg-type]
    for bad in (0.0, 1.5, float("nan")):
        with pytest.raises(DovetailError, match="a threshold of"):
            Typical(epsilon=bad)


def test_modes_say_whether_they_are_relaxed() -> None:
    for mode in ("medusa:relaxed", "medusa:fixed:relaxed", "medusa:relaxed+lookup", "lookup+medusa:relaxed:fixed"):
        assert relaxes(mode)
    for mode in ("none", "lookup", "medusa", "medusa:fixed", "medusa+lookup", "eagle", "draft", "exit:2"):
        assert not relaxes(mode)
    for wrong in ("lookup:relaxed", "eagle:relaxed", "medusa:relax", "medusa:relaxed:relaxed", "medusa:", "relaxed"):
        with pytest.raises(DovetailError):
            named(wrong)


def test_the_label_is_everywhere(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("import json\n\n\nclass Cache:\n")
    found = run("embedded", tmp_path / "text.txt", max_new=16, temperature=0.8, speculate="medusa:relaxed")
    assert (found["speculate"], found["acceptance"]) == ("medusa:relaxed", "relaxed")
    found = run("embedded", tmp_path / "text.txt", max_new=16, temperature=0.8, recipe="medusa:relaxed=true")
    assert (found["speculate"], found["acceptance"]) == ("medusa:relaxed", "relaxed")
    exact = run("embedded", tmp_path / "text.txt", max_new=16, temperature=0.8, speculate="medusa")
    plain = run("embedded", tmp_path / "text.txt", max_new=16, temperature=0.8)
    assert exact["acceptance"] == plain["acceptance"] == "lossless"
    assert exact["text"] == plain["text"]
    hidden = Recipe.load({"name": "quick", "methods": [{"medusa": {"relaxed": True}}]})
    assert (hidden.name, hidden.guesser) == ("quick (relaxed)", "medusa:relaxed")
    assert Recipe.load(hidden.to_json()).name == hidden.name
    assert "relaxed" in hidden.sized(4).name
    assert Recipe.load("medusa").name == "medusa"


def test_nothing_is_relaxed_unasked() -> None:
    loaded = load(weights_of(Model.load("embedded")))
    for mode in ("lookup", "medusa", "medusa:fixed", "medusa+lookup", "exit:2"):
        proposer = speculation(loaded, mode, Given(always=2))
        assert proposer is not None
        assert proposer.relaxed is None
    proposer = speculation(loaded, "medusa:relaxed+lookup", Given(always=2))
    assert proposer is not None
    assert proposer.relaxed == Typical()
    for recipe in Recipe.names():
        assert not Recipe.load(recipe).relaxed


def test_the_label_is_in_predictions() -> None:
    found = estimate("mistralai/Mistral-7B-v0.3", on="h100-sxm", recipe="medusa:relaxed=true")
    guessed = found.speculation(full=False)
    assert guessed is not None
    assert "relaxed" in guessed.words()
    assert found.to_json()["speculation"]["acceptance"] == "relaxed"
    exact = estimate("mistralai/Mistral-7B-v0.3", on="h100-sxm", recipe="medusa").speculation(full=False)
    assert exact is not None
    assert "relaxed" not in exact.words()
    assert exact.to_json()["acceptance"] == "lossless"
    assert exact.gain is not None
    assert guessed.gain is not None
    assert exact.gain.value == guessed.gain.value
