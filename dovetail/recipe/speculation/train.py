"""Train what guesses for a model: text of its own, weights beside the frozen model, accuracies on text held out."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dovetail.core.content import digest
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.files import check_apart, check_ours, read_text
from dovetail.core.manifest import versions
from dovetail.core.unfinished import held
from dovetail.core.version import __version__
from dovetail.recipe.speculation.beginnings import Beginnings
from dovetail.recipe.speculation.card import card
from dovetail.recipe.speculation.eagle import EagleLearner, acceptance
from dovetail.recipe.speculation.learner import Learner, Schedule, Written, fit
from dovetail.recipe.speculation.medusa import MedusaLearner, accuracies
from dovetail.recipe.speculation.text import SelfText, parts
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.corpus import documents
from dovetail.runtime.decoding.drafting import worth
from dovetail.runtime.decoding.eagle import EagleLayer, EagleShape
from dovetail.runtime.decoding.grown import grown
from dovetail.runtime.decoding.medusa import MedusaHeads
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.speculator import ABOUT, Speculator
from dovetail.runtime.load import Loaded, load

NODES = (4, 8, 16, 63)


@dataclass(frozen=True, slots=True)
class Training:
    """What to train.

    Parameters
    ----------
    kind : str
        ``medusa`` or ``eagle``.
    heads : int
        Tokens that are guessed ahead.
    text : Path or None
        UTF-8 text in which the model's texts begin; None: the train split of the standard library.
    """

    kind: str = "medusa"
    heads: int = 4
    text: Path | None = None
    written: SelfText = field(default_factory=SelfText)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        usual_rate(self.kind)
        if not 1 <= self.heads < self.written.new:
            why = f"a text of {self.written.new} new tokens has none that is so far ahead"
            why = "there is nothing to train" if self.heads < 1 else why
            hint = f"--heads 4, and --new-tokens of {max(self.heads, 4) + 1} or more"
            raise DovetailError(f"{self.heads} heads", where="training", why=why, hint=hint)
        if self.written.rows < 2:
            raise DovetailError("one text", where="training", why="others are to check with", hint="--texts 4096")

    @property
    def source(self) -> str:
        """What the text is called."""
        return "train split of the standard library" if self.text is None else self.text.name

    def beginnings(self) -> list[str]:
        """The documents that texts begin in."""
        return [one.text for one in documents("train")] if self.text is None else [read_text(self.text, "the text")]


@dataclass(frozen=True, slots=True)
class _Made:
    """Something to train, and what is stored and known of it afterwards, by text held out."""

    learner: Learner
    judged: Callable[[Written], tuple[dict[str, Tensor], dict[str, Any]]]


def _medusa(loaded: Loaded, training: Training) -> _Made:
    model = loaded.model
    heads = MedusaHeads.new(training.heads, model.config.hidden_size)
    learner = MedusaLearner(heads, model.get_input_embeddings().weight, runner_of(loaded).logits)

    def judged(text: Written) -> tuple[dict[str, Tensor], dict[str, Any]]:
        stored = heads.weight.detach().to(torch.bfloat16)
        found = accuracies(MedusaHeads(stored.to(model.dtype)), model, text)
        steps = {str(nodes): grown(found, nodes).tokens_per_step for nodes in NODES}
        return {"heads.weight": stored}, {"accuracy": found, "tokens_per_step": steps}

    return _Made(learner, judged)


def _eagle(loaded: Loaded, training: Training) -> _Made:
    model, runner = loaded.model, runner_of(loaded)
    shape = EagleShape.of(model.config)
    layer = EagleLayer.new(shape, training.schedule.seed)
    embedding = model.get_input_embeddings().weight
    learner = EagleLearner(layer, embedding, runner.logits, steps=min(3, training.heads))

    def judged(text: Written) -> tuple[dict[str, Tensor], dict[str, Any]]:
        stored = {name: tensor.detach().to(torch.bfloat16) for name, tensor in layer.weights.items()}
        kept = EagleLayer(shape, {name: tensor.to(model.dtype) for name, tensor in stored.items()})
        found = acceptance(kept, model, runner.logits, text, training.heads)
        places = worth(found)
        steps = {str(nodes): 1 + sum(chance for chance, _, _ in places[:nodes]) for nodes in NODES}
        return stored, {"shape": asdict(shape), "accuracy": found, "tokens_per_step": steps}

    return _Made(learner, judged)


_KINDS = {"medusa": _medusa, "eagle": _eagle}
_RATES = {"medusa": 1e-2, "eagle": 2e-3}


def usual_rate(kind: str) -> float:
    """The learning rate that suits a kind. Raises `DovetailError` for an unknown kind."""
    if kind not in _RATES:
        raise DovetailError(f"no heads of kind '{kind}'", hint=did_you_mean(kind, list(_RATES)))
    return _RATES[kind]


def train_speculator(
    folder: str | Path, out: str | Path, training: Training, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Train heads or a draft layer for the model in `folder` and write them to the folder `out`.

    Until they are written, the text and the state of the training are kept in a hidden folder beside `out`, which is
    reported: the same call goes on after a stop, to the same weights.

    Returns
    -------
    dict
        ``path, kind, parameters, loss, accuracy, tokens_per_step`` (expected, by the guesses of a step).

    Raises
    ------
    DovetailError
        A model that cannot be decoded or has no tokenizer, texts beyond its context, too little text to begin in, a
        foreign `out`.
    """
    target = Path(out).expanduser()
    check_apart(Path(folder), target)
    check_ours(target, ABOUT)
    loaded = begun(folder, training)
    base, made, texts = Checkpoint.open(folder), _KINDS[training.kind](loaded, training), training.beginnings()
    begin = Beginnings.of(loaded.tokenizer, texts, training.written.prompt)
    key = digest(
        [__version__, base.content(), texts, training.kind, training.heads, training.written, training.schedule]
    )
    with in_hand(target, key, report) as kept:
        learn, check = parts(loaded, begin, training.written, kept, report)
        loss = fit(made.learner, loaded.model, learn, training.schedule, kept / "state.pt", report)
        tensors, about = made.judged(check)
        about |= {
            "loss": loss, "base_name": base.folder.name,
            "text": training.source,
            "training": {"texts": len(learn.ids), "held_out": len(check.ids), "apart": begin.apart,
                         "steps": training.schedule.steps, "seed": training.schedule.seed,
                         "temperatures": training.written.temperatures},
            "versions": versions(),
        }  # fmt: skip
        stored = Speculator(training.kind, base.sha256(), tensors, about)
        stored.save(target, card(stored))
        remove(kept)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    return {"path": str(target), "kind": training.kind, "parameters": parameters, **about}


def begun(folder: str | Path, training: Training) -> Loaded:
    """The model, frozen. Raises `DovetailError` where it has no tokenizer, or texts are beyond its context."""
    loaded = load(folder)
    if loaded.tokenizer is None:
        raise DovetailError("no tokenizer", where=str(folder), hint="a folder with tokenizer.json")
    _check_context(loaded, training.written)
    loaded.model.requires_grad_(False)
    return loaded


def _check_context(loaded: Loaded, how: SelfText) -> None:
    if (asked := how.prompt + how.new) > (held := loaded.max_context):
        why = f"{how.prompt} and {how.new} new are {asked} tokens, the model holds {held}"
        hint = f"--prompt-tokens {held // 2} --new-tokens {held - held // 2}"
        raise DovetailError("texts beyond the model's context", where=str(loaded.folder), why=why, hint=hint)


@contextmanager
def in_hand(target: Path, key: str, report: Callable[[str], None]) -> Iterator[Path]:
    """The folder of unfinished work beside `target`, for this process alone; gone again where nothing is in it."""
    kept = target.parent / f".{target.name}.training-{key[:12]}"
    for other in sorted(target.parent.glob(f".{glob.escape(target.name)}.training-*")):
        if other != kept:
            report(f"left by another training that was not finished: {other}")
    kept.mkdir(parents=True, exist_ok=True)
    with held(kept) as ours:
        if not ours:
            raise DovetailError("another process is at work here", where=str(kept), hint="wait, or another --out")
        try:
            yield kept
        finally:
            if any(kept.iterdir()):
                report(f"what is done is kept in {kept}; the same command goes on")
            else:
                kept.rmdir()


def remove(kept: Path) -> None:
    """What was kept of a training that is finished."""
    for file in (*kept.glob("text-*"), *kept.glob("check-*"), *kept.glob("*state.pt*")):
        file.unlink(missing_ok=True)
