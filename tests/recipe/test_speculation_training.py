"""Training what guesses: text of the model's own, resumable, bound to its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import dovetail.recipe.speculation.train as training_module
from dovetail.core.errors import DovetailError
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.speculation.learner import Schedule, fit
from dovetail.recipe.speculation.medusa import MedusaLearner, accuracies, aligned
from dovetail.recipe.speculation.text import SelfText, repetition, written
from dovetail.recipe.speculation.train import Training, train_speculator
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.medusa import MedusaHeads
from dovetail.runtime.decoding.modes import Given, speculation
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.decoding.speculator import Speculator
from dovetail.runtime.load import Loaded, load

WORDS = "def add(first, second):\n    return first + second\n\n\nclass Point:\n    x = 0\n    y = 0\n\n" * 12
SMALL = Training(
    heads=2, written=SelfText(rows=12, prompt=16, new=12, batch=6, repeated=0.9), schedule=Schedule(steps=6, rows=4)
)


@pytest.fixture(scope="module")
def folder() -> Path:
    return weights_of(Model.load("embedded"))


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Loaded:
    found = load(folder)
    found.model.requires_grad_(False)
    return found


@pytest.fixture
def training(tmp_path: Path) -> Training:
    (tmp_path / "words.txt").write_text(WORDS)
    return replace(SMALL, text=tmp_path / "words.txt")


def test_texts_are_what_the_model_goes_on_with(loaded: Loaded, tmp_path: Path) -> None:
    how = replace(SMALL.written, repeated=1.0)
    found = written(loaded, [WORDS], how, tmp_path, lambda _: None)
    assert found.ids.shape == (12, 28)
    ids = loaded.tokenizer(WORDS, add_special_tokens=False).input_ids
    starts = {tuple(ids[at : at + 16]) for at in range(len(ids) - 15)}
    prompts = [row[:16].tolist() for row in found.ids]
    assert {tuple(prompt) for prompt in prompts} <= starts
    plain = Loop(runner_of(loaded), 12, Sampling()).run(prompts[:6])  # the first batch is greedy
    assert [row[16:].tolist() for row in found.ids[:6]] == [list(made) for made in plain.tokens]
    again = written(loaded, [WORDS], how, tmp_path, lambda _: None)  # from what was kept
    assert torch.equal(again.ids, found.ids)


def test_repetition_counts_grams() -> None:
    assert repetition([1, 2, 3, 4, 5, 6]) == 0
    assert repetition([1] * 7) == 0.75
    assert repetition([1, 2]) == 0


def test_heads_are_taught_the_tokens_that_came() -> None:
    ids = torch.arange(20).reshape(2, 10)
    hidden, embedding = torch.randn(2, 10, 4), torch.randn(20, 4)
    states, newest, wanted = aligned(ids, hidden, embedding, prompt=4, heads=2)
    assert wanted.tolist()[:4] == [[5, 6], [6, 7], [7, 8], [8, 9]]
    assert torch.equal(states[0], hidden[0, 3])  # the state that chose token 4
    assert torch.equal(newest[0], embedding[4])
    assert len(states) == 8


def test_training_lowers_the_loss_and_raises_accuracy(loaded: Loaded, tmp_path: Path) -> None:
    how = replace(SMALL.written, rows=16, temperatures=(0.8,))
    text = written(loaded, [WORDS], how, tmp_path, lambda _: None)
    embedding, logits = loaded.model.get_input_embeddings().weight, runner_of(loaded).logits
    learner = MedusaLearner(MedusaHeads.new(2, 256), embedding, logits)
    with torch.enable_grad():
        first = fit(learner, loaded.model, text, Schedule(1, 8), tmp_path / "one.pt", lambda _: None)
        last = fit(learner, loaded.model, text, Schedule(40, 8), tmp_path / "more.pt", lambda _: None)
    assert last < 0.8 * first
    before = accuracies(MedusaHeads.new(2, 256), loaded.model, text)
    after = accuracies(MedusaHeads(learner.heads.weight.detach()), loaded.model, text)
    assert after[0][0] > before[0][0] + 0.2


@pytest.mark.parametrize("kind", ["medusa", "eagle"])
def test_a_stop_costs_no_step_and_changes_nothing(
    kind: str, folder: Path, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(training, kind=kind)
    whole = train_speculator(folder, tmp_path / "whole", training)
    lines: list[str] = []

    def stopped(*args: Any, **rest: Any) -> float:
        """Half the steps of the same schedule, then Ctrl-C."""
        learner, model, text, schedule, kept, report = args
        steps = iter(range(3))

        def counted(*given: Any) -> torch.Tensor:
            next(steps)  # StopIteration after three
            return loss(*given)

        loss = learner.loss
        monkeypatch.setattr(type(learner), "loss", lambda self, *given: counted(*given))
        monkeypatch.setattr("dovetail.recipe.speculation.learner._KEPT_EVERY_S", 0.0)
        try:
            return fit(learner, model, text, schedule, kept, report)
        except StopIteration:
            raise KeyboardInterrupt from None
        finally:
            monkeypatch.undo()

    monkeypatch.setattr(training_module, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_speculator(folder, tmp_path / "parts", training)
    assert not (tmp_path / "parts").exists()
    again = train_speculator(folder, tmp_path / "parts", training, lines.append)
    assert "going on after step 3 of 6" in lines
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    assert again["accuracy"] == whole["accuracy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole", "words.txt"]  # nothing left


@pytest.mark.parametrize("kind", ["medusa", "eagle"])
def test_what_was_trained_decodes_without_another_token(
    kind: str, folder: Path, loaded: Loaded, training: Training, tmp_path: Path
) -> None:
    found = train_speculator(folder, tmp_path / "out", replace(training, kind=kind))
    assert found["kind"] == kind
    prompt = loaded.tokenizer("class Stack:\n    def push(self, item):\n").input_ids
    proposer = speculation(loaded, kind, Given(heads=tmp_path / "out", always=3))
    plain = Loop(runner_of(loaded), 30, Sampling()).run([prompt])
    assert Loop(runner_of(loaded), 30, Sampling(), proposer=proposer).run([prompt]).tokens == plain.tokens
    card = (tmp_path / "out" / "README.md").read_text()
    assert Speculator.open(tmp_path / "out").base in card


def test_what_cannot_be_trained(folder: Path, training: Training, tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match="no heads of kind 'hydra'"):
        replace(training, kind="hydra")
    with pytest.raises(DovetailError, match="0 heads"):
        train_speculator(folder, tmp_path / "out", replace(training, heads=0))
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(DovetailError, match="is too short"):
        train_speculator(folder, tmp_path / "out", replace(training, text=tmp_path / "short.txt"))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DovetailError, match="cannot read"):
        train_speculator(folder, tmp_path / "out", replace(training, text=tmp_path / "bytes.txt"))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("mine")
    with pytest.raises(DovetailError, match="not written by dovetail"):
        train_speculator(folder, tmp_path / "foreign", training)
    with pytest.raises(DovetailError, match="cannot train"):
        Schedule(0)


def test_heads_that_ship_belong_to_the_model_that_ships(folder: Path, loaded: Loaded) -> None:
    stored = Speculator.open(folder / "medusa")
    stored.check(folder)
    heads = MedusaHeads.of(stored, loaded)
    assert len(heads.accuracy) == len(heads.weight) == 4
    assert heads.accuracy[0][0] > 0.35
    size = sum(path.stat().st_size for path in (folder / "medusa").iterdir())
    assert size <= 4e6
