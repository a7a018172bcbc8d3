"""``medusa train``: heads that make a model's decoding faster, beside the model or together with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.app.help import Verbs, add
from dovetail.app.output import Answer, Json, Quiet, command, emit, folded, progress
from dovetail.app.question import ModelName
from dovetail.app.table import table
from dovetail.core.errors import DovetailError

if TYPE_CHECKING:
    from dovetail.recipe.speculation.joint import Joint


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    medusa = typer.Typer(
        cls=Verbs, help="Heads that guess the tokens to come.", no_args_is_help=True, rich_markup_mode=None
    )
    add(
        medusa, "Commands", train,
        ["dovetail medusa train ./my-model --text texts.txt --out ./my-heads",
         "dovetail medusa train ./my-model --kind eagle --out ./my-draft",
         "dovetail medusa train ./my-model --text texts.txt --joint --out ./my-faster-model"],
    )  # fmt: skip
    app.add_typer(medusa, name="medusa", rich_help_panel="Do")


Trained = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write, whole or not at all.")]
Beginnings = Annotated[
    Path | None, typer.Option("--text", metavar="FILE", help="Text to begin in; else standard-library text.")
]
Kind = Annotated[
    str, typer.Option(metavar="NAME", help="medusa: heads; eagle: a decoder layer that guesses on and on.")
]
Ahead = Annotated[int, typer.Option(metavar="N", help="Tokens that are guessed ahead.", min=1)]
Texts = Annotated[int, typer.Option(metavar="N", help="Texts that the model writes to learn from.", min=2)]
PromptTokens = Annotated[int, typer.Option(metavar="N", help="Tokens that each begins with.", min=1)]
NewTokens = Annotated[int, typer.Option(metavar="N", help="Tokens that it goes on with.", min=2)]
Steps = Annotated[int, typer.Option(metavar="N", help="Training steps.", min=1)]
Rows = Annotated[int, typer.Option(metavar="N", help="Texts of one step.", min=1)]
Rate = Annotated[
    float | None, typer.Option(metavar="R", help="Learning rate at the start; 0.01 for heads, 0.002 for a layer.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of texts and steps.")]
Together = Annotated[
    bool, typer.Option("--joint", help="Then train a copy of the model together with them: --out holds both.")
]
JointSteps = Annotated[int | None, typer.Option("--joint-steps", metavar="N", help="Steps of that stage; 1000.", min=1)]
BackboneRate = Annotated[
    float | None, typer.Option("--backbone-rate", metavar="R", help="Learning rate of the model in it; 0.00001.")
]
HeadWeight = Annotated[
    float | None, typer.Option("--head-weight", metavar="W", help="The heads' loss in it, against its own; 0.2.")
]
Distil = Annotated[
    float | None,
    typer.Option(metavar="S", help="1: its own loss holds it to what it said; less: it learns the text, too."),
]


def train(
    model: ModelName, out: Trained, text: Beginnings = None, kind: Kind = "medusa", heads: Ahead = 4,
    texts: Texts = 4096, prompt_tokens: PromptTokens = 64, new_tokens: NewTokens = 40, steps: Steps = 2000,
    rows: Rows = 8, rate: Rate = None, seed: Seed = 0, joint: Together = False, joint_steps: JointSteps = None,
    backbone_rate: BackboneRate = None, head_weight: HeadWeight = None, distil: Distil = None, json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train Medusa heads, or a draft layer, on text that the model writes itself.

    The model stays as it is; with --joint a copy of it learns, too. A stop loses little: the same command goes on. What
    is learned belongs to these weights, and to what recipes make of them; other models refuse it.
    """
    from dovetail.design.resolve import weights_of
    from dovetail.model import Model
    from dovetail.recipe.speculation.learner import Schedule
    from dovetail.recipe.speculation.text import SelfText
    from dovetail.recipe.speculation.train import Training, train_speculator, usual_rate

    together = _joint(joint, {"steps": joint_steps, "rate": backbone_rate, "weight": head_weight, "distil": distil})
    folder = weights_of(Model.load(model))
    schedule = Schedule(steps, rows, usual_rate(kind) if rate is None else rate, seed)
    how = Training(kind, heads, text, SelfText(texts, prompt_tokens, new_tokens, seed=seed), schedule)

    def told(line: str) -> None:
        progress(line, quiet=quiet)

    if together is None:
        found = train_speculator(folder, out, how, told)
        answer = Answer("medusa train", found, lambda: _screen(model, found, quiet))
    else:
        from dovetail.recipe.speculation.backbone import train_jointly

        found = train_jointly(folder, out, how, together, told)
        answer = Answer("medusa train", found, lambda: _joint_screen(found, quiet))
    emit(answer, as_json=json, quiet=quiet)


def _joint(asked: bool, given: dict[str, Any]) -> Joint | None:
    """How both are trained together; None for heads alone."""
    known = {name: value for name, value in given.items() if value is not None}
    if known and not asked:
        what = f"'{next(iter(known))}' of a joint training that is not asked for"
        raise DovetailError(what, where="medusa train", hint="--joint")
    if not asked:
        return None
    from dovetail.recipe.speculation.joint import Joint

    return Joint(**known)


def _joint_screen(found: dict[str, Any], quiet: bool) -> None:
    print(f"wrote {found['path']}: the model, and in it medusa, {found['parameters']:,} parameters")
    if quiet:
        return
    alone, now = found["alone"], found["tokens_per_step"]
    pairs = zip(alone["accuracy"], found["accuracy"], strict=True)
    rows = [[str(head), f"{before[0]:.1%}", f"{after[0]:.1%}"] for head, (before, after) in enumerate(pairs, 1)]
    table(["tokens ahead", "right at once, heads alone", "jointly"], rows)
    steps = ", ".join(f"{alone['tokens_per_step'][n]:.2f} → {now[n]:.2f} with {n}" for n in now)
    print(folded(f"tokens a step, expected, by guesses: {steps}"))
    before, after = (found[f"perplexity_{when}"] for when in ("before", "after"))
    shown = f"{after['value']:.3f} [{after['low']:.3f} – {after['high']:.3f}]"
    print(folded(f"perplexity {before['value']:.3f} → {shown}, {after['source']}"))
    print(command(["dovetail", "run", found["path"], "--prompt-file", "FILE", "--speculate", "medusa"]))


def _screen(model: str, found: dict[str, Any], quiet: bool) -> None:
    print(f"wrote {found['path']}: {found['kind']}, {found['parameters']:,} parameters")
    if quiet:
        return
    rows = [[str(head), f"{row[0]:.1%}", f"{sum(row[:3]):.1%}"] for head, row in enumerate(found["accuracy"], 1)]
    table(["tokens ahead", "right at once", "among three"], rows)
    steps = ", ".join(f"{tokens:.2f} with {nodes}" for nodes, tokens in found["tokens_per_step"].items())
    print(f"tokens a step, expected, by guesses: {steps}")
    use = ["--prompt-file", "FILE", "--speculate", found["kind"], "--heads", found["path"]]
    print(command(["dovetail", "run", model, *use]))
