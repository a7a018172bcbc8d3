"""Joint training from a folder to a folder: a new checkpoint, heads beside it, and what became of its quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dovetail.core.content import digest
from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.files import whole_folder, write_json, write_text
from dovetail.core.manifest import versions
from dovetail.core.quantity import Quantity
from dovetail.core.version import __version__
from dovetail.recipe.speculation.beginnings import Beginnings, Tokens
from dovetail.recipe.speculation.card import card as heads_card
from dovetail.recipe.speculation.joint import Joint, JointLearner
from dovetail.recipe.speculation.learner import Written, descend, ends, fit
from dovetail.recipe.speculation.medusa import MedusaLearner, accuracies
from dovetail.recipe.speculation.text import parts, to_check
from dovetail.recipe.speculation.train import NODES, Training, begun, in_hand, remove
from dovetail.runtime.card import card
from dovetail.runtime.checkpoint import RECORD, Checkpoint, check_target, record
from dovetail.runtime.decoding.grown import grown
from dovetail.runtime.decoding.medusa import MedusaHeads
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.speculator import Speculator
from dovetail.runtime.load import Loaded, available_memory, load
from dovetail.runtime.perplexity import Quality, token_nats, window_of
from dovetail.runtime.tensorfile import read_tensor

HEADS = "medusa"  # the folder of the heads in that of the model: decoding looks there
_HELD_OUT = 16_384  # tokens that quality is measured on
_BLOCK = 256  # tokens of a document that are drawn together for intervals
_COPIES = 5  # of the weights in fp32: two models, gradients, and two moments of the optimizer


@dataclass(frozen=True, slots=True)
class _Trained:
    """What two stages made."""

    heads: Tensor
    student: Loaded
    alone: tuple[tuple[float, ...], ...]  # accuracies after the first stage
    losses: Mapping[str, Any]  # of heads alone at the end; of each term at the beginning and at the end


def train_jointly(
    folder: str | Path, out: str | Path, training: Training, joint: Joint,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:  # fmt: skip
    """Train a copy of the model in `folder` together with Medusa heads, and write both to the folder `out`.

    Heads learn alone first, then both. Weights are stored in the types of `folder`, which stays as it is, and what is
    measured is measured with them. A stop loses little, as in `train_speculator`.

    Returns
    -------
    dict
        ``path, heads, parameters, losses`` (first and last tenth of each term), ``accuracy, tokens_per_step`` with
        those ``alone`` after the first stage, ``perplexity_before, perplexity_after``.

    Raises
    ------
    DovetailError
        As `train_speculator`; a quantised model, one whose tensors are not those of its module, too little memory.
    """
    target = Path(out).expanduser()
    check_target(Path(folder), target)
    if training.kind != "medusa":
        raise DovetailError(f"no joint training of kind '{training.kind}'", where="--joint", hint="--kind medusa")
    loaded, base = begun(folder, training), Checkpoint.open(folder)
    names = _stored_names(loaded.model, base)
    _check_memory(loaded)
    texts = training.beginnings()
    begin = Beginnings.of(loaded.tokenizer, texts, training.written.prompt)
    asked = (training.heads, training.written, training.schedule, joint)
    with in_hand(target, digest([__version__, base.content(), texts, "joint", *asked]), report) as kept:
        learn, check = parts(loaded, begin, training.written, kept, report)
        made = _two_stages(loaded, training, joint, learn, check, kept, report)
        _as_stored(made.student.model, names, base)
        after = kept / "after"
        after.mkdir(exist_ok=True)
        own = to_check(made.student, begin, training.written, after, report, learn)
        about = _about(made, loaded, begin, own)
        with whole_folder(target, RECORD) as part:
            _write(part, target, base, made, names, about, _how(training, joint, learn, own, begin))
        remove(after)
        after.rmdir()
        remove(kept)
    return {"path": str(target), "heads": str(target / HEADS), "parameters": made.heads.numel(), **about}


def _two_stages(
    loaded: Loaded, training: Training, joint: Joint, learn: Written, check: Written, kept: Path,
    report: Callable[[str], None],
) -> _Trained:  # fmt: skip
    heads = MedusaHeads.new(training.heads, loaded.model.config.hidden_size)
    alone = MedusaLearner(heads, loaded.model.get_input_embeddings().weight, runner_of(loaded).logits)
    report("first stage: heads beside the model as it is")
    first = fit(alone, loaded.model, learn, training.schedule, kept / "state.pt", report)
    known = accuracies(MedusaHeads(_stored(heads).to(loaded.model.dtype)), loaded.model, check)
    report("second stage: heads and the model")
    student, schedule = load(loaded.folder), joint.schedule(training.schedule)
    learner = JointLearner(heads, student.model.requires_grad_(True), loaded.model, joint)
    losses = descend(
        learner.parts(schedule.rate), lambda ids: learner.loss(ids, learn.prompt), learn, schedule, loaded.device,
        kept / "joint-state.pt", report,
    )  # fmt: skip
    student.model.requires_grad_(False)
    language, guessing = ends(losses)
    return _Trained(_stored(heads), student, known, {"alone": first, "language": language, "heads": guessing})


def _stored(heads: MedusaHeads) -> Tensor:
    return heads.weight.detach().to(torch.bfloat16)


def _stored_names(model: Any, base: Checkpoint) -> dict[str, str]:
    """The module's parameter that each stored tensor is. Raises `DovetailError` where one is not stored as it is."""
    where, prefix = str(base.folder), f"{model.base_model_prefix}."
    if "quantization_config" in base.config:
        why = "weights that are rounded do not learn"
        raise DovetailError("a quantised model", where=where, why=why, hint="the model it was made from")
    found = {}
    for name, weight in model.named_parameters():  # tied ones once
        stored = next((n for n in (name, name.removeprefix(prefix)) if n in base.stored), None)
        if stored is None or tuple(base.stored[stored].shape) != tuple(weight.shape):
            why = f"parameter {name} of the module is no tensor of the files"
            raise DovetailError("no joint training of this layout", where=where, why=why, exit_code=INFEASIBLE)
        found[stored] = name
    return found


def _check_memory(loaded: Loaded) -> None:
    """Raise `DovetailError` before the work, not in the middle of it."""
    weights = 4 * sum(weight.numel() for weight in loaded.model.parameters())
    needed, free = (_COPIES - 1) * weights, available_memory()  # one is there
    if free is not None and needed > free:
        why = f"{needed / 1e9:.1f} GB for a second model, gradients and the optimizer, {free / 1e9:.1f} GB are free"
        hint = "heads alone, without --joint, or a smaller model"
        raise DovetailError("joint training does not fit in memory", why=why, hint=hint, exit_code=INFEASIBLE)


def _as_stored(model: Any, names: Mapping[str, str], base: Checkpoint) -> None:
    """Round what was trained to the types of the files: what is measured is what is written."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for stored, name in names.items():
            dtype = read_tensor(base.stored[stored]).dtype
            parameters[name].copy_(parameters[name].to(dtype))


def _quality(loaded: Loaded, documents: Sequence[Tokens]) -> Quality:
    """Of documents that nothing was learned from, in blocks of tokens."""
    context, stride = window_of(loaded, None, None)
    pieces: list[tuple[float, int]] = []
    for document in documents:
        left = _HELD_OUT - sum(count for _, count in pieces)
        if left > 0:
            nats = token_nats(loaded, document[: left + 1], context, stride)
            blocks = (nats[at : at + _BLOCK] for at in range(0, len(nats), _BLOCK))
            pieces += [(float(block.sum()), len(block)) for block in blocks]
    return Quality.of(pieces, 0)


def _about(made: _Trained, loaded: Loaded, begin: Beginnings, own: Written) -> dict[str, Any]:
    heads = MedusaHeads(made.heads.to(made.student.model.dtype))
    found = accuracies(heads, made.student.model, own)
    label = f"text held out: {begin.apart}"

    def perplexity(of: Loaded) -> dict[str, Any]:
        quality = _quality(of, begin.checked)
        source = f"{quality.tokens:,} tokens of {label}"
        return Quantity(quality.perplexity, *quality.perplexity_interval, "", "measured", source).to_json()

    def expected(rows: Sequence[Sequence[float]]) -> dict[str, float]:
        return {str(nodes): grown(rows, nodes).tokens_per_step for nodes in NODES}

    return {
        "accuracy": found, "tokens_per_step": expected(found),
        "alone": {"accuracy": made.alone, "tokens_per_step": expected(made.alone)},
        "losses": dict(made.losses), "text": label,
        "perplexity_before": perplexity(loaded), "perplexity_after": perplexity(made.student),
    }  # fmt: skip


def _how(training: Training, joint: Joint, learn: Written, own: Written, begin: Beginnings) -> dict[str, Any]:
    return {
        "texts": len(learn.ids), "held_out": len(own.ids), "apart": begin.apart, "steps": training.schedule.steps,
        "seed": training.schedule.seed, "temperatures": training.written.temperatures, "joint": asdict(joint),
        "source": training.source,
    }  # fmt: skip


def _write(
    part: Path, target: Path, base: Checkpoint, made: _Trained, names: Mapping[str, str], about: Mapping[str, Any],
    how: Mapping[str, Any],
) -> None:  # fmt: skip
    """The checkpoint and its card, and the heads in a folder inside, bound to its weights."""
    parameters = dict(made.student.model.named_parameters())

    def trained(name: str, tensor: Tensor) -> dict[str, Tensor]:
        return {name: parameters[names[name]].detach().to(tensor.dtype).contiguous() if name in names else tensor}

    base.map(trained).save(part, recipe={"name": "joint training with Medusa heads", "training": dict(how)})
    kept = ("perplexity_before", "perplexity_after", "text")
    known = {**(record(part) or {}), "measured": {key: about[key] for key in kept}}
    write_json(part / RECORD, known)
    write_text(part / "README.md", card(known))
    told = {key: about[key] for key in ("accuracy", "tokens_per_step", "alone")}
    told |= {"loss": about["losses"]["heads"][1], "text": how["source"], "training": dict(how)}
    told |= {"base_name": target.name, "versions": versions()}
    stored = Speculator("medusa", Checkpoint.open(part).sha256(), {"heads.weight": made.heads}, told)
    stored.save(part / HEADS, heads_card(stored))
