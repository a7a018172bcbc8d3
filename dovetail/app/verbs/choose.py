"""``search`` and ``demo``: choose model, system and hardware together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dovetail.app.output import Answer, Json, Out, Quiet, emit, progress


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(search)
    app.command()(demo)


def search(
    space: Annotated[Path, typer.Argument(help="A space in YAML.")],
    study: Annotated[
        Path | None, typer.Option(help="SQLite file that keeps finished work; the search resumes from it.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Find the exact Pareto front of a space, and the point its rule picks."""
    from dovetail.app.search_screen import search_screen
    from dovetail.search.codesign import search_space

    found = search_space(space, study, lambda line: progress(line, quiet=quiet))
    answer = Answer("search", found.to_json(), lambda: search_screen(found, quiet), found.exit_code)
    emit(answer, as_json=json, out=out, inputs=[space])


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the report, the study and the winner.")] = Path(
        "out/demo"
    ),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Co-design the embedded model and its hardware, end to end, on this machine."""
    from dovetail.app.demo import demo as codesign
    from dovetail.app.report.screen import show

    found = codesign(out, lambda line: progress(line, quiet=quiet))
    emit(Answer("demo", found.data, lambda: show(found.screen, quiet=quiet)), as_json=json)
