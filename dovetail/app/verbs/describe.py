"""``ls``, ``show``, ``doctor``, ``recipe show``: what there is, and what this machine can do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dovetail.app.output import Answer, Json, Out, Quiet, emit, table
from dovetail.core.errors import DovetailError, did_you_mean


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("ls")(ls)
    app.command()(show)
    app.command()(doctor)
    recipes = typer.Typer(help="How recipes change a model.", no_args_is_help=True, rich_markup_mode=None)
    recipes.command("show")(recipe_show)
    app.add_typer(recipes, name="recipe")


def ls(
    what: Annotated[str, typer.Argument(help="models, machines or recipes")],
    vendor: Annotated[str, typer.Option(help="Only this vendor's machines.")] = "",
    min_memory: Annotated[str, typer.Option(help="Only machines with at least this much memory, as in 64GB.")] = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List models, machines or recipes."""
    listings = {"models": _models, "machines": lambda: _machines(vendor, min_memory), "recipes": _recipes}
    if what not in listings:
        raise DovetailError(f"nothing called '{what}' to list", hint=did_you_mean(what, list(listings)))
    columns, rows = listings[what]()
    data = {what: [dict(zip(columns, row, strict=True)) for row in rows]}

    def screen() -> None:
        if quiet:
            print("\n".join(str(row[0]) for row in rows))
        else:
            table(columns, rows)

    emit(Answer("ls", data, screen), as_json=json)


def _models() -> tuple[list[str], list[list[Any]]]:
    from dovetail.core.units import show as words
    from dovetail.model import Model

    rows = []
    for name in Model.names():
        m = Model.load(name)
        rows.append(
            [
                name,
                m.architecture.family,
                words(m.parameters, "").strip(),
                m.layers,
                words(m.kv_bytes_per_token, "byte"),
                m.max_context,
            ]
        )
    return ["model", "family", "parameters", "layers", "KV per token", "context"], rows


def _machines(vendor: str, min_memory: str) -> tuple[list[str], list[list[Any]]]:
    from math import isnan

    from dovetail.core.units import show as words
    from dovetail.hardware.summary import summary

    rows = []
    for m in summary(vendor=vendor, min_memory=min_memory or 0):
        bf16 = "–" if isnan(m["bf16"]) else words(m["bf16"], "flop/s")
        rent = "–" if isnan(m["usd_per_hour"]) else f"${m['usd_per_hour']:.2f}"
        memory, speed = words(m["memory"], "byte"), words(m["bandwidth"], "byte/s")
        rows.append([m["name"], memory, speed, bf16, words(m["tdp"], "W"), rent, m["kind"]])
    return ["machine", "memory", "bandwidth", "bf16 peak", "TDP", "$/h", "kind"], rows


def _recipes() -> tuple[list[str], list[list[Any]]]:
    from dovetail.recipe.recipe import Recipe

    return ["recipe", "methods"], [[name, Recipe.load(name).describe()] for name in Recipe.names()]


def show(
    name: Annotated[str, typer.Argument(help="A model, folder, config.json, machine or recipe.")],
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Describe one model, machine or recipe."""
    from dovetail.app.describe import describe, description

    found = describe(name)
    emit(Answer("show", found, lambda: description(found, quiet)), as_json=json, out=out)


def doctor(json: Json = False, quiet: Quiet = False) -> None:
    """What this machine can do, and what each missing extra would add."""
    from dovetail.app.doctor import checkup, print_checkup

    found = checkup()
    emit(Answer("doctor", found, lambda: print_checkup(found)), as_json=json)


def recipe_show(
    name: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what a recipe does, method by method."""
    from dovetail.app.describe import describe_recipe, description

    found = describe_recipe(name)
    emit(Answer("recipe show", found, lambda: description(found, quiet)), as_json=json)
