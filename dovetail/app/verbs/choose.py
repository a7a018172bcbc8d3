"""``search`` and ``demo``: choose model, system and hardware together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dovetail.app.help import add
from dovetail.app.output import Answer, Json, Out, Quiet, emit, progress
from dovetail.core.errors import INFEASIBLE, DovetailError


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    add(app, "Choose", search, ["dovetail search space.yaml --study study.sqlite --out ./chosen"])
    add(app, "Choose", demo, ["dovetail demo --out out/demo"])


def search(
    space: Annotated[
        Path | None, typer.Argument(help="A space in YAML: recipes, machines, workloads, constraints, a rule.")
    ] = None,
    study: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep finished work in this SQLite file, and go on from it.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a space, for editors.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Find the exact Pareto front of a space, and its winner."""
    if schema:
        _print_schema()
        return
    if space is None:
        raise DovetailError("no space is given", hint="dovetail search examples/chat-8b.yaml")
    from dovetail.app.search_screen import search_screen
    from dovetail.search.codesign import guessing, search_space

    found = search_space(space, study, lambda line: progress(line, quiet=quiet))
    guessed = guessing(found)
    about = None if guessed is None else {"of": guessed[0].to_json(), **guessed[1].to_json()}
    data = {**found.to_json(), "speculation": about}
    answer = Answer("search", data, lambda: search_screen(found, quiet, guessed), found.exit_code)
    emit(answer, as_json=json, quiet=quiet, out=out, inputs=[space])


def _print_schema() -> None:
    from json import dumps

    from dovetail.search.published_schema import json_schema

    print(dumps(json_schema(), indent=1))


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where report, study and winner go.")] = Path(
        "out/demo"
    ),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Co-design the embedded model and its hardware, end to end.

    Calibrates this computer, applies and measures six recipes, predicts them on twelve chips, searches, builds the
    winner and writes the report: about two minutes on two cores. One that was stopped goes on where it was.
    """
    from dovetail.app.demo import demo as codesign
    from dovetail.app.report.screen import show

    found = codesign(out, lambda line: progress(line, quiet=quiet))
    code = 0 if found.data["winner"] else INFEASIBLE
    emit(Answer("demo", found.data, lambda: show(found.screen, quiet=quiet), code), as_json=json, quiet=quiet)
