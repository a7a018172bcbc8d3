"""Train Medusa heads for a model: text of its own, heads beside the frozen model, accuracies on text held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dovetail.core.content import digest
from dovetail.core.errors import DovetailError
from dovetail.core.files import check_apart, check_ours, held, read_text
from dovetail.core.manifest import versions
from dovetail.recipe.speculation.card import card
from dovetail.recipe.speculation.learner import Schedule, fit
from dovetail.recipe.speculation.medusa import MedusaLearner, accuracies
from dovetail.recipe.speculation.text import SelfText, written
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.corpus import documents
from dovetail.runtime.decoding.grown import grown
from dovetail.runtime.decoding.medusa import MedusaHeads
from dovetail.runtime.decoding.speculator import ABOUT, Speculator
from dovetail.runtime.load import load

_HELD_OUT = 0.05  # of the texts: accuracies are measured on them
_NODES = (4, 8, 16, 63)


@dataclass(frozen=True, slots=True)
class Training:
    """What to train.

    Parameters
    ----------
    heads : int
    text : Path or None
        UTF-8 text in which the model's texts begin; None: the train split of the standard library.
    """

    heads: int = 4
    text: Path | None = None
    written: SelfText = field(default_factory=SelfText)
    schedule: Schedule = field(default_factory=Schedule)

    def beginnings(self) -> list[str]:
        """The documents that texts begin in."""
        return [one.text for one in documents("train")] if self.text is None else [read_text(self.text, "the text")]


def train_medusa(
    folder: str | Path, out: str | Path, training: Training, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Train heads for the model in `folder` and write them to the folder `out`.

    Until they are written, the text and the state of the training are kept in a hidden folder beside `out`: the same
    call goes on after a stop, to the same heads.

    Returns
    -------
    dict
        ``path, heads, parameters, loss, accuracy, tokens_per_step`` (expected, by the nodes of the tree).

    Raises
    ------
    DovetailError
        A model that cannot be decoded or has no tokenizer, a text too short, a foreign `out`.
    """
    target = Path(out).expanduser()
    check_apart(Path(folder), target)
    check_ours(target, ABOUT)
    loaded = load(folder)
    if loaded.tokenizer is None:
        raise DovetailError("no tokenizer", where=str(folder), hint="a folder with tokenizer.json")
    loaded.model.requires_grad_(False)
    base, begin = Checkpoint.open(folder), training.beginnings()
    key = digest([base.content(), begin, training.heads, training.written, training.schedule])
    kept = target.parent / f".{target.name}.training-{key[:12]}"
    kept.mkdir(parents=True, exist_ok=True)
    with held(kept) as ours:
        if not ours:
            raise DovetailError("another process is at work here", where=str(kept), hint="wait, or another --out")
        text = written(loaded, begin, training.written, kept, report)
        learn, check = text.parted(max(1, round(_HELD_OUT * len(text.ids))))
        hidden, embedding = loaded.model.config.hidden_size, loaded.model.get_input_embeddings().weight
        learner = MedusaLearner(
            MedusaHeads.new(training.heads, hidden), embedding, loaded.model.get_output_embeddings()
        )
        loss = fit(learner, loaded.model, learn, training.schedule, kept / "state.pt", report)
        # what is stored is what is judged
        heads = MedusaHeads(learner.heads.weight.detach().to(torch.bfloat16).float())
        found = accuracies(heads, loaded.model, check)
        about = {
            "accuracy": found, "loss_per_head": loss / training.heads, "base_name": base.folder.name,
            "text": "train split of the standard library" if training.text is None else training.text.name,
            "training": {"texts": len(learn.ids), "held_out": len(check.ids), "steps": training.schedule.steps,
                         "seed": training.schedule.seed, "temperatures": training.written.temperatures},
            "tokens_per_step": {str(nodes): grown(found, nodes).tokens_per_step for nodes in _NODES},
            "versions": versions(),
        }  # fmt: skip
        stored = Speculator("medusa", base.sha256(), {"heads.weight": heads.weight.to(torch.bfloat16)}, about)
        stored.save(target, card(stored))
    _remove(kept)
    return {"path": str(target), "heads": training.heads, "parameters": heads.weight.numel(), **about}


def _remove(kept: Path) -> None:
    for file in (*kept.glob("text-*.safetensors"), kept / "state.pt"):
        file.unlink(missing_ok=True)
    if not any(kept.iterdir()):
        kept.rmdir()
