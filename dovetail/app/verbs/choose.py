"""``search`` and ``demo``: choose model, system and hardware together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.app.help import add
from dovetail.app.output import Answer, Json, Out, Quiet, emit, progress
from dovetail.core.errors import INFEASIBLE, DovetailError

if TYPE_CHECKING:
    from dovetail.app.search_screen import More
    from dovetail.design.speculation import Speculation
    from dovetail.search.result import Candidate, Result
    from dovetail.search.sensitivity import Share


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    add(app, "Choose", search, ["dovetail search space.yaml --study study.sqlite --out ./chosen"])
    add(app, "Choose", why_not, ["dovetail why-not examples/chat-8b.yaml machine=l4 recipe=w4a16-rtn batch=8"])
    add(app, "Choose", replay, ["dovetail replay chosen/manifest.json"])
    add(app, "Choose", demo, ["dovetail demo --out out/demo"])


def search(
    space: Annotated[
        Path | None, typer.Argument(help="A space in YAML: recipes, machines, workloads, constraints, a rule.")
    ] = None,
    study: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep finished work in this SQLite file, and go on from it.")
    ] = None,
    guided: Annotated[
        int, typer.Option(metavar="N", help="Look at N designs at most that a sampler proposes, instead of all.", min=0)
    ] = 0,
    sampler: Annotated[str, typer.Option(metavar="NAME", help="auto, tpe, nsga2, nsga3, gp or random.")] = "auto",
    seed: Annotated[int, typer.Option(metavar="N", help="Of a guided search.", min=0)] = 0,
    ray: Annotated[
        str,
        typer.Option("--ray", metavar="ADDRESS", help="Spread the work over a Ray cluster; 'local' starts one here."),
    ] = "",
    to_the_end: Annotated[
        bool, typer.Option("--to-the-end", help="With --guided: look at all N, also where nothing new is certain.")
    ] = False,
    measured: Annotated[
        bool, typer.Option("--measured", help="With --guided: measure each design, here or as simulated RTL.")
    ] = False,
    sensitivity: Annotated[bool, typer.Option("--sensitivity", help="Also say which choice decides what.")] = False,
    measure: Annotated[
        int,
        typer.Option(
            metavar="N", help="Measure N designs of the front, the least certain: here, or as RTL in simulation.", min=0
        ),
    ] = 0,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the study's rows as .csv, .parquet or .json.")
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
    from dovetail.search.codesign import needs_quality, search_space

    _check(export is not None and study is None, sensitivity and measured)
    report = partial(progress, quiet=quiet)
    found = search_space(space, study, report, evaluations=guided, sampler=sampler, seed=seed, ray=ray,
                         stop=not to_the_end, measured=measured)  # fmt: skip
    more = _beyond(found, sensitivity, measure, report)
    if export is not None and study is not None:
        _export(study, export)
    data = _answered(found, more, sensitivity)
    if out is not None and not (guided and (measured or needs_quality(found.searched))):  # else nothing lies around it
        data["landscape"] = _landscape(found, more.shares, report)
    answer = Answer("search", data, lambda: search_screen(found, quiet, more), found.exit_code)
    emit(answer, as_json=json, quiet=quiet, out=out, inputs=[space])


def _check(homeless: bool, torn: bool) -> None:
    """Refuse an export without a study, and the sensitivity of a space of which only some designs are measured."""
    if homeless:
        raise DovetailError("--export writes what a study holds", hint="--study study.sqlite --export rows.csv")
    if torn:
        what = "--sensitivity asks the whole space, --measured only some designs of it"
        raise DovetailError(what, hint="leave out one of them")


def _beyond(found: Result, sensitivity: bool, measure: int, report: Callable[[str], None]) -> More:
    """What is told beside the front."""
    from dovetail.app.search_screen import More
    from dovetail.search.certainty import order
    from dovetail.search.codesign import guessing
    from dovetail.search.measuring import measure_front

    shares = _shares(found) if sensitivity else ()
    pairs, rows = order(found), measure_front(found, measure, report) if measure else ()
    return More(guessing(found), shares, pairs, rows)


def _answered(found: Result, more: More, sensitivity: bool) -> dict[str, Any]:
    data = {**found.to_json(), "speculation": _speculation(more.guessed)}
    data |= {"sensitivity": [asdict(share) for share in more.shares]} if sensitivity else {}
    return data | {"order": [p.to_json() for p in more.pairs], "measured": [row.to_json() for row in more.measured]}


def _speculation(guessed: tuple[Candidate, Speculation] | None) -> dict[str, Any] | None:
    return None if guessed is None else {"of": guessed[0].to_json(), **guessed[1].to_json()}


def why_not(
    space: Annotated[Path, typer.Argument(help="A space in YAML.")],
    design: Annotated[list[str], typer.Argument(help="Such as recipe=w4a16-rtn machine=l4 batch=8.")],
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Say why a design is not on the front, and what would help."""
    from dovetail.app.search_screen import why_not_screen
    from dovetail.search.codesign import explain_why_not

    why = explain_why_not(space, " ".join(design), lambda line: progress(line, quiet=quiet))
    answer = Answer("why-not", why.to_json(), lambda: why_not_screen(why, quiet))
    emit(answer, as_json=json, quiet=quiet, out=out, inputs=[space])


def replay(
    manifest: Annotated[Path, typer.Argument(help="The manifest.json of a search or a prediction, in its --out DIR.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make an answer again from its manifest, and say what differs. Exit code 1 where the answer does."""
    from dovetail.app.again import replay as again
    from dovetail.app.search_screen import replay_screen

    found = again(manifest, lambda line: progress(line, quiet=quiet))
    code = 1 if found.answer else 0
    emit(Answer("replay", found.to_json(), lambda: replay_screen(found, quiet), code), as_json=json, quiet=quiet)


def _shares(found: Result) -> tuple[Share, ...]:
    from dovetail.search.codesign import evaluator
    from dovetail.search.sensitivity import sensitivity

    return sensitivity(found.asked, evaluator(found.asked)) if found.asked is not None else ()


def _landscape(found: Result, shares: Sequence[Share], report: Callable[[str], None]) -> dict[str, Any]:
    from dovetail.app.landscape import landscape
    from dovetail.search.codesign import evaluator

    if found.asked is None:
        return {}
    report("looking at the designs around the front, for the report")
    return landscape(found, evaluator(found.asked), shares)


def _export(study: Path, target: Path) -> None:
    from dovetail.search.study import Study

    with Study(study) as kept:
        kept.export(target)


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
