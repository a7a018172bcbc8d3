"""``ls``, ``show``, ``recipe show``, ``doctor``: what there is, and what this machine can do."""

from __future__ import annotations

from typing import Annotated

import typer

from dovetail.app.help import Verbs, add
from dovetail.app.output import Answer, Json, Out, Quiet, emit


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    add(
        app,
        "Describe",
        ls,
        ["dovetail ls models", "dovetail ls machines --vendor nvidia --min-memory 80GB", "dovetail ls --kind system"],
    )
    add(app, "Describe", show, [
        "dovetail show Qwen/Qwen3-8B", "dovetail show h200-sxm", "dovetail show ./my-model", "dovetail show w4a16-rtn",
    ])  # fmt: skip
    recipes = typer.Typer(cls=Verbs, help="What recipes do to a model.", no_args_is_help=True, rich_markup_mode=None)
    add(recipes, "Commands", recipe_show, ["dovetail recipe show w4a16-rtn:group=64 --json"], name="show")
    app.add_typer(recipes, name="recipe", rich_help_panel="Describe")
    add(app, "Describe", doctor)


def ls(
    what: Annotated[str, typer.Argument(help="models, machines or recipes.")] = "machines",
    vendor: Annotated[str, typer.Option(metavar="NAME", help="Only this vendor's machines.")] = "",
    min_memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Only machines with at least this much memory: 64GB, 96GiB.")
    ] = "",
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="Only machines of a kind: gpu, tpu, npu, cpu, fpga, asic, or system.")
    ] = "",
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """List models, machines or recipes."""
    from dovetail.app.listings import listing

    found = listing(what, vendor, min_memory, kind)
    answer = Answer("ls", {found.what: found.rows}, lambda: found.print(quiet))
    emit(answer, as_json=json, quiet=quiet, out=out)


def show(
    name: Annotated[
        str, typer.Argument(help="A model, its folder or config.json, a machine, a recipe, or a YAML file.")
    ],
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Describe one model, machine or recipe."""
    from dovetail.app.describe import describe, description

    found = describe(name)
    emit(Answer("show", found, lambda: description(found, quiet)), as_json=json, quiet=quiet, out=out)


def recipe_show(
    name: Annotated[str, typer.Argument(help="A recipe's name, with parameters after a colon, or its YAML file.")],
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Show what a recipe does, method by method."""
    from dovetail.app.describe import describe_recipe, description

    found = describe_recipe(name)
    emit(Answer("recipe show", found, lambda: description(found, quiet)), as_json=json, quiet=quiet, out=out)


def doctor(json: Json = False, quiet: Quiet = False, out: Out = None) -> None:
    """Say what this machine can do, and what each extra would add."""
    from dovetail.app.doctor import checkup, print_checkup

    found = checkup()
    emit(Answer("doctor", found, lambda: print_checkup(found, quiet)), as_json=json, quiet=quiet, out=out)
