"""A model and its heads learn together: what falls, what stays, what is written."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional

import dovetail.recipe.speculation.backbone as backbone
from dovetail.core.errors import DovetailError
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.speculation.backbone import train_jointly
from dovetail.recipe.speculation.joint import Joint, JointLearner
from dovetail.recipe.speculation.learner import Schedule, Written, descend
from dovetail.recipe.speculation.text import SelfText
from dovetail.recipe.speculation.train import Training
from dovetail.runtime.checkpoint import Checkpoint, record
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.medusa import MedusaHeads
from dovetail.runtime.decoding.modes import Given, speculation
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.decoding.speculator import Speculator
from dovetail.runtime.load import load

WORDS = "def add(first, second):\n    return first + second\n\n\nclass Point:\n    x = 0\n    y = 0\n\n" * 12
SMALL = Training(
    heads=2, written=SelfText(rows=12, prompt=16, new=12, batch=6, repeated=1.0, temperatures=(0.8,)),
    schedule=Schedule(steps=6, rows=4),
)  # fmt: skip
SHORT = Joint(steps=6, rate=1e-4)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "own head"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of the embedded model's tokens."""
    place = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(4)
    shipped = weights_of(Model.load("embedded"))
    vocabulary = json.loads((shipped / "config.json").read_text())["vocab_size"]
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, tie_word_embeddings=request.param,
        eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(place)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(shipped / name, place / name)
    return place


@pytest.fixture
def training(tmp_path: Path) -> Training:
    (tmp_path / "words.txt").write_text(WORDS)
    return replace(SMALL, text=tmp_path / "words.txt")


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def learner_of(folder: Path, how: Joint) -> JointLearner:
    model, original = (load(folder).model for _ in range(2))
    torch.manual_seed(0)
    heads = MedusaHeads(torch.randn(2, 32, 64) * 0.1)
    return JointLearner(heads, model.requires_grad_(True), original.requires_grad_(False), how)


@pytest.mark.parametrize("distil", [1.0, 0.3])
def test_losses_and_gradients_are_the_formula(folder: Path, distil: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one graph over everything, from the module's own logits; chunks of scores change nothing."""
    monkeypatch.setattr("dovetail.recipe.speculation.joint._CHUNK", 7)
    learner = learner_of(folder, Joint(weight=0.4, fading=0.5, distil=distil))
    with torch.no_grad():
        for weight in learner.model.parameters():
            weight += 0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    ids = torch.randint(0, 90, (3, 20), generator=torch.Generator().manual_seed(1))
    found = learner.loss(ids, prompt=8)
    got = [learner.heads.weight.grad, *(weight.grad for weight in learner.model.parameters())]
    out = learner.model(input_ids=ids, output_hidden_states=True)
    theirs = learner.original(input_ids=ids).logits.log_softmax(-1)[:, :-1]
    mine, states = out.logits.log_softmax(-1)[:, :-1], out.hidden_states[-1]
    apart = (theirs.exp() * (theirs - mine)).sum(-1).mean()
    text = -mine.gather(-1, ids[:, 1:, None]).mean()
    guessing = torch.zeros(())
    embedding = learner.model.get_input_embeddings().weight.detach()
    places = range(7, 17)
    for at in places:
        made = learner.model.get_output_embeddings()(learner.heads.states(states[:, at], embedding[ids[:, at + 1]]))
        for head in range(2):
            guessing = guessing + 0.5**head * functional.cross_entropy(made[:, head], ids[:, at + 2 + head])
    language, guessing = distil * apart + (1 - distil) * text, 0.4 * guessing / len(places)
    torch.testing.assert_close(found, torch.stack((language, guessing)).detach(), rtol=1e-4, atol=1e-6)
    wanted = torch.autograd.grad(language + guessing, [learner.heads.weight, *learner.model.parameters()])
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def trained(folder: Path, how: Joint, tmp_path: Path) -> tuple[list[list[float]], JointLearner]:
    learner = learner_of(folder, how)
    source = torch.Generator().manual_seed(3)
    ids = learner.original.generate(torch.randint(0, 90, (8, 4), generator=source), max_new_tokens=20, do_sample=False)
    schedule, text = Schedule(how.steps, 4, 1e-2), Written(ids, 4)
    losses = descend(
        learner.parts(1e-2), lambda rows: learner.loss(rows, 4), text, schedule, ids.device,
        tmp_path / f"{how.distil}-{how.weight}.pt", lambda _: None,
    )  # fmt: skip
    return losses, learner


def test_both_losses_fall(folder: Path, tmp_path: Path) -> None:
    losses, _ = trained(folder, Joint(steps=60, rate=1e-3, distil=0.2), tmp_path)
    for term in (0, 1):
        assert sum(row[term] for row in losses[-6:]) < 0.9 * sum(row[term] for row in losses[:6])


def test_distillation_holds_the_model(folder: Path, tmp_path: Path) -> None:
    """What the heads pull is less where the model is held to what it said: by its own divergence from it."""

    def apart(how: Joint) -> float:
        _, learner = trained(folder, how, tmp_path)
        ids = torch.randint(0, 90, (4, 30), generator=torch.Generator().manual_seed(9))
        with torch.no_grad():
            mine, theirs = (m(input_ids=ids).logits.log_softmax(-1) for m in (learner.model, learner.original))
        return float((theirs.exp() * (theirs - mine)).sum(-1).mean())

    light, heavy = (apart(Joint(steps=60, rate=1e-3, weight=weight)) for weight in (0.02, 20.0))
    assert 0 < light < 0.5 * heavy


def test_a_new_folder_with_heads_of_its_own(folder: Path, training: Training, tmp_path: Path) -> None:
    before = hashes(folder)
    found = train_jointly(folder, tmp_path / "out", training, SHORT)
    assert hashes(folder) == before
    out = tmp_path / "out"
    loaded, stored = load(out), Speculator.open(out / "medusa")
    assert stored.base == Checkpoint.open(out).sha256() != Checkpoint.open(folder).sha256()
    stored.check(out)
    with pytest.raises(DovetailError, match="heads of another model"):
        stored.check(folder)
    about = record(out) or {}
    assert about["base"]["sha256"] == Checkpoint.open(folder).sha256()
    assert about["measured"]["perplexity_after"] == found["perplexity_after"]
    card = (out / "README.md").read_text()
    for key in ("perplexity_before", "perplexity_after"):
        assert f"{found[key]['value']:.3f}" in card
        assert found[key]["low"] <= found[key]["value"] <= found[key]["high"]
    assert found["perplexity_before"]["value"] != found["perplexity_after"]["value"]
    assert "together with the model" in (out / "medusa" / "README.md").read_text()
    changed = Checkpoint.open(out)
    assert {n: (i.dtype, i.shape) for n, i in changed.stored.items()} == {
        n: (i.dtype, i.shape) for n, i in Checkpoint.open(folder).stored.items()
    }
    proposer = speculation(loaded, "medusa", Given(always=3))  # heads beside the weights
    plain = Loop(runner_of(loaded), 30, Sampling()).run([[5, 6, 7]])
    assert Loop(runner_of(loaded), 30, Sampling(), proposer=proposer).run([[5, 6, 7]]).tokens == plain.tokens
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "words.txt"]


@pytest.mark.parametrize("stage", [0, 1])
def test_a_stop_in_either_stage_changes_no_byte(
    stage: int, folder: Path, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_jointly(folder, tmp_path / "whole", training, SHORT)
    monkeypatch.setattr("dovetail.recipe.speculation.learner._KEPT_EVERY_S", 0.0)
    kind = (backbone.MedusaLearner, JointLearner)[stage]
    loss, steps = kind.loss, stops()

    def counted(self: Any, *given: Any) -> torch.Tensor:
        next(steps)
        return loss(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "loss", counted)
        with pytest.raises(KeyboardInterrupt):
            train_jointly(folder, tmp_path / "parts", training, SHORT)
    assert not (tmp_path / "parts").exists()
    lines: list[str] = []
    again = train_jointly(folder, tmp_path / "parts", training, SHORT, lines.append)
    assert "going on after step 3 of 6" in lines
    files = ("model.safetensors", "medusa/model.safetensors")
    pairs = [[(tmp_path / name / file).read_bytes() for name in ("whole", "parts")] for file in files]
    assert all(one == other for one, other in pairs)
    assert {**again, "path": "", "heads": ""} == {**whole, "path": "", "heads": ""}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole", "words.txt"]


def stops() -> Iterator[None]:
    """Three steps, then Ctrl-C."""
    yield from [None] * 3
    raise KeyboardInterrupt


def test_what_cannot_be_trained_jointly(
    folder: Path, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ({"steps": 0}, {"rate": 0.0}, {"weight": 0.0}, {"fading": 1.5}, {"distil": -0.1}):
        with pytest.raises(DovetailError):
            Joint(**wrong)  # type: ignore[arg-type]
    with pytest.raises(DovetailError, match="no joint training of kind 'eagle'"):
        train_jointly(folder, tmp_path / "out", replace(training, kind="eagle"), SHORT)
    with pytest.raises(DovetailError, match="would overwrite its own source"):
        train_jointly(folder, folder, training, SHORT)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("mine")
    with pytest.raises(DovetailError, match="not written by dovetail"):
        train_jointly(folder, tmp_path / "foreign", training, SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(backbone, "available_memory", lambda: 1000)
        with pytest.raises(DovetailError, match="does not fit in memory"):
            train_jointly(folder, tmp_path / "out", training, SHORT)
    model, config = load(folder).model, Checkpoint.open(folder).config
    base = replace(Checkpoint.open(folder), config={**config, "quantization_config": {}})
    with pytest.raises(DovetailError, match="a quantised model"):
        backbone._stored_names(model, base)
    renamed = replace(base, config=config, stored={f"other.{n}": i for n, i in base.stored.items()})
    with pytest.raises(DovetailError, match="no joint training of this layout"):
        backbone._stored_names(model, renamed)
