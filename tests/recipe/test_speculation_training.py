"""Training what guesses: text of the model's own, resumable, bound to its weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import dovetail.recipe.speculation.train as training_module
from dovetail.core.errors import DovetailError
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.speculation.beginnings import Beginnings
from dovetail.recipe.speculation.learner import Schedule, fit
from dovetail.recipe.speculation.medusa import MedusaLearner, accuracies, aligned
from dovetail.recipe.speculation.text import SelfText, parts, repetition, starts, written
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
    ids = loaded.tokenizer(WORDS, add_special_tokens=False).input_ids
    found = written(loaded, [ids], how, tmp_path, lambda _: None)
    assert found.ids.shape == (12, 28)
    windows = {tuple(ids[at : at + 16]) for at in range(len(ids) - 15)}
    prompts = [row[:16].tolist() for row in found.ids]
    assert {tuple(prompt) for prompt in prompts} <= windows
    first = [list(start) for start in dict.fromkeys(map(tuple, starts([ids], how, 0)))]  # the first batch is greedy
    assert prompts[: len(first)] == first
    plain = Loop(runner_of(loaded), 12, Sampling()).run(first)
    assert [row[16:].tolist() for row in found.ids[: len(first)]] == [list(made) for made in plain.tokens]
    again = written(loaded, [ids], how, tmp_path, lambda _: None)  # from what was kept
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
    ids = loaded.tokenizer(WORDS, add_special_tokens=False).input_ids
    text = written(loaded, [ids], how, tmp_path, lambda _: None)
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
    with pytest.raises(DovetailError, match="one text"):
        replace(training, written=replace(training.written, rows=1))
    for heads in (0, 12, 13):  # of texts that go on for 12 tokens
        with pytest.raises(DovetailError, match=f"{heads} heads"):
            replace(training, heads=heads)
    with pytest.raises(DovetailError, match="a seed of"):
        replace(training.written, seed=2**32)
    with pytest.raises(DovetailError, match="a seed of"):
        replace(training.schedule, seed=-1)
    with pytest.raises(DovetailError, match="beyond the model's context"):
        train_speculator(folder, tmp_path / "out", replace(training, written=replace(training.written, prompt=1 << 20)))
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bytes.txt", "foreign", "short.txt", "words.txt"]


@pytest.mark.parametrize("kind", ["medusa", "eagle"])
def test_as_many_heads_as_texts_allow(kind: str, folder: Path, training: Training, tmp_path: Path) -> None:
    """One place is left for the last of them: its accuracy is a share of something."""
    how = replace(training, kind=kind, heads=3, written=replace(training.written, prompt=1, new=4))
    found = train_speculator(folder, tmp_path / "out", how)
    assert len(found["accuracy"]) == 3
    assert 0 < found["loss"] < math.inf


@pytest.mark.parametrize("count", [1, 3, 60])
def test_what_is_checked_with_is_apart_from_what_is_learned(count: int) -> None:
    documents = [" ".join(f"{name}.{place}" for place in range(400)) for name in range(count)]
    found = Beginnings.of(Words(), [*documents, documents[0], "short"], 16)
    learned, checked = ({t for part in parts for t in part} for parts in (found.learned, found.checked))
    assert not learned & checked
    assert len(learned | checked) == 400 * count
    assert len(checked) == (32 * count if count < 40 else 3 * 400)
    assert all(len(part) >= 16 for part in (*found.learned, *found.checked))
    assert found.apart == {1: "the end of the document", 3: "the end of each of 3 documents"}.get(
        count, "3 whole documents of 60"
    )
    with pytest.raises(DovetailError, match="is too short"):
        Beginnings.of(Words(), [" ".join(documents[0].split()[:47])], 16)


class Words:
    """A tokenizer of words that gives each its own number."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def __call__(self, text: str, **_: Any) -> Any:
        return SimpleNamespace(input_ids=[self.known.setdefault(word, len(self.known)) for word in text.split()])


def test_no_text_is_there_twice_and_none_checked_begins_as_one_learned(loaded: Loaded, tmp_path: Path) -> None:
    """Of a document that repeats, so that there are few beginnings, most of them on both sides."""
    ids = loaded.tokenizer(WORDS, add_special_tokens=False).input_ids
    how = SelfText(rows=40, prompt=16, new=6, batch=8, repeated=1.0)
    learn, check = parts(loaded, Beginnings([ids[:200]], [ids[200:]], ""), how, tmp_path, lambda _: None)
    assert (len(learn.ids), len(check.ids)) == (38, 2)
    rows = [tuple(row) for row in (*learn.ids.tolist(), *check.ids.tolist())]
    assert len(set(rows)) == 40
    assert not {row[:16] for row in rows[:38]} & {row[:16] for row in rows[38:]}
    again = parts(loaded, Beginnings([ids[:200]], [ids[200:]], ""), how, tmp_path, lambda _: None)
    assert torch.equal(again[0].ids, learn.ids)
    assert torch.equal(again[1].ids, check.ids)
    (tmp_path / "one").mkdir()
    with pytest.raises(DovetailError, match="the same again"):  # greedy, from one beginning
        written(loaded, [ids[:16]], replace(how, temperatures=(0.0,)), tmp_path / "one", lambda _: None)


def test_unfinished_work_is_named_and_is_of_this_version(
    folder: Path, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    def failed(*_: Any) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(training_module, "fit", failed)
    for version in ("1", "2"):
        monkeypatch.setattr(training_module, "__version__", version)
        with pytest.raises(KeyboardInterrupt):
            train_speculator(folder, tmp_path / "out", training, lines.append)
    kept = sorted(str(path) for path in tmp_path.glob(".out.training-*"))
    assert len(kept) == 2
    assert all(any(path in line and "the same command goes on" in line for line in lines) for path in kept)
    assert any("not finished" in line for line in lines)
    monkeypatch.setattr(training_module, "parts", failed)
    with pytest.raises(KeyboardInterrupt):
        train_speculator(folder, tmp_path / "nothing", training)
    assert not list(tmp_path.glob(".nothing*"))


def test_heads_that_ship_belong_to_the_model_that_ships(folder: Path, loaded: Loaded) -> None:
    stored = Speculator.open(folder / "medusa")
    stored.check(folder)
    heads = MedusaHeads.of(stored, loaded)
    assert len(heads.accuracy) == len(heads.weight) == 4
    assert heads.accuracy[0][0] > 0.35
    size = sum(path.stat().st_size for path in (folder / "medusa").iterdir())
    assert size <= 4e6


@pytest.mark.parametrize("accuracy", [None, [], [[]], 3, "0.5", [[0.5], [1.5]], [[0.5], [float("nan")]], [["a"]]])
def test_heads_that_do_not_say_how_often_they_are_right(folder: Path, loaded: Loaded, accuracy: Any) -> None:
    stored = Speculator.open(folder / "medusa")
    about = {**stored.about, "accuracy": accuracy}
    with pytest.raises(DovetailError, match="no measured accuracies") as caught:
        MedusaHeads.of(replace(stored, about=about), loaded)
    assert caught.value.where == str(folder / "medusa")


def test_what_is_wrong_with_heads_is_said_of_their_folder(folder: Path, loaded: Loaded) -> None:
    stored = Speculator.open(folder / "medusa")
    few = {**stored.about, "accuracy": stored.about["accuracy"][:3]}
    for broken, match in [
        (replace(stored, about=few), "accuracies of 3 heads, 4 are stored"),
        (replace(stored, tensors={}), "holds no Medusa heads"),
        (replace(stored, kind="eagle"), "holds no Medusa heads"),
        (replace(stored, tensors={"heads.weight": torch.zeros(4, 8, 16)}), "256 wide"),
        (replace(stored, base="0" * 64), "of another model"),
    ]:
        with pytest.raises(DovetailError, match=match) as caught:
            MedusaHeads.of(broken, loaded)
        assert caught.value.where == str(folder / "medusa")
