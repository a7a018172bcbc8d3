"""``medusa train``: heads that make a model's decoding faster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dovetail.app.help import Verbs, add
from dovetail.app.output import Answer, Json, Quiet, command, emit, progress
from dovetail.app.question import ModelName
from dovetail.app.table import table


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    medusa = typer.Typer(
        cls=Verbs, help="Heads that guess the tokens to come.", no_args_is_help=True, rich_markup_mode=None
    )
    add(
        medusa, "Commands", train,
        ["dovetail medusa train ./my-model --text texts.txt --out ./my-heads",
         "dovetail medusa train ./my-model --kind eagle --out ./my-draft"],
    )  # fmt: skip
    app.add_typer(medusa, name="medusa", rich_help_panel="Do")


def train(
    model: ModelName,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write, whole or not at all.")],
    text: Annotated[
        Path | None, typer.Option("--text", metavar="FILE", help="Text to begin in; else standard-library text.")
    ] = None,
    kind: Annotated[
        str, typer.Option(metavar="NAME", help="medusa: heads; eagle: a decoder layer that guesses on and on.")
    ] = "medusa",
    heads: Annotated[int, typer.Option(metavar="N", help="Tokens that are guessed ahead.", min=1)] = 4,
    texts: Annotated[int, typer.Option(metavar="N", help="Texts that the model writes to learn from.", min=2)] = 4096,
    prompt_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens that each begins with.", min=1)] = 64,
    new_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens that it goes on with.", min=2)] = 40,
    steps: Annotated[int, typer.Option(metavar="N", help="Training steps.", min=1)] = 2000,
    rows: Annotated[int, typer.Option(metavar="N", help="Texts of one step.", min=1)] = 8,
    rate: Annotated[
        float | None, typer.Option(metavar="R", help="Learning rate at the start; 0.01 for heads, 0.002 for a layer.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of texts and steps.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train Medusa heads, or a draft layer, on text that the model writes itself.

    The model stays as it is. A stop loses little: the same command goes on. What is learned belongs to these weights,
    and to what recipes make of them; other models refuse it.
    """
    from dovetail.design.resolve import weights_of
    from dovetail.model import Model
    from dovetail.recipe.speculation.learner import Schedule
    from dovetail.recipe.speculation.text import SelfText
    from dovetail.recipe.speculation.train import Training, train_speculator, usual_rate

    folder = weights_of(Model.load(model))
    schedule = Schedule(steps, rows, usual_rate(kind) if rate is None else rate, seed)
    how = Training(kind, heads, text, SelfText(texts, prompt_tokens, new_tokens, seed=seed), schedule)
    found = train_speculator(folder, out, how, lambda line: progress(line, quiet=quiet))
    emit(Answer("medusa train", found, lambda: _screen(model, found, quiet)), as_json=json, quiet=quiet)


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
