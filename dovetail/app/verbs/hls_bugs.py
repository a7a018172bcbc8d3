"""``hls inject``, ``hls dataset build|replay``, ``hls import``: bugs with proof, and other people's bugs looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dovetail.app.help import Verbs, add
from dovetail.app.output import Answer, Json, Out, Quiet, emit, progress
from dovetail.core.errors import CHECK_FAILED, DovetailError

Seed = Annotated[int, typer.Option(metavar="N", help="Draws designs, places and pairs.")]


def add_to(hls: typer.Typer) -> None:
    """Add these verbs to the commands of ``hls``."""
    add(hls, "Commands", inject, ["dovetail hls inject fir.cpp --reference fir_golden.cpp --class OOB --count 5"])
    add(hls, "Commands", import_, ["dovetail hls import chrysalis chrysalis.jsonl.gz --out ./audited"], name="import")
    dataset = typer.Typer(cls=Verbs, help="Data sets of proven bugs.", no_args_is_help=True, rich_markup_mode=None)
    add(dataset, "Commands", build, ["dovetail hls dataset build --count 200 --out ./bugs"])
    add(dataset, "Commands", replay, ["dovetail hls dataset replay ./bugs"])
    hls.add_typer(dataset, name="dataset", rich_help_panel="Commands")


def inject(
    file: Annotated[Path, typer.Argument(help="An HLS C++ file, or the name of a shipped design.")],
    top: Annotated[str, typer.Option(metavar="NAME", help="The top function.")] = "",
    reference: Annotated[Path | None, typer.Option(metavar="FILE", help="What is right, in C++.")] = None,
    contract: Annotated[Path | None, typer.Option(metavar="FILE", help="How it may be called; else inferred.")] = None,
    bug: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME", help="Only this class; repeatable.")
    ] = None,
    count: Annotated[int, typer.Option(metavar="N", help="Bugs wanted.", min=1)] = 10,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the buggy sources here.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put bugs into a design, each with a proof: an input on which it misbehaves, or a figure of the hardware."""
    from dovetail.app.hls_bugs_screen import injected
    from dovetail.hls.check.contract import infer_contract
    from dovetail.hls.check.load import load_design
    from dovetail.hls.inject.inject import inject as put
    from dovetail.hls.inject.inputs import read_ports
    from dovetail.hls.inject.proof import witness
    from dovetail.hls.inject.shelf import names, shipped

    design = (
        shipped(str(file))
        if str(file) in names()
        else load_design(file, top=top, reference=reference, contract=contract)
    )
    if not design.contract.ports:
        design = replace(design, contract=infer_contract(design).contract)
    found = put(design, count, bug or (), seed)
    ports = [port.name for port in read_ports(design.contract)]
    rows = [
        {
            "class": p.mutant.bug,
            "line": p.mutant.line,
            "note": p.mutant.note,
            "operator": p.mutant.operator,
            "source": p.mutant.of(design.source),
            "witness": witness(p, ports),
            "proof": f"{p.verdict.end}: {p.verdict.detail}" if p.verdict else p.evidence.detail if p.evidence else "",
        }
        for p in found.proven
    ]
    if out is not None:
        _sources(out, design.contract.top, rows)
        progress(f"written: {out}", quiet=quiet or json)
    fates = {
        fate: sum(n for (_, f), n in found.fates.items() if f == fate)
        for fate in ("equivalent", "off-class", "uncompiled")
    }
    dropped = ", ".join(f"{n} {fate}" for fate, n in fates.items() if n) or "none dropped"
    emit(
        Answer("hls inject", {"bugs": rows, "dropped": fates}, lambda: injected(rows, dropped)),
        as_json=json,
        quiet=quiet,
    )


def _sources(folder: Path, top: str, rows: list[dict[str, object]]) -> None:
    from dovetail.core.files import write_text

    folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        write_text(folder / f"{top}_{number:02d}_{row['class']}.cpp", str(row["source"]))


def build(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
    count: Annotated[int, typer.Option(metavar="N", help="Bugs wanted.")] = 200,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build a data set from the designs that ship."""
    from dovetail.app.hls_bugs_screen import built
    from dovetail.core.files import check_ours
    from dovetail.hls.inject.dataset import MARK, PARTS, write
    from dovetail.hls.inject.dataset import build as made

    if not (out / PARTS).is_dir():  # there, a build was stopped
        check_ours(out, MARK)
    done = made(count, seed, tell=lambda line: progress(line, quiet=quiet or json), keep=out / PARTS)
    summary = write(done, out, count, seed)
    emit(Answer("hls dataset build", summary, lambda: built(summary, str(out))), as_json=json, quiet=quiet)


def replay(
    folder: Annotated[Path, typer.Argument(help="A data set.")],
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Run every witness of a data set again. Exit status 4 when one does not show."""
    from dovetail.app.hls_bugs_screen import replayed
    from dovetail.hls.inject.replay import load, replay_rows

    done = replay_rows(*load(folder))
    data = {"witnesses": done.total, "held": done.held, "lost": [{"id": i, "seen": s} for i, s in done.lost]}
    code = CHECK_FAILED if done.held < done.total else 0
    emit(
        Answer("hls dataset replay", data, lambda: replayed(done.total, done.held, done.lost), code),
        as_json=json,
        quiet=quiet,
        out=out,
        inputs=[folder],
    )


def import_(
    kind: Annotated[str, typer.Argument(help="chrysalis, or folder: a checkout with HLS sources.")],
    path: Annotated[Path, typer.Argument(help="The JSON lines, or the folder.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write what could be rebuilt here.")] = None,
    designs: Annotated[int, typer.Option(metavar="N", help="Stop after this many designs; 0: all.", min=0)] = 0,
    execute: Annotated[bool, typer.Option(help="Also run the designs and label the patches anew.")] = True,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rebuild the context of other people's designs, run them, and audit the labels of their bugs."""
    from dovetail.app.hls_bugs_screen import imported
    from dovetail.hls.inject.foreign.imports import KINDS, import_from

    if kind not in KINDS:
        raise DovetailError(f"unknown source '{kind}'", hint=f"one of {', '.join(KINDS)}")
    summary = import_from(
        kind, path, out, most=designs, execute=execute, tell=lambda line: progress(line, quiet=quiet or json)
    )
    emit(Answer("hls import", summary, lambda: imported(summary)), as_json=json, quiet=quiet)
